"""The Flower ClientApp: unpack the message, train, pack the reply.

Messages, all with plain arrays and scalars:

- ``query``: the reply's ``metrics`` hold ``partition-id``, which Flower tells clients only.
- ``query.sums``: ``arrays/weights`` [d], and a ``config`` of ``query`` (JSON), ``seed`` and
  ``held``; the reply holds ``arrays`` of the sums by name, and ``metrics`` as for ``train``.
- ``train``: ``arrays/weights`` [d], for some work also ``arrays/other`` [d] and ``arrays/mask``;
  a ``config`` of ``work`` (JSON), ``round``, ``seed``, ``stream`` and ``held`` (the numbers of
  `Held`: on which of its records a client works); the reply holds ``arrays/weights`` [d] after
  training, or ``arrays/moved``, just what a mask lets move, and ``metrics`` with ``num-examples``,
  ``samples`` (records processed) and ``seconds``.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import cast

import torch
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.clientapp.typing import ClientAppCallable
from torch import Tensor

from fedunlearn.data import ClientId, Held, Scenario, Shards, build_federation, held_shards
from fedunlearn.flower.arrays import MASK, MOVED, OTHER, RANKING, WEIGHTS, TensorArray, unpack
from fedunlearn.flower.identity import introduction, partition_of
from fedunlearn.flower.messages import client_kinds, decode
from fedunlearn.local import (
    ChunkedTrainer,
    CohortWork,
    Halves,
    LocalWork,
    Mask,
    Part,
    Query,
    Ranked,
    train_locally,
)
from fedunlearn.models import Network, Vector
from fedunlearn.randomness import Entropy, Stream, entropy, generator


@dataclass(frozen=True, slots=True)
class Order:
    """What a ``train`` message asks for."""

    weights: Vector
    other: Vector | None
    """A second model, where the strategy sent one along."""
    mask: Mask | None
    """How far which parameters may move; None: any."""
    work: LocalWork
    round: int
    stream: tuple[int, int, int]
    """Seed, stage and round: with the client's number they seed its random numbers."""
    held: Held
    """Which of its records a client is to train on."""
    part: Part | None = None
    """Which of those, by rank; None: all."""

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
        weights, stream_words = unpack(content), (seed, stream, number)
        mask = Mask.unpacked(unpack(content, MASK), len(weights)) if MASK in arrays else None
        held, part = held_in(config), part_in(message, kinds)
        return cls(weights, other, mask, work, number, stream_words, held, part)

    def seed(self, client: ClientId) -> Entropy:
        """Return what the random numbers of one client are made from."""
        seed, stage, number = self.stream
        return entropy(seed, Stream.CLIENT, stage, number, client)


def held_in(config: ConfigRecord) -> Held:
    """Return which records a message asks about."""
    numbers = config["held"]
    assert isinstance(numbers, list)
    return Held(*map(int, numbers))


def part_in(message: Message, kinds: Iterable[type] = ()) -> Part | None:
    """Return which part of the records a message asks about, by rank; None: all of them."""
    config = message.content.config_records["config"]
    if "ranked" not in config:
        return None
    ranked = decode(str(config["ranked"]), client_kinds(kinds))
    if not isinstance(ranked, Ranked):
        raise ValueError(f"Records can only be told by Ranked, not {type(ranked).__name__}.")
    return Part(ranked, unpack(message.content, RANKING))


def _parted(
    network: Network, shards: Shards, clients: Sequence[ClientId], part: Part | None
) -> tuple[Shards, Sequence[ClientId], list[int]]:
    """Return records, whose they are and how many were ranked, where only a part of them counts."""
    if part is None:
        return shards, clients, [0] * len(clients)
    weights = part.model.to(shards.records.labels.device)
    ranked = [len(shards.span(client)) for client in clients]
    return part.ranked.of_clients(network, weights, shards, clients), range(len(clients)), ranked


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
        network = build_federation(scenario).network
        held = held_shards(scenario, device, order.held)
        shards, (place,), (ranked,) = _parted(network, held, [client], order.part)
        records = shards[place]
        weights, samples = (halves or train_locally)(
            network,
            order.weights.to(device),
            records.inputs,
            records.labels,
            order.work,
            order.round,
            generator(order.seed(client)),
            None if order.other is None else order.other.to(device),
            None if order.mask is None else order.mask.to(torch.device(device)),
        )
        seconds = time.perf_counter() - started
        return _trained(
            message, order, weights.cpu(), _metrics(len(records), samples + ranked, seconds)
        )

    @app.query("sums")
    def sums(message: Message, context: Context) -> Message:
        shards = partial(held_shards, scenario, device)
        network, client = build_federation(scenario).network, partition_of(context)
        return sum_together(network, shards, [message], [client], work_kinds)[0]

    return app


