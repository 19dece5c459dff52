"""One model as evaluators see it: its weights, and its logits on named sets of records."""

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar, cast

import numpy as np
import torch
from torch import Tensor

from fedunlearn import randomness
from fedunlearn.data import Records
from fedunlearn.models import FORWARD_BATCH, Map, Network, Vector, logits
from fedunlearn.randomness import Stream

Computed = TypeVar("Computed")


@dataclass(frozen=True)
class Snapshot:
    """A model [d] and what it says; the logits of all sets are computed in one pass, once.

    The sets are ``test`` (of the server), ``forget`` (the leavers' train records as they trained
    on them), ``forget_clean`` (those of them that were not poisoned: all, unless a backdoor was
    planted), ``forget_heldout`` (records of the same clients that nobody trained on),
    ``triggered`` (test records whose true class is not the target, with the leavers' triggers,
    labelled with the target; only with a planted backdoor) and ``retained/<client>`` (held-out
    records of each client who remains).
    """

    network: Network
    weights: Vector
    sets: Mapping[str, Records]
    initial: Vector
    """The model before training, [d]."""
    batch_size: int = FORWARD_BATCH
    """Records a forward pass; sets that are smaller share one."""
    each: Map = map
    """Applies the net to batches: the built-in ``map``, or that of a pool of threads."""
    original: "Snapshot | None" = None
    """The model before the request; None where that is not known."""
    further: Callable[[], Mapping[str, Records]] = dict
    """Returns large sets that only some evaluators look at: ``members/<k>``, what a remaining
    client k trains on."""
    _logits: dict[str, Tensor] = field(default_factory=dict, repr=False)
    _kept: dict[Hashable, Any] = field(default_factory=dict, repr=False)

    def labels(self, name: str) -> Tensor:
        """Return the labels [n] of a set, in host memory."""
        return self.sets[name].labels.cpu()

    def logits(self, name: str) -> Tensor:
        """Return the logits [n, classes] of a set, in host memory."""
        if self.sets[name] and not self._logits:
            images = [records.inputs for records in self.sets.values()]
            weights = self.weights.to(images[0].device)
            rows = logits(self.network.arranging, weights, images, self.batch_size, self.each).cpu()
            parts = torch.split(rows, [len(each) for each in images])
            self._logits.update(zip(self.sets, parts, strict=True))
        return self._logits[name]

    def sampled(self, name: str, most: int) -> Records:
        """Return at most so many records of a set, drawn alike for every model, in their order."""
        return _sampled(self.sets[name], most)

    def looked_further(self, most: int) -> dict[str, tuple[Tensor, Tensor]]:
        """Return logits [n, classes] and labels [n] of each of the `further` sets, in host memory.

        At most so many records of a set are looked at, drawn alike for every model.
        """
        device = next(iter(self.sets.values())).labels.device
        sets = {n: _sampled(held, most).to(device) for n, held in self.further().items() if held}
        if not sets:
            return {}
        images = [records.inputs for records in sets.values()]
        weights = self.weights.to(device)
        rows = logits(self.network.arranging, weights, images, self.batch_size, self.each).cpu()
        parts = torch.split(rows, [len(each) for each in images])
        return {
            name: (part, records.labels.cpu())
            for (name, records), part in zip(sets.items(), parts, strict=True)
        }

    def once(self, what: Hashable, compute: Callable[[], Computed]) -> Computed:
        """Return what ``compute`` returned when ``what`` was first asked for.

        What is expensive to compute for a retrained model is asked for with every model next to it.
        """
        if what not in self._kept:
            self._kept[what] = compute()
        return cast(Computed, self._kept[what])


def _sampled(records: Records, most: int) -> Records:
    """Return at most so many of ``records``, drawn alike for every model, in their order."""
    if len(records) <= most:
        return records
    rows = randomness.rng(0, Stream.EVALUATED).permutation(len(records))[:most]
    return records.take(torch.from_numpy(np.sort(rows)).to(records.labels.device))


class Evaluator(Protocol):
    """Measures one model; a frozen dataclass, named in conf/evaluators."""

    def __call__(self, model: Snapshot, retrained: Snapshot | None) -> dict[str, float]:
        """Return metric names and values.

        ``retrained`` is the reference: the model retrained without the leavers, or None where
        there is none (during training); comparisons with it are left out then.
        """
