"""Ways to destroy what a model has learnt, so that ordinary rounds learn the rest of it anew.

A destroyer changes the model on the server; some ask clients for a sum, or the leavers for work.
With `repairs` they compose: see `strategies/destroy_repair.py`.
"""

from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from fedunlearn import checks
from fedunlearn.history import History, Needs, fedavg_step
from fedunlearn.local import Ascent, LocalWork, Mask, Sgd
from fedunlearn.models import Layout, Part, Vector, layers, normalises, redrawn
from fedunlearn.unlearning import Clients, Request

Which = Literal["all", "convolutions"]
"""The weights that a destroyer works on: those of all layers but normalisations, or only those of
convolutions with square kernels."""


@dataclass(frozen=True)
class Situation:
    """What a destroyer and a repair are handed besides the model."""

    request: Request
    history: History
    clients: Clients
    round: int
    """The training round whose number the work and the questions to clients bear."""
    rng: np.random.Generator
    """The server's random numbers of one cycle, which its destroyers share in turn."""


class Destroyed(NamedTuple):
    """A destroyed model."""

    weights: Vector
    """[d]."""
    mask: Mask | None = None
    """How far the repair may move which coordinates; None: any."""


class Destroyer(Protocol):
    """Destroys something of a model: a frozen dataclass."""

    @property
    def needs(self) -> Needs:
        """What it needs, as `UnlearningStrategy.needs`."""

    def destroy(self, weights: Vector, now: Situation) -> Destroyed:
        """Return a model [d] in place of ``weights`` [d], which stay as they are."""


def weights_of(layout: Layout, which: Which) -> tuple[Part, ...]:
    """Return the weights that ``which`` names: without biases, normalisations and buffers."""
    if which == "convolutions":
        return layout.kernels
    named = (p for p in layout.parts if not p.buffer and not p.name.endswith("bias"))
    return tuple(part for part in named if not normalises(part))


def within(layout: Layout, parts: tuple[Part, ...]) -> Tensor:
    """Return which coordinates lie in ``parts``, [d]."""
    where = torch.zeros(layout.size, dtype=torch.bool)
    for part in parts:
        where[part.slice] = True
    return where


def last_layer(layout: Layout) -> Tensor:
    """Return where the weights and biases of the last layer lie, which makes the logits, [d]."""
    return within(layout, list(layers(layout).values())[-1])


@dataclass(frozen=True, slots=True)
class Redraw:
    """Give the named parameters fresh values (`models.redrawn`)."""

    parameters: tuple[str, ...] = ()
    """Names of the parameters, such as ``0.weight``."""

    def __post_init__(self) -> None:
        """Turn a list into a tuple; raise `Refused` where nothing is named."""
        checks.fields(self)
        object.__setattr__(self, "parameters", tuple(self.parameters))
        if not self.parameters:
            raise checks.field_refused(self, "parameters", " must name one parameter or more.")

    @property
    def needs(self) -> Needs:
        """A model that has them."""
        return Needs(tensors=self.parameters)

    def destroy(self, weights: Vector, now: Situation) -> Destroyed:
        """Draw them anew."""
        layout = now.history.layout
        named = tuple(part for part in layout.parts if part.name in self.parameters)
        return Destroyed(redrawn(layout, weights, within(layout, named), now.rng))


@dataclass(frozen=True, slots=True)
class RedrawEnds:
    """Give the first layer, the last one, or both, fresh values; what lies between stays."""

    first: bool = True
    """Whether the first layer goes."""
    last: bool = True
    """Whether the last layer goes, which makes the logits."""

    def __post_init__(self) -> None:
        """Raise `Refused` where neither goes."""
        checks.fields(self)
        if not (self.first or self.last):
            raise checks.field_refused(self, "last", "=false and first=false leave nothing to do.")

    @property
    def needs(self) -> Needs:
        """Nothing."""
        return Needs()

    def destroy(self, weights: Vector, now: Situation) -> Destroyed:
        """Draw them anew."""
        layout = now.history.layout
        parts = list(layers(layout).values())
        ends = (parts[0] if self.first else ()) + (parts[-1] if self.last else ())
        return Destroyed(redrawn(layout, weights, within(layout, ends), now.rng))


@dataclass(frozen=True, slots=True)
class RedrawRandom:
    """Give layers that are drawn by lot, some perhaps twice, fresh values."""

    share: checks.ShareAboveZero = 0.3
    """Draws as a share of the layers that may be drawn, rounded up."""
    spare_last: bool = True
    """Whether the last layer, which makes the logits, stays."""

    def __post_init__(self) -> None:
        """Raise `Refused` for values outside their range."""
        checks.fields(self)

    @property
    def needs(self) -> Needs:
        """Nothing."""
        return Needs()

    def destroy(self, weights: Vector, now: Situation) -> Destroyed:
        """Draw layers, and then their values; a net of one layer loses that one."""
        layout = now.history.layout
        pool = list(layers(layout).values())
        pool = pool[:-1] if self.spare_last and len(pool) > 1 else pool
        count = int(np.ceil(self.share * len(pool)))
        drawn = set(now.rng.integers(len(pool), size=count).tolist())
        parts = tuple(part for place in sorted(drawn) for part in pool[place])
        return Destroyed(redrawn(layout, weights, within(layout, parts), now.rng))


