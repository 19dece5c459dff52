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

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import ClassVar

import torch

from fedunlearn.unlearning import (
    Clients,
    Drift,
    Guarantee,
    History,
    Needs,
    Request,
    Vector,
    checks,
    count_recorded,
    fedavg_step,
    lengths,
    rescale,
    selected_rounds,
    selected_updates,
)


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
        within, work = history.layout.parameters, clients.work.scaled(self.effort)
        rounds, complete = selected_rounds(history, self.selection)
        influence = [float(lengths(r.share(request.clients)[within])) for r in rounds]
        if complete and not any(influence):
            return  # they never took part
        start = self.start(influence, [stored.number > history.forgot for stored in rounds])
        weights = history.initial if start is None else rounds[start].before
        yield weights
        for stored in rounds[start or 0 :]:
            kept = selected_updates(history, self.selection, stored).without(request.clients)
            sent = kept.updates
            if not sent.clients:
                continue
            if not torch.equal(stored.before, weights):
                fresh = clients.train(weights, sent.clients, work, round=stored.number)
                sent = sent.only(set(fresh.clients))
                scaled = rescale(fresh.deltas, sent.deltas, [within], self.max_ratio)
                sent = replace(sent, deltas=scaled)
            weights = weights + fedavg_step(sent)
            yield weights

    def start(self, influence: Sequence[float], untouched: Sequence[bool]) -> int | None:
        """Return the place of the round to go back to; None: that of the first model of all.

        ``influence`` is |sum_u p_u D_u| of each round; before a round that is not ``untouched``
        lies a model which knows clients who left earlier.
        """
        before = list(accumulate(influence[:-1], initial=0.0))
        most = self.beta * sum(influence)
        places = (
            range(len(influence)) if any(influence) else ()
        )  # else what is not stored is theirs
        return max((p for p in places if untouched[p] and before[p] <= most), default=None)
