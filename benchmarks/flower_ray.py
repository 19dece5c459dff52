"""Flower's own simulation with a plain Flower app: one epoch of the plain loop a message.

The simulation stays up between turns, and its processes keep nets and records, so that neither
start-up nor the making of data counts.
"""

import logging
import os
import warnings
from collections.abc import Iterable
from functools import lru_cache

import ray  # noqa: F401  (Flower imports it late; here it counts among the imports)
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from flwr.simulation import run_simulation
from torch import nn

from benchmarks import null
from benchmarks.plain import one_epoch, prepare
from benchmarks.workloads import Workload
from fedunlearn.data import Records
from fedunlearn.flower import wait_for


def contend(turns: Iterable[int], workload: Workload) -> None:
    """Train a workload."""
    net, _ = prepare(workload)
    _simulate(turns, app(workload), workload.clients, ArrayRecord(net.state_dict()))


def idle(turns: Iterable[int], clients: int) -> None:
    """Run rounds in which clients do nothing."""
    _simulate(turns, null.app(), clients, ArrayRecord({"weights": null.WEIGHTS}))


def app(workload: Workload) -> ClientApp:
    """Return the ClientApp, as a Flower user writes it."""
    client = ClientApp()

    @client.train()
    def train(message: Message, context: Context) -> Message:
        net, clients = resident(workload)
        held = clients[int(context.node_config["partition-id"])]
        net.load_state_dict(message.content.array_records["arrays"].to_torch_state_dict())
        one_epoch(net, held)
        metrics = MetricRecord({"num-examples": len(held)})
        arrays = ArrayRecord(net.state_dict())
        return Message(RecordDict({"arrays": arrays, "metrics": metrics}), reply_to=message)

    return client


@lru_cache(maxsize=1)
def resident(workload: Workload) -> tuple[nn.Module, list[Records]]:
    """Return the net and all records that this process keeps."""
    return prepare(workload)


def average(grid: Grid, clients: int, initial: ArrayRecord, rounds: int) -> ArrayRecord:
    """Run ``rounds`` rounds of Flower's FedAvg with everybody; no client may fail."""
    strategy = FedAvg(fraction_evaluate=0.0, min_available_nodes=clients)
    arrays = initial
    for number in range(1, rounds + 1):
        messages = strategy.configure_train(number, arrays, ConfigRecord(), grid)
        replies = list(grid.send_and_receive(messages))
        failed = [reply.error.reason for reply in replies if reply.has_error()]
        if failed or len(replies) != clients:
            raise RuntimeError(f"{len(replies)} of {clients} clients answered. {failed[:1]}")
        mean, _ = strategy.aggregate_train(number, replies)
        assert mean is not None
        arrays = mean
    return arrays


def _simulate(
    turns: Iterable[int], client_app: ClientApp, clients: int, initial: ArrayRecord
) -> None:
    logging.getLogger("flwr").setLevel(logging.ERROR)
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # spares a warning of Ray's
    server = ServerApp()

    @server.main()
    def main(grid: Grid, context: Context) -> None:
        wait_for(grid, clients)
        for rounds in turns:
            average(grid, clients, initial, rounds)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        run_simulation(
            server,
            client_app,
            num_supernodes=clients,
            backend_config={
                "client_resources": {"num_cpus": 1, "num_gpus": 0.0},
                "init_args": {"logging_level": logging.ERROR, "log_to_driver": False},
            },
        )
