"""fluke 0.8: its server and clients in one process, with torch's threads on all cores."""

from collections.abc import Iterable

import torch
from fluke.client import Client
from fluke.config import OptimizerConfigurator
from fluke.data import FastDataLoader
from fluke.server import Server
from fluke.utils import ClientObserver  # noqa: F401  (imported late otherwise)
from torch.nn import CrossEntropyLoss

from benchmarks.plain import prepare
from benchmarks.workloads import BATCH, CLASSES, MOMENTUM, RATE, Workload


def one_process(turns: Iterable[int], workload: Workload) -> None:
    """Train a workload; two torch threads, as with the plain loop of two threads."""
    torch.set_num_threads(2)
    net, held = prepare(workload)
    chosen = OptimizerConfigurator({"name": "SGD", "lr": RATE, "momentum": MOMENTUM})
    clients = [
        Client(
            number,
            FastDataLoader(
                *(records.inputs, records.labels),
                num_labels=CLASSES,
                batch_size=BATCH,
                shuffle=True,
            ),
            None,
            chosen,
            CrossEntropyLoss(),
            local_epochs=1,
            persistency=False,
        )
        for number, records in enumerate(held)
    ]
    server = Server(net, None, clients, weighted=True)
    for client in clients:
        client.set_channel(server.channel)
    for rounds in turns:
        for _ in range(rounds):
            server.broadcast_model(clients)
            for client in clients:
                client.local_update(1)
            server.aggregate(clients, server.receive_client_models(clients, state_dict=False))
