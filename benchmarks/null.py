"""Rounds without training: what messages and aggregation cost by themselves."""

from collections.abc import Iterable

import torch
from flwr.app import Array, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from benchmarks.workloads import SEED, WORK
from fedunlearn.flower import InProcessGrid, grid_clients, handshake
from fedunlearn.models import Mlp, Network
from fedunlearn.threads import cores
from fedunlearn.unlearning import Ledger, ProxyData, Training

NETWORK = Network(Mlp(hidden=()), (1, 1, 1), 2)
WEIGHTS = Array(NETWORK.initial(SEED).numpy())
"""A model of four numbers."""


def app() -> ClientApp:
    """Return a ClientApp whose clients return the weights that they got."""
    client = ClientApp()

    @client.query()
    def hello(message: Message, context: Context) -> Message:
        metrics = MetricRecord({"partition-id": int(context.node_config["partition-id"])})
        return Message(RecordDict({"metrics": metrics}), reply_to=message)

    @client.train()
    def train(message: Message, context: Context) -> Message:
        metrics = MetricRecord({"num-examples": 1, "samples": 1, "seconds": 0.0})
        arrays = message.content["arrays"]
        return Message(RecordDict({"arrays": arrays, "metrics": metrics}), reply_to=message)

    return client


def contend(turns: Iterable[int], clients: int, sampled: int) -> None:
    """Run rounds in this process, asking ``sampled`` of ``clients`` clients."""
    training = Training(cohort=sampled / clients, work=WORK)
    grid, ledger = InProcessGrid(app(), clients, cores()), Ledger()
    nobody = ProxyData(NETWORK, torch.empty(0, 1, 1, 1), ledger, SEED)
    try:
        connection = handshake(grid, clients)
        for rounds in turns:
            ledger.charges.clear()
            for _ in grid_clients(connection, training, nobody).rounds(
                NETWORK.initial(SEED), 1, rounds
            ):
                pass
    finally:
        grid.close()
