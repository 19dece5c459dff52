"""Which of their training records clients hold, round by round, and what requests take."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from fedunlearn.checks import Refused
from fedunlearn.data.changes import FROM_THE_START, Change, Held, erasures
from fedunlearn.data.dataset import Records, Shards
from fedunlearn.data.parts import ClientId


@dataclass(frozen=True)
class _Stay:
    """Records that a client brought, and from which round on it trains on them."""

    since: int
    brought: Tensor
    """[n] bool."""
    place: int
    """Of the change that brought them, in the order of changes; -1: from the start."""


@dataclass(frozen=True)
class _Cut:
    """Records that a client had erased, wherever it had brought them by then."""

    number: int
    """Of the request, from 1."""
    place: int
    records: Tensor
    """[n] bool."""


@dataclass(frozen=True)
class _Holding:
    """One client's stays and cuts."""

    stays: tuple[_Stay, ...]
    cuts: tuple[_Cut, ...] = ()

    def left(self, stay: _Stay, served: int) -> Tensor:
        """Return what of a stay is left once ``served`` requests are, [n] bool."""
        left = stay.brought
        for cut in self.cuts:
            if cut.number <= served and cut.place > stay.place:
                left = left & ~cut.records
        return left

    def held(self, round: int, served: int) -> Tensor:
        """Return what is held in ``round``, [n] bool."""
        held = torch.zeros_like(self.stays[0].brought)
        for stay in self.stays:
            if stay.since <= round:
                held = held | self.left(stay, served)
        return held

    def since(self, served: int) -> int | None:
        """Return the first round in which anything is held; None: never."""
        rounds = (stay.since for stay in self.stays if bool(self.left(stay, served).any()))
        return min(rounds, default=None)