@dataclass(frozen=True, slots=True)
class PruneAndRedraw:
    """Keep the weights and biases that are largest in the whole net, and draw the rest anew.

    The ``amount`` with the smallest absolute values goes, over all layers but normalisations
    together: pruned weights get fresh values, pruned biases 0.
    """

    amount: checks.Probability = 0.99
    """Share that goes."""

    def __post_init__(self) -> None:
        """Raise `Refused` for values outside their range."""
        checks.fields(self)

    @property
    def needs(self) -> Needs:
        """Nothing."""
        return Needs()

    def destroy(self, weights: Vector, now: Situation) -> Destroyed:
        """Prune, and draw anew."""
        layout = now.history.layout
        gone = smallest(weights.abs(), besides_norms(layout), self.amount)
        fresh = redrawn(layout, weights, gone, now.rng)
        biases = within(layout, tuple(part for part in layout.parts if part.name.endswith("bias")))
        return Destroyed(torch.where(gone & biases, 0.0, fresh))


def besides_norms(layout: Layout) -> Tensor:
    """Return where the weights and biases of all layers but normalisations lie, [d]."""
    owned = layers(layout).values()
    others = (parts for parts in owned if not any(map(normalises, parts)))
    return within(layout, tuple(part for parts in others for part in parts))


def smallest(scores: Tensor, among: Tensor, share: float) -> Tensor:
    """Return where the ``round(share n)`` smallest ``scores`` [d] of n coordinates ``among`` lie.

    Of equal scores those that stand first count as smaller; the result is [d], of truth values.
    """
    places = among.nonzero().flatten()
    order = scores[places].argsort(stable=True)
    chosen = torch.zeros_like(among)
    chosen[places[order[: round(share * len(places))]]] = True
    return chosen


@dataclass(frozen=True, slots=True)
class AddNoise:
    """Add normal noise: ``w <- w + s e``, s of its own size or relative to each tensor's."""

    std: checks.Positive = 0.6
    """Standard deviation of the noise; where `relative`, next to the tensor's root mean square."""
    relative: bool = True
    """Whether `std` is a share of each tensor's root mean square."""
    which: Which = "all"
    """The weights that get noise: all but normalisations, or those of convolutions."""

    def __post_init__(self) -> None:
        """Raise `Refused` for values outside their range."""
        checks.fields(self)

    @property
    def needs(self) -> Needs:
        """Convolutions, where it works on them."""
        return Needs(kernels=self.which == "convolutions")

    def destroy(self, weights: Vector, now: Situation) -> Destroyed:
        """Add the noise."""
        noise = torch.from_numpy(now.rng.standard_normal(len(weights))).to(weights.dtype)
        changed = weights.clone()
        for part in weights_of(now.history.layout, self.which):
            own = weights[part.slice]
            size = float(own.square().mean().sqrt()) if self.relative else 1.0
            changed[part.slice] += self.std * size * noise[part.slice]
        return Destroyed(changed)


@dataclass(frozen=True, slots=True)
class TransposeKernels:
    """Swap height and width of every square kernel: twice is not at all, and no number is lost."""

    @property
    def needs(self) -> Needs:
        """Square kernels."""
        return Needs(kernels=True)

    def destroy(self, weights: Vector, now: Situation) -> Destroyed:
        """Transpose."""
        changed = weights.clone()
        for part in now.history.layout.kernels:
            kernels = weights[part.slice].view(part.shape)
            changed[part.slice] = kernels.transpose(2, 3).reshape(-1)
        return Destroyed(changed)


@dataclass(frozen=True, slots=True)
class AscendOnLeavers:
    """Let every leaver do ``work`` once from the model, such as ascent on its own loss."""

    work: LocalWork = field(
        default_factory=lambda: LocalWork(
            epochs=1, clip_norm=1.0, optimizer=Sgd(lr=0.01), objective=Ascent()
        )
    )
    """What every leaver does."""

    @property
    def needs(self) -> Needs:
        """The leavers work once more."""
        return Needs(leaver=True)

    def destroy(self, weights: Vector, now: Situation) -> Destroyed:
        """Move the model by the mean of what the leavers send."""
        sent = now.clients.leavers.train(weights, now.request.clients, self.work, round=now.round)
        return Destroyed(weights + fedavg_step(sent) if sent.clients else weights)
