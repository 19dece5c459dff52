"""What gives a client away: windows of what it sent and of what it trained on."""

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from fedunlearn import randomness
from fedunlearn.data import ClientId
from fedunlearn.history import (
    Encoding,
    History,
    RecordedRound,
    TopK,
    Unencodable,
    encodings,
    on_disk,
)
from fedunlearn.history.audit.patterns import SHORTEST, Patterns
from fedunlearn.history.audit.windows import windows
from fedunlearn.history.audit.writings import decodings, rearranged, transposed, writings
from fedunlearn.models import Layout, Vector
from fedunlearn.randomness import Stream

NEIGHBOURS = 0.5
"""What places and pixels are credited with: half of their bits, as near ones go together.

Windows of 3,000 MNIST records turn up 30 times in the other 57,000 at 1, 10 times at 0.8, never
at 0.5.
"""

Kind = Literal["update", "statistics", "local model", "raw records"]

ROUNDED = ("statistics", "raw records")
"""Kinds that are looked for in half precision by their windows; of updates it is an encoding."""


@dataclass(frozen=True, slots=True)
class Mark:
    """What a window was taken of."""

    kind: Kind
    client: ClientId
    number: int
    """Of the round; of the record, from 0; statistics have none, 0."""
    form: str
    """Its encoding, or the way it is written."""


@dataclass(frozen=True)
class Fingerprints:
    """Windows of what the leavers sent and own; they stay in memory, and only while it audits."""

    leavers: frozenset[ClientId]
    d: int
    """Coordinates of a model."""
    windows: Mapping[bytes, tuple[Mark, ...]]
    """Each as it was cut; it is looked for in all its `writings`."""
    blank: tuple[tuple[ClientId, int], ...]
    """Client and round of updates that no window tells from what those who remain sent."""

    @cached_property
    def _written(self) -> list[tuple[str, tuple[Mark, ...], bytes]]:
        """Every form in which a window may be, whose it is, and the bytes."""
        return [
            (name, tuple(mark for mark in marks if (mark.form, mark.kind in ROUNDED) == kind), text)
            for window, marks in self.windows.items()
            for kind in {(mark.form, mark.kind in ROUNDED) for mark in marks}
            for name, text in writings(window, kind[0], rounded=kind[1])
        ]

    @cached_property
    def _patterns(self) -> Patterns:
        return Patterns([text for *_, text in self._written])

    @property
    def longest(self) -> int:
        """Bytes of the longest window, in any writing."""
        return 2 * self._patterns.longest + 4

    def marks_in(self, buffer: np.ndarray) -> set[Mark]:
        """Return what ``buffer``, uint8 [n], holds windows of."""
        if len(buffer) < SHORTEST:
            return set()  # as most of the strings are that a server holds
        found = self._forms_in(buffer, "")
        for writing, content in decodings(buffer):
            found |= self._forms_in(content, f" in {writing}")
        return found

    def _forms_in(self, buffer: np.ndarray, writing: str) -> set[Mark]:
        numbers = {number for number, _ in self._patterns.occurrences(buffer)}
        return {
            replace(mark, form=f"{form}{writing}")
            for form, marks, _ in map(self._written.__getitem__, numbers)
            for mark in marks
        }


def taken(
    before: History,
    leavers: Set[ClientId],
    records: Mapping[ClientId, Tensor] | None = None,
    seed: int = 0,
) -> Fingerprints:
    """Take the fingerprints of ``leavers`` from ``before``, the history that still has them.

    Each update in every encoding and transposed; the model that the client trained, where the
    broadcast was kept; its statistics; each of its ``records`` [n, ...]. Reads every round, one
    at a time. ``seed`` determines where windows lie.
    """
    rng = randomness.rng(seed, Stream.WINDOWS)
    by_window: dict[bytes, set[Mark]] = {}
    sent: set[tuple[ClientId, int]] = set()
    models = [before.initial, before.final]
    for kept in before.rounds:
        model = _broadcast(kept)
        models += [] if model is None else [model]
        if leavers & set(kept.clients):
            sent |= _of_round(kept, leavers, model, rng, by_window, before.layout)
    for client, sums in (before.statistics or {}).items():
        if client in leavers:
            _of_rows(sums[None], "statistics", client, rng, by_window)
    # a model of the server is everybody's: the mean of one client's update, say
    turned = [transposed(before.layout, model[None]) for model in models]
    _drop(by_window, *models, *turned)
    marked = {
        (m.client, m.number) for marks in by_window.values() for m in marks if m.kind == "update"
    }
    for client in sorted(leavers & (records or {}).keys()):
        _of_rows((records or {})[client], "raw records", client, rng, by_window)
    ordered = {window: tuple(sorted(marks, key=str)) for window, marks in by_window.items()}
    blank = tuple(sorted(sent - marked))
    return Fingerprints(frozenset(leavers), before.initial.numel(), ordered, blank)


