"""Which coordinates may move in a round, and how far: `Mask`, a factor on each one's step."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from fedunlearn.checks import Refused
from fedunlearn.models import Vector


@dataclass(frozen=True)
class Mask:
    """Factors m [d] in [0, 1], one a coordinate: a step from w to v becomes ``w + m (v - w)``.

    Where m = 0 a coordinate is frozen: it keeps its bits, counts in no gradient's length and
    gathers no momentum. Buffers never move, whatever m says. Only what may move travels back.
    Raises `Refused` for factors outside [0, 1], and where nothing may move.
    """

    factors: Tensor
    """[d] float32."""

    def __post_init__(self) -> None:
        """Raise `Refused` for other factors."""
        factors = self.factors
        if factors.dim() != 1 or not bool(((factors >= 0) & (factors <= 1)).all()):
            raise Refused("A mask must hold a number from 0 to 1 for each coordinate of the model.")
        if not bool(factors.any()):
            raise Refused("A mask freezes every coordinate of the model: clients would do nothing.")

    @classmethod
    def of(cls, moving: Tensor) -> "Mask":
        """Let those coordinates move that are true in ``moving`` [d], and freeze the rest."""
        return cls(moving.to(torch.float32))

    @cached_property
    def moving(self) -> Tensor:
        """Which coordinates may move at all, [d]."""
        return self.factors > 0

    @cached_property
    def free(self) -> int:
        """How many coordinates may move."""
        return int(self.moving.sum())

    @cached_property
    def binary(self) -> bool:
        """Whether every factor is 0 or 1, so that a bit says it."""
        return bool((self.factors[self.moving] == 1).all())

    @cached_property
    def packed(self) -> Tensor:
        """The mask as it is sent: bits as uint8 [ceil(d / 8)] if it is `binary`, or the factors."""
        if not self.binary:
            return self.factors
        return torch.from_numpy(np.packbits(self.moving.cpu().numpy()))

    @classmethod
    def unpacked(cls, packed: Tensor, size: int) -> "Mask":
        """Return the mask of ``size`` coordinates that was sent as ``packed``."""
        if packed.dtype != torch.uint8:
            return cls(packed)
        return cls.of(torch.from_numpy(np.unpackbits(packed.numpy(), count=size)))

    def check(self, size: int) -> None:
        """Raise ValueError unless it has a factor for each of a model's ``size`` coordinates."""
        if len(self.factors) != size:
            raise ValueError(f"The mask has {len(self.factors)} factors, but the model {size}.")

    def to(self, device: torch.device) -> "Mask":
        """Return the same mask on ``device``; itself where it already is there."""
        return self if self.factors.device == device else Mask(self.factors.to(device))

    def limit(self, weights: Tensor, before: Tensor) -> None:
        """Make of the step from ``before`` to ``weights``, both [..., p], what the mask allows."""
        size = weights.shape[-1]
        if not self.binary:
            torch.lerp(before, weights, self.factors[:size], out=weights)
        torch.where(self.moving[:size], weights, before, out=weights)

    def felt(self, gradient: Tensor) -> Tensor:
        """Return ``gradient`` [..., p] with 0 for what is frozen."""
        return gradient * self.moving[: gradient.shape[-1]]

    def moved(self, weights: Tensor) -> Tensor:
        """Return what may move of models [..., d], [..., `free`]."""
        moved: Tensor = weights[..., self.moving]
        return moved

    def put(self, weights: Vector, moved: Vector) -> Vector:
        """Return ``weights`` [d] with ``moved`` [`free`] in the places that may move."""
        whole = weights.clone()
        whole[self.moving] = moved
        return whole
