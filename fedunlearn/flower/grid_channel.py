"""Clients asked by messages over any Flower Grid; every call is charged."""

from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass

import torch
from flwr.app import ConfigRecord, ConfigRecordValues, Message, RecordDict
from torch import Tensor

from fedunlearn.checks import Refused
from fedunlearn.data import FROM_THE_START, ClientId
from fedunlearn.flower.arrays import SUMS, WEIGHTS, differences, pack, payload
from fedunlearn.flower.identity import Connection
from fedunlearn.flower.messages import encode
from fedunlearn.flower.replies import NOT_FINITE, TOO_LONG, Form, Reply, Wanted, form_of, judge
from fedunlearn.history import Updates
from fedunlearn.local import LocalWork
from fedunlearn.methods import ridge
from fedunlearn.models import Vector
from fedunlearn.unlearning import (
    Access,
    ClientFailed,
    ProxyData,
    ScopedClients,
    ServerVerifier,
    Training,
    TrainingTask,
    absent,
    cohort,
    corrected_rounds,
    run_rounds,
)

ADVICE = "lower the learning rate, or clip gradients by training.work.clip_norm"


def grid_clients(
    connection: Connection, training: Training, unlabelled: ProxyData
) -> ScopedClients:
    """Return all clients of a connection, with the seed and the ledger of the server's records."""
    everybody = Access(frozenset(connection.nodes))
    channel = GridChannel(connection, training, unlabelled)
    return ScopedClients(channel, unlabelled.seed, unlabelled.ledger, everybody)


