"""BlazeFL 3: a pool of threads, each of which trains one client by the plain loop."""

import threading
from collections.abc import Iterable
from copy import deepcopy

import torch
from blazefl.core import ThreadPoolClientTrainer, deserialize_model, serialize_model
from torch import Tensor, nn

from benchmarks.plain import one_epoch, prepare
from benchmarks.workloads import Workload
from fedunlearn.data import Records

Sent = tuple[int, Tensor]
"""Records of a client, and its weights."""


class Trainer(ThreadPoolClientTrainer[Sent, Tensor]):
    """Clients whose records stay in memory; a thread keeps its net."""

    def __init__(self, net: nn.Module, clients: list[Records], threads: int) -> None:
        self.num_parallels, self.device, self.device_count = threads, "cpu", 0
        self.cache: list[Sent] = []
        self.stop_event = threading.Event()
        self._net, self._clients, self._own = net, clients, threading.local()

    def worker(self, cid: int, device: str, payload: Tensor, stop_event: threading.Event) -> Sent:
        """Train client ``cid`` from the weights ``payload``."""
        net = getattr(self._own, "net", None)
        if net is None:
            net = self._own.net = deepcopy(self._net)
        deserialize_model(net, payload)
        one_epoch(net, self._clients[cid])
        return len(self._clients[cid]), serialize_model(net)

    def uplink_package(self) -> list[Sent]:
        """Return what the clients sent, and forget it."""
        sent, self.cache = self.cache, []
        return sent


def threads(turns: Iterable[int], workload: Workload) -> None:
    """Train a workload on two threads, torch's own being one."""
    torch.set_num_threads(1)
    net, clients = prepare(workload)
    trainer = Trainer(net, clients, threads=2)
    initial = serialize_model(net)
    for rounds in turns:
        weights = initial
        for _ in range(rounds):
            trainer.local_process(weights, list(range(workload.clients)))
            sent = trainer.uplink_package()
            everybody = sum(records for records, _ in sent)
            weights = sum((w * (n / everybody) for n, w in sent), torch.zeros_like(weights))
