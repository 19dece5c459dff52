"""Clients asked by messages over any Flower Grid; every call is charged."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass

import torch
from flwr.app import ConfigRecord, ConfigRecordValues, Message, RecordDict
from torch import Tensor

from fedunlearn.checks import Refused
from fedunlearn.data import ClientId
from fedunlearn.flower.arrays import MOVED, WEIGHTS, differences, pack, payload
from fedunlearn.flower.identity import Connection
from fedunlearn.flower.messages import encode
from fedunlearn.flower.replies import NOT_FINITE, TOO_LONG, Form, Reply, Wanted, form_of, judge
from fedunlearn.history import Updates
from fedunlearn.local import LocalWork
from fedunlearn.models import Vector
from fedunlearn.unlearning import (
    Access,
    ClientFailed,
    ProxyData,
    QueryTask,
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
            **_shown(asking.access, number),
        }
        contents = self._contents(asking.access, task, clients, ConfigRecord(config))
        moment = asking.ledger.moment
        ordinary = moment.phase == "train" and not moment.request
        if ordinary and not weights.isfinite().all():
            raise Refused(
                f"Training diverged before round {number}: the global model is not finite. The "
                f"server's step (training.server) made it so; {ADVICE}."
            )
        form = form_of(weights if task.mask is None else task.mask.moved(weights))
        name = WEIGHTS if task.mask is None else MOVED
        wanted = Wanted({name: form}, work=True, diverging=not ordinary)
        when = f"If training diverged: round {number}, with a learning rate of {rate}; {ADVICE}."
        replies = self._exchange(asking, contents, clients, "train", wanted, when)
        if not replies:
            return Updates((), weights.new_empty(0, len(weights)), torch.empty(0).long())
        deltas = _deltas([reply.arrays[name] for reply in replies.values()], task)
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

    def query(self, asking: ScopedClients, task: QueryTask) -> dict[ClientId, Mapping[str, Tensor]]:
        """Ask clients for sums over their records; see `strategy.Clients.query`."""
        # A model of which it cannot be asked is refused before anybody works.
        forms = task.query.forms(self.proxy.network)
        if not task.who:
            return {}
        config: dict[str, ConfigRecordValues] = {
            "query": encode(task.query),
            "seed": asking.seed,
            **_shown(asking.access, task.round),
        }
        arrays = pack(task.weights, ranking=_ranking(asking.access))
        content = RecordDict({"arrays": arrays, "config": ConfigRecord(config)})

        def fault(reply: Reply) -> str:
            wrong = task.query.fault(reply.arrays, reply.examples)
            kind = type(task.query).__name__
            return f"its {kind} are no sums over its records: {wrong}" if wrong else ""

        wanted = Wanted(
            {name: Form(*form) for name, form in forms.items()},
            work=True,
            diverging=asking.ledger.moment.phase != "train",
            fault=fault,
        )
        contents = [content] * len(task.who)
        replies = self._exchange(asking, contents, task.who, "query.sums", wanted)
        return {client: reply.arrays for client, reply in replies.items()}

    def _contents(
        self,
        access: Access,
        task: TrainingTask,
        clients: Sequence[ClientId],
        config: ConfigRecord,
    ) -> list[RecordDict]:
        """Return what each client is sent: one content for all, unless each has its own model."""
        other, along = task.other, (task.mask, _ranking(access))
        if not callable(other) or isinstance(other, Tensor):
            arrays = pack(task.weights, other, *along)
            shared = RecordDict({"arrays": arrays, "config": config})
            return [shared] * len(clients)
        return [
            RecordDict({"arrays": pack(task.weights, other(client), *along), "config": config})
            for client in clients
        ]

    def _cohort(self, asking: ScopedClients, round: int) -> tuple[ClientId, ...]:
        size = self.training.cohort_size(len(self.connection.nodes))
        return cohort(asking.access.present(round), size, asking.seed, round)

    def _replying(self, asking: ScopedClients, task: TrainingTask) -> tuple[ClientId, ...]:
        """Return who of a round's cohort replies; the others are charged what they were sent."""
        asked = self._cohort(asking, task.round)
        away = absent(asked, self.training.dropout, asking.seed, task.round)
        down = task.nbytes
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


def _shown(access: Access, round: int) -> dict[str, ConfigRecordValues]:
    """Return how a message says which records count."""
    held: dict[str, ConfigRecordValues] = {"held": [*astuple(access.held(round))]}
    return held if access.part is None else {**held, "ranked": encode(access.part.ranked)}


def _ranking(access: Access) -> Vector | None:
    """Return the model that ranks records, where only some of them count."""
    return None if access.part is None else access.part.model


def _deltas(sent: Sequence[Tensor], task: TrainingTask) -> Tensor:
    """Return the updates [k, d] of clients who sent whole models, or what a mask lets move."""
    if task.mask is None:
        return differences(sent, task.weights)
    deltas = task.weights.new_zeros(len(sent), len(task.weights))
    deltas[:, task.mask.moving] = differences(sent, task.mask.moved(task.weights))
    return deltas
