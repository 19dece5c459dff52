"""pfl 0.6: two ranks of its distributed simulation; the second stands still when not on turn."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterable, Iterator

import numpy as np
import torch
from pfl.aggregate.simulate import SimulatedBackend
from pfl.algorithm.base import NNAlgorithmParams
from pfl.algorithm.federated_averaging import FederatedAveraging
from pfl.callback.base import TrainingProcessCallback
from pfl.data import FederatedDataset
from pfl.data.pytorch import PyTorchTensorDataset
from pfl.hyperparam import NNTrainHyperParams
from pfl.metrics import Metrics
from pfl.model.pytorch import PyTorchModel
from torch.nn.functional import cross_entropy

from benchmarks.plain import prepare
from benchmarks.workloads import BATCH, MOMENTUM, RATE, WORKLOADS, Workload

RANKS = 2
ENDLESS = 10**9


class Turns(TrainingProcessCallback):
    """Takes turns after rounds: the first rank asks, and stops the others in between."""

    def __init__(self, turns: Iterator[int], others: list[subprocess.Popen[bytes]]) -> None:
        self._turns, self._others = turns, others
        self._left = 0
        self.ended = False

    def take(self) -> None:
        """Wait for the next turn."""
        for other in self._others:
            other.send_signal(signal.SIGSTOP)
        self._left = next(self._turns, 0)
        self.ended = not self._left
        for other in self._others:
            other.send_signal(signal.SIGCONT)

    def after_central_iteration(
        self, aggregate_metrics: object, model: object, *, central_iteration: int
    ) -> tuple[bool, Metrics]:
        """Count a round."""
        self._left -= 1
        if not self._left:
            self.take()
        return self.ended, Metrics()


def ranks(turns: Iterable[int], workload: Workload) -> None:
    """Train a workload on two processes, one torch thread each."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(RANKS)}
    shared |= {"TORCHELASTIC_RUN_ID": "ranks", "LOCAL_WORLD_SIZE": str(RANKS)}
    others = [
        subprocess.Popen(
            [sys.executable, "-m", "benchmarks.rivals.pfl", workload.name],
            env={**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
        )
        for rank in range(1, RANKS)
    ]
    os.environ |= {**shared, "RANK": "0", "LOCAL_RANK": "0"}
    try:
        _train(workload, Turns(iter(turns), others))
    finally:
        for other in others:
            other.kill()
            other.wait()


def _train(workload: Workload, turns: Turns | None) -> None:
    torch.set_num_threads(1)
    np.random.seed(0)  # noqa: NPY002  (all ranks draw from it, so that they agree)
    net, clients = prepare(workload)
    net.loss = lambda images, labels: cross_entropy(net(images), labels)
    net.metrics = lambda images, labels: {}
    model = PyTorchModel(
        net,
        local_optimizer_create=lambda ps, lr: torch.optim.SGD(ps, lr, MOMENTUM),
        central_optimizer=torch.optim.SGD(net.parameters(), lr=1.0),
    )
    held = [(records.inputs, records.labels) for records in clients]
    numbers = _in_turn(workload.clients)
    data = FederatedDataset(lambda user: _shuffled(held[user]), lambda: next(numbers))
    if turns is not None:
        turns.take()
    FederatedAveraging().run(
        algorithm_params=NNAlgorithmParams(
            central_num_iterations=ENDLESS,
            evaluation_frequency=ENDLESS,
            train_cohort_size=workload.clients,
            val_cohort_size=None,
        ),
        backend=SimulatedBackend(training_data=data, val_data=None),
        model=model,
        model_train_params=NNTrainHyperParams(
            local_num_epochs=1, local_learning_rate=RATE, local_batch_size=BATCH
        ),
        callbacks=[] if turns is None else [turns],
        send_metrics_to_platform=False,
    )


def _in_turn(clients: int) -> Iterator[int]:
    while True:
        yield from range(clients)


def _shuffled(held: tuple[torch.Tensor, torch.Tensor]) -> PyTorchTensorDataset:
    rows = torch.randperm(len(held[1]))
    return PyTorchTensorDataset([tensor[rows] for tensor in held])


if __name__ == "__main__":
    _train(WORKLOADS[sys.argv[1]], turns=None)