def _stay_alive(message: Message, context: Context, answer: ClientAppCallable) -> Message:
    """Let nothing end the process that other clients work in as well: it is this one's failure."""
    try:
        return answer(message, context)
    except SystemExit as error:
        raise RuntimeError(f"The client's work ended in SystemExit({error.code}).") from error


def answer_together(
    pieces: ChunkedTrainer,
    records_of: Callable[[Held], Shards],
    messages: Sequence[Message],
    clients: Sequence[ClientId],
) -> list[Message]:
    """Answer messages of one kind to several clients, ``train`` or ``query.sums``, as one batch."""
    if messages[0].metadata.message_type == "train":
        return train_together(pieces, records_of, messages, clients)
    return sum_together(pieces.network, records_of, messages, clients)


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
    parted = _parted(pieces.network, records_of(order.held), clients, order.part)
    shards, places, ranked = parted
    cohort = CohortWork(order.weights, places, order.work, order.round, seeds, other, order.mask)
    matrix, trained = pieces.over(shards).train(cohort)
    processed = [taken + looked for taken, looked in zip(trained, ranked, strict=True)]
    records = [len(shards.span(place)) for place in places]
    each = (time.perf_counter() - started) / sum(processed)
    # Clients with as many records say the same, which is written once.
    sizes = list(zip(records, processed, strict=True))
    metrics = {key: _metrics(*key, each * key[1]) for key in set(sizes)}
    return [
        _trained(message, order, weights, metrics[key])
        for message, weights, key in zip(messages, matrix.unbind(), sizes, strict=True)
    ]


def sum_together(
    network: Network,
    records_of: Callable[[Held], Shards],
    messages: Sequence[Message],
    clients: Sequence[ClientId],
    kinds: Iterable[type] = (),
) -> list[Message]:
    """Answer ``query.sums`` messages of one content for several clients, in one pass.

    The time is shared out by records. No two answers share memory: whoever keeps one client's sums
    would keep those of all.
    """
    started = time.perf_counter()
    content = messages[0].content
    config = content.config_records["config"]
    query = _query(str(config["query"]), client_kinds(kinds))
    parted = _parted(network, records_of(held_in(config)), clients, part_in(messages[0], kinds))
    shards, places, ranked = parted
    weights = unpack(content).to(shards.records.labels.device)
    sums = {
        name: total.cpu() for name, total in query.sums(network, weights, shards, places).items()
    }
    records = [len(shards.span(place)) for place in places]
    each = (time.perf_counter() - started) / max(1, sum(records))
    return [
        _reply(
            message,
            {name: total[row].clone() for name, total in sums.items()},
            _metrics(held, held + looked, each * held),
        )
        for row, (message, held, looked) in enumerate(zip(messages, records, ranked, strict=True))
    ]


@lru_cache(maxsize=16)
def _query(text: str, kinds: frozenset[type]) -> Query:
    """Read what all clients are asked in the same words."""
    query = decode(text, kinds)
    if not callable(getattr(query, "sums", None)):
        raise ValueError(f"A client can only be asked a Query, not {type(query).__name__}.")
    return cast(Query, query)


def _metrics(records: int, samples: int, seconds: float) -> MetricRecord:
    return MetricRecord({"num-examples": records, "samples": samples, "seconds": seconds})


def _trained(message: Message, order: Order, weights: Vector, metrics: MetricRecord) -> Message:
    """Answer with trained ``weights`` [d], or with what may move of them."""
    if order.mask is None:
        return _reply(message, {WEIGHTS: weights}, metrics)
    return _reply(message, {MOVED: order.mask.moved(weights)}, metrics)


def _reply(message: Message, tensors: Mapping[str, Tensor], metrics: MetricRecord) -> Message:
    arrays = ArrayRecord()  # given a dictionary, it would copy every array
    for name, tensor in tensors.items():
        arrays[name] = TensorArray(tensor)
    return Message(RecordDict({"arrays": arrays, "metrics": metrics}), reply_to=message)
