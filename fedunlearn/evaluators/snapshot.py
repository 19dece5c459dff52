"""One model as evaluators see it: its weights, and its logits on named sets of records."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from fedunlearn.data.dataset import Records
from fedunlearn.layout import Vector
from fedunlearn.models import Network


@dataclass(frozen=True)
class Snapshot:
    """A model [d] and what it says; logits are computed once, when first asked for.

    The sets are ``test`` (of the server), ``forget`` (the leavers' train records as they trained
    on them), ``forget_clean`` (those of them that were not poisoned: all, unless a backdoor was
    planted), ``forget_heldout`` (records of the same clients that nobody trained on),
    ``triggered`` (test images whose true class is not the target, with the leavers' triggers,
    labelled with the target; only with a planted backdoor) and ``retained/<client>`` (held-out
    records of each client who remains).
    """

    network: Network
    weights: Vector
    sets: Mapping[str, Records]
    initial: Vector
    """The model before training, [d]."""
    batch_size: int = 1024
    """Records per forward pass."""
    each: Callable[[Callable[[Tensor], Tensor], Iterable[Tensor]], Iterable[Tensor]] = map
    """Applies the net to batches: the built-in ``map``, or that of a pool of threads."""
    _logits: dict[str, Tensor] = field(default_factory=dict, repr=False)

    def labels(self, name: str) -> Tensor:
        """Return the labels [n] of a set."""
        return self.sets[name].labels

    def logits(self, name: str) -> Tensor:
        """Return the logits [n, classes] of a set."""
        if name not in self._logits:
            batches = torch.split(self.sets[name].images, self.batch_size)
            self._logits[name] = torch.cat(list(self.each(self._forward, batches)))
        return self._logits[name]

    @torch.no_grad()
    def _forward(self, images: Tensor) -> Tensor:
        return self.network(self.weights, images)


class Evaluator(Protocol):
    """Measures one model; a frozen dataclass, named in conf/evaluators."""

    def __call__(self, model: Snapshot, retrained: Snapshot | None) -> dict[str, float]:
        """Return metric names and values.

        ``retrained`` is the reference: the model retrained without the leavers, or None where
        there is none (during training); comparisons with it are left out then.
        """
