"""The verb that strategies are handed, over any Flower Grid; every call is charged."""

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from flwr.app import (
    ArrayRecord,
    ConfigRecord,
    ConfigRecordValues,
    Message,
    MetricRecord,
    RecordDict,
)
from torch import Tensor

from fedunlearn.checks import Refused
from fedunlearn.data import ClientId
from fedunlearn.flower.arrays import differences, pack, payload, unpack
from fedunlearn.flower.identity import Connection
from fedunlearn.flower.messages import encode
from fedunlearn.history import Updates
from fedunlearn.local import LocalWork
from fedunlearn.models import Vector
from fedunlearn.unlearning import (
    Access,
    ClientFailed,
    Ledger,
    ProxyData,
    Training,
    cohort,
    run_rounds,
    server_rng,
)


@dataclass(frozen=True)
class GridClients:
    """Clients behind a Flower Grid, scoped to those who may be asked (see `strategy.Clients`)."""

    connection: Connection
    training: Training
    seed: int
    ledger: Ledger
    access: Access
    unlabelled: ProxyData

    @property
    def ids(self) -> frozenset[ClientId]:
        """Who may be asked."""
        return self.access.ids

    @property
    def work(self) -> LocalWork:
        """What a client does in an ordinary round."""
        return self.training.work

    @property
    def proxy(self) -> ProxyData:
        """Unlabelled records on the server."""
        self.access.require_proxy()
        return self.unlabelled

    @property
    def leavers(self) -> "GridClients":
        """Those who leave."""
        return self.scoped(self.access.leavers)

    def scoped(self, access: Access) -> "GridClients":
        """Return the same clients, asked as far as ``access`` goes."""
        return replace(self, access=access)

    def train(
        self,
        weights: Vector,
        who: Collection[ClientId] | None = None,
        work: LocalWork | None = None,
        *,
        round: int,
        other: Vector | None = None,
    ) -> Updates:
        """Let clients train from ``weights`` [d]; see `strategy.Clients.train`."""
        self.access.require_remaining()
        clients = self._cohort(round) if who is None else self.access.chosen(who)
        config: dict[str, ConfigRecordValues] = {
            "work": encode(work or self.work),
            "round": round,
            "seed": self.seed,
            "stream": self.access.stream,
        }
        content = RecordDict({"arrays": pack(weights, other), "config": ConfigRecord(config)})
        replies = self._exchange(content, clients, "train")
        if not replies:
            return Updates((), weights.new_empty(0, len(weights)), torch.empty(0).long())
        down = payload(content.array_records["arrays"])
        examples = [self._charged(client, down, reply) for client, reply in replies.items()]
        deltas = differences([unpack(reply) for reply in replies.values()], weights)
        if self.ledger.moment.phase == "train" and not self.ledger.moment.request:
            _require_converging(
                weights, tuple(replies), deltas, round, (work or self.work).lr(round)
            )
        return Updates(tuple(replies), deltas, torch.tensor(examples))

    def rounds(
        self, weights: Vector, first: int, last: int, work: LocalWork | None = None
    ) -> Iterator[tuple[Updates, Vector]]:
        """Run ordinary training rounds; see `strategy.Clients.rounds`."""
        rounds = run_rounds(self, self.training.server, weights, first, last, work)
        return self.access.recorded(weights, first, rounds)

    def statistics(self, weights: Vector) -> dict[ClientId, Tensor]:
        """Ask everybody for sums over their records; see `strategy.Clients.statistics`."""
        self.access.require_remaining()
        head = self.unlabelled.network.head  # a model without one is refused before anybody works
        config = ConfigRecord({"seed": self.seed})
        content = RecordDict({"arrays": pack(weights), "config": config})
        replies = self._exchange(content, tuple(sorted(self.ids)), "query.statistics")
        for client, reply in replies.items():
            self._charged(client, payload(content.array_records["arrays"]), reply)
        return {client: unpack(reply, "sums").view(head.sums) for client, reply in replies.items()}

    def rng(self, round: int) -> np.random.Generator:
        """Return the server's random numbers of an unlearning round."""
        return server_rng(self.seed, self.access.gone, round)

    def _cohort(self, round: int) -> tuple[ClientId, ...]:
        size = self.training.cohort_size(len(self.connection.nodes))
        return cohort(self.ids, size, self.seed, round)

    def _exchange(
        self, content: RecordDict, clients: tuple[ClientId, ...], kind: str
    ) -> dict[ClientId, RecordDict]:
        """Send ``content`` to ``clients``; return the good replies, ascending by client."""
        nodes = self.connection.nodes
        messages = [Message(content, nodes[client], kind) for client in clients]
        answers = self.connection.grid.send_and_receive(messages)
        by_node = {answer.metadata.src_node_id: answer for answer in answers}
        replies: dict[ClientId, RecordDict] = {}
        failures: list[str] = []
        for client in clients:
            reply = by_node.get(nodes[client])
            if reply is None:
                failures.append(f"Client {client} did not answer.")
            elif reply.has_error():
                failures.append(f"Client {client} failed: {reply.error.reason}")
            else:
                replies[client] = reply.content
        if len(failures) > self.training.tolerated_failures:
            raise ClientFailed("\n".join(failures))
        return replies

    def _charged(self, client: ClientId, down: int, reply: RecordDict) -> int:
        """Charge one exchange to the ledger; return the client's record count."""
        metrics, arrays = reply["metrics"], reply["arrays"]
        assert isinstance(metrics, MetricRecord)
        assert isinstance(arrays, ArrayRecord)
        self.ledger.charge(
            client,
            down=down,
            up=payload(arrays),
            samples=int(str(metrics["samples"])),
            seconds=float(str(metrics["seconds"])),
        )
        return int(str(metrics["num-examples"]))


def _require_converging(
    weights: Vector, clients: Sequence[ClientId], deltas: Tensor, round: int, lr: float
) -> None:
    """Raise `Refused` where ordinary training came to numbers that are not finite.

    After a request that is a strategy's doing, and measured: it counts as diverged.
    """
    advice = "lower the learning rate, or clip gradients by training.work.clip_norm"
    if not weights.isfinite().all():
        raise Refused(
            f"Training diverged before round {round}: the global model is not finite. The server's "
            f"step (training.server) made it so; {advice}."
        )
    # One pass: a sum is finite unless one of its terms is not, or all of them are hopeless.
    for client, total in zip(clients, deltas.sum(dim=1).tolist(), strict=True):
        if not math.isfinite(total):
            raise Refused(
                f"Training diverged: the weights of client {client} are not finite after round "
                f"{round}, with a learning rate of {lr:g}; {advice}."
            )