@dataclass(frozen=True)
class GridChannel:
    """Clients behind a Flower Grid, who run `client_app` (see `Channel`)."""

    connection: Connection
    training: Training
    proxy: ProxyData
    """Unlabelled records on the server."""

    @property
    def work(self) -> LocalWork:
        """What a client does in an ordinary round."""
        return self.training.work

    def verifier(self, request: int) -> ServerVerifier:
        """Return the server's test of who asks in a request."""
        return self.proxy.verifier(request)

    def train(self, asking: ScopedClients, task: TrainingTask) -> Updates:
        """Let clients train; see `strategy.Clients.train`."""
        weights, number, rate = task.weights, task.round, f"{task.work.lr(task.round):g}"
        clients = task.who if task.who is not None else self._replying(asking, task)
        if not clients:
            return Updates((), weights.new_empty(0, len(weights)), torch.empty(0).long())
        config: dict[str, ConfigRecordValues] = {
            "work": encode(task.work),
            "round": number,
            "seed": asking.seed,
            "stream": asking.access.stream,
            "held": [*astuple(asking.access.held(number))],
        }
        contents = self._contents(task, clients, ConfigRecord(config))
        moment = asking.ledger.moment
        ordinary = moment.phase == "train" and not moment.request
        if ordinary and not weights.isfinite().all():
            raise Refused(
                f"Training diverged before round {number}: the global model is not finite. The "
                f"server's step (training.server) made it so; {ADVICE}."
            )
        wanted = Wanted({WEIGHTS: form_of(weights)}, work=True, diverging=not ordinary)
        when = f"If training diverged: round {number}, with a learning rate of {rate}; {ADVICE}."
        replies = self._exchange(asking, contents, clients, "train", wanted, when)
        if not replies:
            return Updates((), weights.new_empty(0, len(weights)), torch.empty(0).long())
        deltas = differences([reply.arrays[WEIGHTS] for reply in replies.values()], weights)
        examples = [reply.examples for reply in replies.values()]
        return Updates(tuple(replies), deltas, torch.tensor(examples))

    def rounds(
        self, asking: ScopedClients, weights: Vector, first: int, last: int, work: LocalWork
    ) -> Iterator[tuple[Updates, Vector]]:
        """Run ordinary training rounds; see `strategy.Clients.rounds`."""
        training = self.training
        if training.correction is None:
            return run_rounds(asking, training.server, weights, first, last, work)
        how = training.correction, training.server
        return corrected_rounds(asking, *how, weights, first, last, work)

    def statistics(self, asking: ScopedClients, weights: Vector) -> dict[ClientId, Tensor]:
        """Ask everybody for sums over their records; see `strategy.Clients.statistics`."""
        head = self.proxy.network.head  # a model without one is refused before anybody works
        held = asking.access.held(FROM_THE_START)
        config = ConfigRecord({"seed": asking.seed, "held": [*astuple(held)]})
        content = RecordDict({"arrays": pack(weights), "config": config})
        wanted = Wanted({SUMS: Form(head.sums, "float64")}, work=True, fault=_no_sum)
        asked = tuple(sorted(asking.access.present(FROM_THE_START)))
        contents = [content] * len(asked)
        replies = self._exchange(asking, contents, asked, "query.statistics", wanted)
        return {client: reply.arrays[SUMS] for client, reply in replies.items()}

    def _contents(
        self, task: TrainingTask, clients: Sequence[ClientId], config: ConfigRecord
    ) -> list[RecordDict]:
        """Return what each client is sent: one content for all, unless each has its own model."""
        other = task.other
        if not callable(other) or isinstance(other, Tensor):
            shared = RecordDict({"arrays": pack(task.weights, other), "config": config})
            return [shared] * len(clients)
        return [
            RecordDict({"arrays": pack(task.weights, other(client)), "config": config})
            for client in clients
        ]

    def _cohort(self, asking: ScopedClients, round: int) -> tuple[ClientId, ...]:
        size = self.training.cohort_size(len(self.connection.nodes))
        return cohort(asking.access.present(round), size, asking.seed, round)

    def _replying(self, asking: ScopedClients, task: TrainingTask) -> tuple[ClientId, ...]:
        """Return who of a round's cohort replies; the others are charged what they were sent."""
        asked = self._cohort(asking, task.round)
        away = absent(asked, self.training.dropout, asking.seed, task.round)
        down = task.weights.nbytes * (1 if task.other is None else 2)
        for client in sorted(away):
            asking.ledger.charge(client, down=down, samples=0, seconds=0.0, records=0)
        return tuple(client for client in asked if client not in away)

    def _exchange(
        self,
        asking: ScopedClients,
        contents: Sequence[RecordDict],
        clients: tuple[ClientId, ...],
        kind: str,
        wanted: Wanted,
        diverged: str = "",
    ) -> dict[ClientId, Reply]:
        """Send ``contents`` to ``clients``; return and charge the good replies, by client.

        Raises `ClientFailed` if more are missing or bad than training tolerates; ``diverged`` is
        added where one is not finite.
        """
        nodes, timeout = self.connection.nodes, self.training.timeout
        messages = [
            Message(content, nodes[client], kind)
            for content, client in zip(contents, clients, strict=True)
        ]
        answers = self.connection.grid.send_and_receive(messages, timeout=timeout)
        judged = judge(messages, answers, wanted, timeout)
        if len(judged.wrong) > self.training.tolerated_failures:
            failed = [client for client in clients if nodes[client] in judged.wrong]
            lines = [f"Client {client} {judged.wrong[nodes[client]]}" for client in failed]
            if diverged and any(NOT_FINITE in line or TOO_LONG in line for line in lines):
                lines.append(diverged)
            raise ClientFailed("\n".join(lines))
        down = payload(contents[0].array_records["arrays"])
        replies = {c: judged.good[nodes[c]] for c in clients if nodes[c] in judged.good}
        for client, reply in replies.items():
            asking.ledger.charge(
                client,
                down=down,
                up=reply.nbytes,
                samples=reply.samples,
                seconds=reply.seconds,
                records=reply.examples,
            )
        return replies


def _no_sum(reply: Reply) -> str:
    """Return what shows that a reply to `GridChannel.statistics` holds no sums, or nothing."""
    fault = ridge.fault(reply.arrays[SUMS], reply.examples)
    return f"the array {SUMS} holds no sums over its records: {fault}" if fault else ""
