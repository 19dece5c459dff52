"""Crab: go back only as far as the leavers mattered, then recalibrate what was stored since.

    S(t) = sum_{s < t} |sum_u p_u D_u^s|,    start from w_t, t the last one with S(t) <= beta S
    w <- w + sum_k n_k u_k / sum_k n_k,      u_k = |D_k| D'_k / |D'_k|

over the selected rounds t, t + 1 … and in them over selected clients k who remain: ``selection``
ranks rounds by drift and clients by cosine, and ``policy=drift`` stores no more than that. D is a
stored update (local - broadcast), p its share of the cohort's records, S the sum over all selected
rounds, D' the update of a short training from the present w. Updates measured at that very w, as
those of the round gone back to, are taken as they are.

Jiang, Shen, Liu, Tan, Lam. Towards Efficient and Certified Recovery from Poisoning Attacks in
Federated Learning. TIFS 2025, arXiv 2401.08216. Their code starts every calibration from the
stored model, which the leavers trained, instead of the calibrated one, and rolls nothing back; the
measure above and ``beta`` are ours, after the paper's idea.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import accumulate
from typing import ClassVar

import torch

from fedunlearn import checks
from fedunlearn.history import (
    AsNeeded,
    Drift,
    History,
    Needs,
    count_recorded,
    selected_rounds,
    selected_updates,
)
from fedunlearn.models import Vector, lengths, mean, rescale
from fedunlearn.unlearning import Clients, Guarantee, Request


@dataclass(frozen=True, slots=True)
class Crab:
    """Keep ``beta`` of what the leavers did; calibrate with ``effort`` of the usual epochs."""

    guarantee: ClassVar[Guarantee] = "none"

    beta: checks.ShareBelowOne = 0.1
    """Rolls back until no more than this share of the leavers' influence is left."""
    effort: checks.ShareAboveZero = 0.5
    """Share of the usual local epochs that a calibration takes."""
    max_ratio: checks.Ratio = 10.0
    """A fresh update is stretched at most this much."""
    selection: Drift = field(default_factory=Drift)
    """What is replayed; ``policy=drift`` with the same values stores only that."""

    def __post_init__(self) -> None:
        """Raise `Refused` for values outside their range."""
        checks.fields(self)

    @property
    def needs(self) -> Needs:
        """Updates and models of all rounds, to select from."""
        return Needs(updates=True, models=True, remaining=True)

    def length(self, request: Request) -> int:
        """Go back, and then one round for each that is selected, if that is to the first."""
        return 1 + count_recorded(self.selection, self.needs, range(1, request.after + 1))

    def unlearn(self, request: Request, history: History, clients: Clients) -> Iterator[Vector]:
        """Yield the model gone back to, and that after each replayed round."""
        work, within = clients.work.scaled(self.effort), history.layout.parameters
        rounds = selected_rounds(history, self.selection)
        theirs = [float(lengths(kept.share(request.clients)[within])) for kept in rounds]
        total = sum(theirs)
        if total == 0 and history.policy == AsNeeded():
            return  # they never took part
        start, weights = 0, history.initial
        for place, spent in enumerate(accumulate(theirs[:-1], initial=0.0)):
            # what the store left out may be theirs, and older models know who left before
            known = total > 0 and rounds[place].number > history.forgot
            if known and spent <= self.beta * total:
                start, weights = place, rounds[place].before
        yield weights

        for stored in rounds[start:]:
            kept = selected_updates(history, self.selection, stored).without(request.clients)
            sent = kept.updates
            if not sent.clients:
                continue
            if torch.equal(stored.before, weights):
                step = mean(sent.deltas, sent.examples)
            else:
                fresh = clients.train(weights, sent.clients, work, round=stored.number)
                sent = sent.only(set(fresh.clients))
                scaled = rescale(fresh.deltas, sent.deltas, [within], self.max_ratio)
                step = mean(scaled, sent.examples)
            weights = weights + step
            yield weights