@dataclass(frozen=True)
class Holdings:
    """What clients hold as changes go by; masks mark records of `Federation.train`.

    What a client brings a second time is held from then on, and in no round before that it was
    erased from: retraining finds it only from its return.
    """

    clients: int
    changes: tuple[Change, ...] = ()
    touched: Mapping[ClientId, _Holding] = field(default_factory=dict)
    """Those of the clients whom a change names."""

    @classmethod
    def of(
        cls,
        changes: Sequence[Change],
        train: Shards,
        planted: Sequence[Tensor],
        rng: Callable[[ClientId, int], np.random.Generator],
    ) -> "Holdings":
        """Go through all ``changes``, the earliest first.

        ``planted`` marks each client's records with a probe, [n] bool; ``rng`` returns the
        generator of a client's n-th change. Raises `Refused` for records that are erased from
        nobody, brought twice or not there, and where nobody would take part in a round.
        """
        touched: dict[ClientId, _Holding] = {}
        counts: dict[ClientId, int] = {}
        number = 0
        for place, change in enumerate(changes):
            number += change.kind == "erase"
            for client in change.clients:
                records, order = train[client], counts.get(client, 0)
                known = touched.get(client) or _first(len(records), change)
                counts[client] = order + 1
                marks = planted[client], rng(client, order)
                touched[client] = _changed(known, change, place, number, client, records, *marks)
        made = cls(len(train), tuple(changes), touched)
        made._require_somebody()
        return made

    def since(self, served: int) -> dict[ClientId, int]:
        """Return from which round on each client takes part once ``served`` requests are.

        Who holds nothing, now or later, is not in it.
        """
        firsts = {
            client: self.touched[client].since(served) if client in self.touched else FROM_THE_START
            for client in range(self.clients)
        }
        return {client: first for client, first in firsts.items() if first is not None}

    def present(self, round: int, served: int) -> frozenset[ClientId]:
        """Return who takes part in ``round`` once ``served`` requests are."""
        return frozenset(c for c, first in self.since(served).items() if first <= round)

    def erased(self, number: int) -> dict[ClientId, Tensor]:
        """Return what request ``number``, from 1, takes from each who asks, [n] bool.

        Of whom it takes nothing is not in it.
        """
        return {
            client: cut.records
            for client, holding in sorted(self.touched.items())
            for cut in holding.cuts
            if cut.number == number
        }

    def mask(self, client: ClientId, held: Held) -> Tensor:
        """Mark what ``client`` holds in a round, once some requests are served, [n] bool."""
        return self.touched[client].held(held.round, held.served)

    def asking(self, number: int) -> frozenset[ClientId]:
        """Return who has records erased by request ``number``, from 1."""
        return frozenset(self.erased(number))

    def partial(self, held: Held) -> dict[ClientId, Tensor]:
        """Return what clients may see who hold a part of their records, [n] bool; not all others.

        Who holds nothing is none of them: nobody asks such a client.
        """
        if held.asked:
            masks = self.erased(held.asked)
        else:
            masks = {c: one.held(held.round, held.served) for c, one in self.touched.items()}
        return {c: mask for c, mask in masks.items() if bool(mask.any()) and not bool(mask.all())}

    def shards(self, train: Shards, held: Held) -> Shards:
        """Return what clients may see of ``train``; itself where that is all."""
        partial = self.partial(held)
        if not partial:
            return train
        parts = (
            records.take(partial[client].to(records.labels.device))
            if client in partial
            else records
            for client, records in enumerate(train)
        )
        return Shards.of(list(parts))

    def stage(self, held: Held) -> Held:
        """Return ``held`` with the earliest round in which clients hold the same."""
        begun = (first for first in self._begun if first <= held.round)
        return replace(held, round=max(begun, default=0))

    def _require_somebody(self) -> None:
        if not any(first <= FROM_THE_START for first in self.since(0).values()):
            raise Refused(
                "Nobody takes part in round 1: every client joins later. Leave one of them out of "
                "the joins of withdrawal.timeline."
            )
        for number, erasure in enumerate(self._erasures, start=1):
            if not any(first <= erasure.after for first in self.since(number).values()):
                raise Refused(
                    f"After round {erasure.after} nobody would remain. Let fewer clients leave, or "
                    "raise partition.clients."
                )

    @cached_property
    def _begun(self) -> frozenset[int]:
        """The rounds from which on somebody holds more: every message asks for them."""
        return frozenset(s.since for one in self.touched.values() for s in one.stays)

    @cached_property
    def _erasures(self) -> tuple[Change, ...]:
        return erasures(self.changes)


def _first(records: int, change: Change) -> _Holding:
    """Return what a client holds before its first change: all, unless that is to join."""
    everything = torch.full((records,), change.kind == "erase")
    return _Holding((_Stay(FROM_THE_START, everything, -1),))


def _changed(
    known: _Holding,
    change: Change,
    place: int,
    number: int,
    client: ClientId,
    records: Records,
    planted: Tensor,
    rng: np.random.Generator,
) -> _Holding:
    """Return what a client holds after one more change."""
    now = known.held(change.after, number if change.kind != "erase" else number - 1)
    brought = torch.stack([stay.brought for stay in known.stays]).any(dim=0)
    free = {"erase": now, "join": ~now, "join with others": ~brought}[change.kind]
    if not bool(free.any()):
        wrong = {
            "erase": f"asks after round {change.after}, but holds no records then",
            "join": f"joins after round {change.after}, but holds all of its records then",
            "join with others": (
                f"joins after round {change.after} with other records, but it has held all that it "
                "has. Let it begin with a part of them: {after: 0, join: [" + str(client) + "], "
                "scope: {share: 0.5}}"
            ),
        }[change.kind]
        raise Refused(f"Client {client} {wrong}.")
    chosen = torch.zeros_like(free)
    marks = change.scope.chosen(records.take(free), planted[free].numpy(), rng)
    chosen[free] = torch.from_numpy(marks)
    if change.kind == "erase":
        cut = (_Cut(number, place, chosen),) if bool(chosen.any()) else ()
        return replace(known, cuts=(*known.cuts, *cut))
    return replace(known, stays=(*known.stays, _Stay(change.after + 1, chosen, place)))
