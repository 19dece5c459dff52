"""The verb that strategies are handed, over any Flower Grid; every call is charged."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from flwr.app import ConfigRecord, ConfigRecordValues, Message, RecordDict
from torch import Tensor

from fedunlearn.checks import Refused
from fedunlearn.data import ClientId
from fedunlearn.flower.arrays import SUMS, WEIGHTS, differences, pack, payload
from fedunlearn.flower.identity import Connection
from fedunlearn.flower.messages import encode
from fedunlearn.flower.replies import NOT_FINITE, Form, Reply, Wanted, form_of, judge
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

ADVICE = "lower the learning rate, or clip gradients by training.work.clip_norm"


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
        moment = self.ledger.moment
        ordinary = moment.phase == "train" and not moment.request
        if ordinary and not weights.isfinite().all():
            raise Refused(
                f"Training diverged before round {round}: the global model is not finite. The "
                f"server's step (training.server) made it so; {ADVICE}."
            )
        wanted = Wanted({WEIGHTS: form_of(weights)}, work=True, diverging=not ordinary)
        rate = (work or self.work).lr(round)
        when = f"If training diverged: round {round}, with a learning rate of {rate:g}; {ADVICE}."
        replies = self._exchange(content, clients, "train", wanted, when)
        if not replies:
            return Updates((), weights.new_empty(0, len(weights)), torch.empty(0).long())
        deltas = differences([reply.arrays[WEIGHTS] for reply in replies.values()], weights)
        examples = [reply.examples for reply in replies.values()]
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
        wanted = Wanted({SUMS: Form(head.sums, "float64")}, work=True)
        asked = tuple(sorted(self.ids))
        replies = self._exchange(content, asked, "query.statistics", wanted)
        return {client: reply.arrays[SUMS] for client, reply in replies.items()}

    def rng(self, round: int) -> np.random.Generator:
        """Return the server's random numbers of an unlearning round."""
        return server_rng(self.seed, self.access.gone, round)

    def _cohort(self, round: int) -> tuple[ClientId, ...]:
        size = self.training.cohort_size(len(self.connection.nodes))
        return cohort(self.ids, size, self.seed, round)

    def _exchange(
        self,
        content: RecordDict,
        clients: tuple[ClientId, ...],
        kind: str,
        wanted: Wanted,
        diverged: str = "",
    ) -> dict[ClientId, Reply]:
        """Send ``content`` to ``clients``; return and charge the good replies, ascending by client.

        Raises `ClientFailed` if more are missing or bad than training tolerates; ``diverged`` is
        added where one is not finite.
        """
        nodes, timeout = self.connection.nodes, self.training.timeout
        messages = [Message(content, nodes[client], kind) for client in clients]
        answers = self.connection.grid.send_and_receive(messages, timeout=timeout)
        judged = judge(messages, answers, wanted, timeout)
        if len(judged.wrong) > self.training.tolerated_failures:
            failed = [client for client in clients if nodes[client] in judged.wrong]
            lines = [f"Client {client} {judged.wrong[nodes[client]]}" for client in failed]
            if diverged and any(NOT_FINITE in line for line in lines):
                lines.append(diverged)
            raise ClientFailed("\n".join(lines))
        down = payload(content.array_records["arrays"])
        replies = {c: judged.good[nodes[c]] for c in clients if nodes[c] in judged.good}
        for client, reply in replies.items():
            self.ledger.charge(
                client, down=down, up=reply.nbytes, samples=reply.samples, seconds=reply.seconds
            )
        return replies