def _of_round(
    kept: RecordedRound,
    leavers: Set[ClientId],
    model: Vector | None,
    rng: np.random.Generator,
    by_window: dict[bytes, set[Mark]],
    layout: Layout,
) -> set[tuple[ClientId, int]]:
    """Add windows of a round; return client and round of each update that is not constant."""
    stored, updates = on_disk(kept), kept.updates
    if not updates.deltas.shape[1]:
        return set()  # of this round only the model and who took part are kept
    written = TopK(0.1) if stored is None else stored.encoding
    chosen = dict.fromkeys([*encodings.SIMPLE.values(), written])
    places = {client: row for row, client in enumerate(updates.clients) if client in leavers}
    rest = [row for row, client in enumerate(updates.clients) if client not in leavers]
    others = updates.deltas[rest]
    for encoding in chosen:
        theirs = _encoded(encoding, others)
        for client, row in places.items():
            mark = Mark("update", client, kept.number, encoding.name)
            for name, part in _encoded(encoding, updates.deltas[[row]]).items():
                rising = name == "indices"
                credit = NEIGHBOURS if rising else 1.0
                cut = windows(part[0], rng, credit=credit, rising=rising)
                marks = {window: {mark} for window in cut}
                if name in theirs:
                    _drop(marks, theirs[name])
                _merge(by_window, marks)
    deltas = updates.deltas
    theirs_turned = transposed(layout, others)
    for client, row in places.items():
        mark = Mark("update", client, kept.number, "float32, transposed")
        marks = {window: {mark} for window in windows(transposed(layout, deltas[[row]])[0], rng)}
        _drop(marks, theirs_turned)
        _merge(by_window, marks)
    if model is not None:
        for client, row in places.items():
            for form, trained, base in _trained(layout, model, deltas[row]):
                mark = Mark("local model", client, kept.number, form)
                _merge(by_window, {window: {mark} for window in windows(trained, rng, base=base)})
    return {(c, kept.number) for c, row in places.items() if (deltas[row] != deltas[row, 0]).any()}


def _trained(layout: Layout, model: Vector, delta: Vector) -> Iterator[tuple[str, Vector, Vector]]:
    """Yield form, what a client trained, and what from: as it is, and transposed."""
    yield "float32", model + delta, model
    both = transposed(layout, torch.stack([model + delta, model]))
    yield "float32, transposed", both[0], both[1]


def _of_rows(
    tensors: Tensor,
    kind: Kind,
    client: ClientId,
    rng: np.random.Generator,
    by_window: dict[bytes, set[Mark]],
) -> None:
    """Add a window or two of each of ``tensors`` [n, ...], in each arrangement of its axes."""
    form = str(tensors.dtype).removeprefix("torch.")
    _of_each(tensors.reshape(len(tensors), -1), form, kind, client, rng, by_window)
    for arrangement, rows in rearranged(tensors):
        _of_each(rows, f"{form}, {arrangement}", kind, client, rng, by_window)


def _of_each(
    rows: Tensor,
    form: str,
    kind: Kind,
    client: ClientId,
    rng: np.random.Generator,
    by_window: dict[bytes, set[Mark]],
) -> None:
    for number, row in enumerate(rows):
        # in small pictures no window carries twice what is needed, nor does one recur
        for credit in (NEIGHBOURS, 0.8):
            cut = windows(row, rng, count=2, credit=credit)
            own = {window: {Mark(kind, client, number, form)} for window in cut}
            _merge(by_window, own)
            if own:
                break


def _encoded(encoding: Encoding, deltas: Tensor) -> dict[str, Tensor]:
    """Encode without the rows that cannot be; scales are left out, they tell nothing."""
    try:
        parts = encoding.encode(deltas)
    except Unencodable as error:
        good = [row for row in range(len(deltas)) if row not in error.rows]
        return _encoded(encoding, deltas[good]) if good else {}
    return {name: part for name, part in parts.items() if name != "scales" and len(part)}


def _broadcast(kept: RecordedRound) -> Vector | None:
    try:
        return kept.before
    except LookupError:
        return None


def _drop(windows: dict[bytes, set[Mark]], *tensors: Tensor) -> None:
    """Take away the windows that any of ``tensors`` holds: they are not the leaver's alone."""
    names = list(windows)
    patterns = Patterns(names)
    for tensor in tensors:
        content = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
        for number in {number for number, _ in patterns.occurrences(content)}:
            windows.pop(names[number], None)


def _merge(by_window: dict[bytes, set[Mark]], windows: Mapping[bytes, Set[Mark]]) -> None:
    for window, marks in windows.items():
        by_window.setdefault(window, set()).update(marks)
