"""One home for all random streams: whoever draws says in which stream, and no two coincide.

A generator is a function of a seed, a `Stream` and what tells its draws apart within the stream
(a round, a client, …), never of the order of calls nor of who else draws. numpy pads short seeds
with zeros, so the numbers are written so that no sequence of them is the beginning of another:
the stream first, then how many numbers follow, then each with its length.

Two things draw elsewhere: a net's first weights come from torch's own generator, seeded with the
run's seed, as in any other program; scikit-learn's division of a data set has a fixed one.
"""

from collections.abc import Iterator
from enum import IntEnum, unique

import numpy as np

Entropy = tuple[int, ...]
"""What a generator is made from: words below 2^32."""


@unique
class Stream(IntEnum):
    """What random numbers are for. A number is never given to another stream once it was used."""

    CLIENT = 1
    """A client's order of records: by stage (0 is training and unlearning, r the recovery after
    request r), round and client."""
    COHORT = 2
    """Who is asked in a round: by round, the i-th draw is that of client i."""
    SERVER = 3
    """The server's noise: by unlearning round and leavers."""
    SERVER_DATA = 4
    """The server's work on its own records: by round."""
    RESERVE = 5
    """Which records the server owns."""
    PARTITION = 6
    """Which client holds which of the others."""
    HELDOUT = 7
    """Which of its records a client holds out: by client."""
    PLANTING = 8
    """Which of its records are planted with a probe: by client."""
    TRIGGER = 9
    """The pattern of a trigger: by order of the leavers."""
    LIMIT = 10
    """Which records of a large data set are used; the same in all runs."""
    REFERENCE = 11
    """The seeds of further retrained models: by number."""
    RELEARNING = 12
    """The order in which a relearning adversary sees records."""
    EVALUATED = 13
    """Which records of a large set are looked at; the same for every model."""
    SCORED = 14
    """Which records the competition's score is computed on; the same in all runs."""
    SHADOW = 15
    """The seeds of shadow models: by kind and number."""
    SHADOW_HALVES = 16
    """Which half of a pool a pair of shadow models trains on: by pair."""
    SHADOW_PLANTING = 17
    """What of a pool's held-out records is planted: by client."""
    THRESHOLDS = 18
    """Which half of the records an attack's threshold is chosen on."""
    MEMBERSHIP = 19
    """Which records an attack learns from."""
    BOOTSTRAP = 20
    """Which seeds are drawn again for an interval."""
    NULL_MODELS = 21
    """Standard normal models that tell an estimate's bias: by models on either side."""
    ARRANGEMENTS = 22
    """Arrangements of a permutation test with too many to go through: by seeds and models."""
    WINDOWS = 23
    """Where the windows lie that an audit looks for."""
    DEVICES = 24
    """The devices of clients: by draw, the i-th row is that of client i."""
    SEARCH = 25
    """A hyperparameter search: by trial."""
    POWER = 26
    """Normal models that tell what a design can decide: by seeds, references and measures."""
    OWNERS = 27
    """Which owners of records are clients; the same in all runs."""
    AUGMENTATION = 28
    """How a client's records are changed before it trains: beside its order of records."""
    STRAGGLING = 29
    """Whether a client stops early: beside its order of records."""
    DROPOUT = 30
    """Who of a cohort does not reply: by round, the i-th draw is that of client i."""
    SCOPE = 31
    """Which of its records a client has erased or brings: by client and how many-th change."""
    ARRIVALS = 32
    """When requests come (0), and who asks (1)."""
    SUBSETS = 33
    """Which clients (0) or records (1) the models of a bank train on, and which clients are drawn
    again for an interval (2)."""


def entropy(seed: int, stream: Stream, *more: int) -> Entropy:
    """Return what the generator of a stream is made from; different arguments differ in it.

    ``more`` tells draws of one stream apart. Raises ValueError for a negative number.
    """
    numbers = (int(seed), *map(int, more))
    if min(numbers) < 0:
        raise ValueError(f"Random numbers are made from whole numbers from 0, not from {numbers}.")
    return (int(stream), len(numbers), *(word for number in numbers for word in _words(number)))


def generator(words: Entropy) -> np.random.Generator:
    """Return the generator that `entropy` describes, at its beginning."""
    return np.random.default_rng(words)


def sibling(other: np.random.Generator, stream: Stream) -> np.random.Generator:
    """Return the generator of ``stream`` for what ``other`` is for; what it has drawn is no matter.

    It is made from the words of ``other``, all of them, behind the stream's own.
    """
    words = other.bit_generator.seed_seq.entropy  # type: ignore[attr-defined]
    return generator((int(stream), *words))


def rng(seed: int, stream: Stream, *more: int) -> np.random.Generator:
    """Return the generator of a stream, a function of the arguments alone; raises as `entropy`."""
    return generator(entropy(seed, stream, *more))


def drawn_seed(seed: int, stream: Stream, *more: int) -> int:
    """Return a seed below 2^32 that is drawn from a stream; raises as `entropy`."""
    return int(np.random.SeedSequence(entropy(seed, stream, *more)).generate_state(1)[0])


def _words(number: int) -> Iterator[int]:
    """Write a number as its length and its digits to the base 2^32, the lowest first."""
    yield max(1, -(-number.bit_length() // 32))
    yield number % 2**32
    while number >= 2**32:
        number //= 2**32
        yield number % 2**32
