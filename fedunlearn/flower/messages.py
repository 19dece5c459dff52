"""Frozen dataclasses as JSON text: how work travels in a message. Never pickle, and no import.

A message names kinds of work by the bare names of their classes. A client knows those of
`fedunlearn.local`, those of its own configuration (see `kinds_in`), and what its own process has
sent: so a class of a user's own works in one process wherever it comes from, and in others as a
part of ``training``, a strategy or a recovery. No message makes a client import anything.
"""

import dataclasses
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from fedunlearn.checks import Refused
from fedunlearn.local import (
    Adam,
    Ascent,
    Ball,
    Blend,
    Contrast,
    Corrected,
    CrossEntropy,
    DiagonalFisher,
    Distillation,
    EntropyMatch,
    FeatureMoments,
    FisherPenalty,
    Gradient,
    HardnessSum,
    ImageAugmentation,
    Imitation,
    Indifference,
    InputNoise,
    L1Penalty,
    LabelCounts,
    LocalWork,
    LogitMatch,
    LogitSums,
    Proximal,
    PseudoLabels,
    RandomLabels,
    Ranked,
    RidgeSums,
    Schedule,
    ScoreHistogram,
    SensorAugmentation,
    Sgd,
    SquaredGradients,
    Straggling,
    UnlearningCrossEntropy,
    VirtualTeacher,
)

KINDS: frozenset[type] = frozenset(
    {
        *(LocalWork, Schedule, Ball, Sgd, Adam, DiagonalFisher),
        *(CrossEntropy, Corrected, Distillation, FisherPenalty, L1Penalty, Proximal),
        *(Blend, Contrast, EntropyMatch, Imitation, Indifference, LogitMatch),
        *(ImageAugmentation, InputNoise, SensorAugmentation, Straggling),
        *(Ascent, PseudoLabels, RandomLabels, UnlearningCrossEntropy, VirtualTeacher),
        *(FeatureMoments, Gradient, HardnessSum, LabelCounts, LogitSums, Ranked),
        *(RidgeSums, ScoreHistogram, SquaredGradients),
    }
)
"""What every client knows."""

_sent: dict[str, type] = {}
"""What this process has sent besides, by name."""

CLASS = "class"
"""The key of a kind's name: a keyword of Python, so no field is called so."""


def encode(value: Any) -> str:
    """Return a dataclass instance, with the dataclasses in it, as JSON text.

    Raises `Refused` for two classes of one name.
    """
    _sent.update(_by_name(kinds_in(value) | KINDS))
    return json.dumps(_plain(value), sort_keys=True)


def decode(text: str, kinds: Iterable[type] = KINDS) -> Any:
    """Rebuild what `encode` wrote of ``kinds``; raises ValueError for anything else."""
    try:
        return _rebuilt(json.loads(text), _by_name(kinds))
    except (TypeError, RecursionError) as error:
        raise ValueError(f"The message describes no work: {error}") from error


def client_kinds(own: Iterable[type] = ()) -> frozenset[type]:
    """Return the kinds that a client knows in this process; ``own`` its configuration names."""
    return KINDS.union(_sent.values(), own)


def kinds_in(*values: Any) -> frozenset[type]:
    """Return the classes of all dataclasses in ``values``, such as a training or a strategy."""
    return frozenset(_classes(values))


def _classes(value: Any) -> Iterator[type]:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        yield type(value)
        yield from _classes([getattr(value, field.name) for field in dataclasses.fields(value)])
    elif isinstance(value, Mapping):
        yield from _classes(list(value.values()))
    elif isinstance(value, list | tuple | set | frozenset):
        for item in value:
            yield from _classes(item)


def _by_name(kinds: Iterable[type]) -> dict[str, type]:
    named: dict[str, type] = {}
    for kind in kinds:
        if named.setdefault(kind.__name__, kind) is not kind:
            raise Refused(
                f"Two classes that clients may be sent are called {kind.__name__}. Messages tell "
                "them apart by their names: rename yours."
            )
    return named


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        return value
    fields = {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    return {CLASS: type(value).__name__, **fields}


def _rebuilt(plain: Any, kinds: Mapping[str, type]) -> Any:
    if isinstance(plain, list):
        return tuple(_rebuilt(item, kinds) for item in plain)
    if not isinstance(plain, dict):
        return plain
    name = plain.get(CLASS)
    if not isinstance(name, str) or name not in kinds:
        raise ValueError(
            f"{name} is no kind of work that this client knows. A class of your own must be part "
            "of the configuration of both sides: of training, a strategy or a recovery."
        )
    fields = {key: _rebuilt(value, kinds) for key, value in plain.items() if key != CLASS}
    return kinds[name](**fields)
