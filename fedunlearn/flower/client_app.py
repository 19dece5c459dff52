"""The Flower ClientApp: unpack the message, train, pack the reply.

Messages, all with plain arrays and scalars:

- ``query``: the reply's ``metrics`` hold ``partition-id``, which Flower tells clients only.
- ``query.statistics``: ``arrays/weights`` [d], ``config/seed`` and ``config/held``; the reply holds
  ``arrays/sums``, those of `ridge.sums` on that model, and ``metrics`` as for ``train``.
- ``train``: ``arrays/weights`` [d], for some work also ``arrays/other`` [d], and a ``config`` of
  ``work`` (JSON), ``round``, ``seed``, ``stream`` and ``held`` (the numbers of `Held`: on which of
  its records a client works); the reply holds ``arrays/weights`` [d] after training and
  ``metrics`` with ``num-examples``, ``samples`` (records processed) and ``seconds``.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.clientapp.typing import ClientAppCallable
from torch import Tensor

from fedunlearn.data import ClientId, Held, Scenario, Shards, build_federation, held_shards
from fedunlearn.flower.arrays import OTHER, SUMS, WEIGHTS, TensorArray, unpack
from fedunlearn.flower.identity import introduction, partition_of
from fedunlearn.flower.messages import client_kinds, decode
from fedunlearn.local import ChunkedTrainer, CohortWork, Halves, LocalWork, train_locally
from fedunlearn.methods import ridge
from fedunlearn.models import Vector
from fedunlearn.randomness import Entropy, Stream, entropy, generator


@dataclass(frozen=True, slots=True)
class Order:
    """What a ``train`` message asks for."""

    weights: Vector
    other: Vector | None
    """A second model, where the strategy sent one along."""
    work: LocalWork
    round: int
    stream: tuple[int, int, int]
    """Seed, stage and round: with the client's number they seed its random numbers."""
    held: Held
    """Which of its records a client is to train on."""

    @classmethod
    def of(cls, message: Message, kinds: Iterable[type] = ()) -> "Order":
        """Read a message; ``kinds`` of work may come besides those that every client knows."""
        content = message.content
        config, arrays = content["config"], content["arrays"]
        assert isinstance(config, ConfigRecord)
        assert isinstance(arrays, ArrayRecord)
        work = _work(str(config["work"]), client_kinds(kinds))
        seed, stream, number = (int(str(config[name])) for name in ("seed", "stream", "round"))
        other = unpack(content, OTHER) if OTHER in arrays else None
        return cls(unpack(content), other, work, number, (seed, stream, number), held_in(config))

    def seed(self, client: ClientId) -> Entropy:
        """Return what the random numbers of one client are made from."""
        seed, stage, number = self.stream
        return entropy(seed, Stream.CLIENT, stage, number, client)


def held_in(config: ConfigRecord) -> Held:
    """Return which records a message asks about."""
    numbers = config["held"]
    assert isinstance(numbers, list)
    return Held(*map(int, numbers))


@lru_cache(maxsize=16)
def _work(text: str, kinds: frozenset[type]) -> LocalWork:
    """Read what all clients of a round are told in the same words."""
    work = decode(text, kinds)
    if not isinstance(work, LocalWork):
        raise ValueError(f"A client can only be asked for LocalWork, not {type(work).__name__}.")
    return work


def build_client_app(
    scenario: Scenario,
    device: str = "cpu",
    kinds: Iterable[type] = (),
    halves: Halves | None = None,
) -> ClientApp:
    """Return the app that plays every client of ``scenario`` on ``device``.

    ``kinds`` are classes of a user's own that describe work; see `messages.kinds_in`. They and
    ``scenario`` are all that travels to other processes; each divides the data once for itself.
    With ``halves``, each client trains on two threads.
    """
    app, work_kinds = ClientApp(mods=[_stay_alive]), frozenset(kinds)

    @app.query()
    def hello(message: Message, context: Context) -> Message:
        return Message(RecordDict({"metrics": introduction(context)}), reply_to=message)

    @app.train()
    def train(message: Message, context: Context) -> Message:
        started = time.perf_counter()
        order = Order.of(message, work_kinds)
        client = partition_of(context)
        records = held_shards(scenario, device, order.held)[client]
        weights, samples = (halves or train_locally)(
            build_federation(scenario).network,
            order.weights.to(device),
            records.inputs,
            records.labels,
            order.work,
            order.round,
            generator(order.seed(client)),
            None if order.other is None else order.other.to(device),
        )
        weights = weights.cpu()
        seconds = time.perf_counter() - started
        return _reply(message, weights, _metrics(len(records), samples, seconds))

    @app.query("statistics")
    def statistics(message: Message, context: Context) -> Message:
        started = time.perf_counter()
        weights = unpack(message.content).to(device)
        held = held_in(message.content.config_records["config"])
        records = held_shards(scenario, device, held)[partition_of(context)]
        network = build_federation(scenario).network
        total = ridge.sums(network, weights, records.inputs, records.labels).cpu()
        metrics = _metrics(len(records), len(records), time.perf_counter() - started)
        return _reply(message, total, metrics, SUMS)

    return app


def _stay_alive(message: Message, context: Context, answer: ClientAppCallable) -> Message:
    """Let nothing end the process that other clients work in as well: it is this one's failure."""
    try:
        return answer(message, context)
    except SystemExit as error:
        raise RuntimeError(f"The client's work ended in SystemExit({error.code}).") from error


def train_together(
    pieces: ChunkedTrainer,
    records_of: Callable[[Held], Shards],
    messages: Sequence[Message],
    clients: Sequence[ClientId],
) -> list[Message]:
    """Answer ``train`` messages for several clients as one batch.

    They are of equal content but for the second model, which may be each client's own.
    ``records_of`` returns on which records clients are to train.

    Each reply is the app's own, up to rounding; the time is shared out by records processed.
    """
    started = time.perf_counter()
    order = Order.of(messages[0])
    seeds = [order.seed(client) for client in clients]
    other = order.other
    if other is not None and any(each.content is not messages[0].content for each in messages):
        other = torch.stack([unpack(message.content, OTHER) for message in messages])
    cohort = CohortWork(order.weights, clients, order.work, order.round, seeds, other)
    held = pieces.over(records_of(order.held))
    matrix, processed = held.train(cohort)
    records = [len(held.shards.span(client)) for client in clients]
    each = (time.perf_counter() - started) / sum(processed)
    # Clients with as many records say the same, which is written once.
    sizes = list(zip(records, processed, strict=True))
    metrics = {key: _metrics(*key, each * key[1]) for key in set(sizes)}
    return [
        _reply(message, weights, metrics[key])
        for message, weights, key in zip(messages, matrix.unbind(), sizes, strict=True)
    ]


def _metrics(records: int, samples: int, seconds: float) -> MetricRecord:
    return MetricRecord({"num-examples": records, "samples": samples, "seconds": seconds})


def _reply(message: Message, tensor: Tensor, metrics: MetricRecord, name: str = WEIGHTS) -> Message:
    arrays = ArrayRecord()  # given a dictionary, it would copy every array
    arrays[name] = TensorArray(tensor)
    return Message(RecordDict({"arrays": arrays, "metrics": metrics}), reply_to=message)
