"""Trained backbones: what they see is frozen, and a head, blocks or adapters learn."""

import copy
import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from fedunlearn import checks
from fedunlearn.checks import Count, CountFromZero, Positive, Refused
from fedunlearn.models.frozen_norm import FrozenNorm, replaced
from fedunlearn.models.low_rank import adapt
from fedunlearn.models.pretrained import PACKAGED, Body, body
from fedunlearn.models.shapes import Shape


@dataclass(frozen=True, slots=True)
class Backbone:
    """A trained net whose first blocks are frozen; the last ``blocks`` of them and a head learn.

    What the frozen ones make of a record is computed once. BatchNorm in blocks that learn keeps
    the statistics it came with.
    """

    net: str = PACKAGED
    """The net: efficientnet_lite0 of a package, or one of torchvision's, with a file."""
    file: str | None = None
    """Its weights: safetensors, or a .pth of plain tensors; None: those of the package."""
    size: Count = 96
    """Height and width to which images are brought before it looks at them."""
    blocks: CountFromZero = 0
    """Last blocks that learn with the head; 0: the head alone."""
    cache: str | None = None
    """Folder in which what the frozen blocks see is kept; None: in memory, anew in every run."""

    def __post_init__(self) -> None:
        """Raise `Refused` for values out of range."""
        checks.fields(self)

    @property
    def digest(self) -> str:
        """As `PartlyFrozen.digest`."""
        return _digest(self._body, self.size, self.blocks)

    def frozen(self, inputs: Tensor) -> Tensor:
        """As `PartlyFrozen.frozen`: [n, features], or [n, c, h, w] where blocks learn."""
        return _seen(self._body, inputs, self.size, self.blocks)

    def __call__(self, shape: Shape, classes: int) -> nn.Module:
        """Build what follows the frozen part."""
        if not self.blocks:
            return nn.Sequential(nn.Flatten(), nn.Linear(self._body.width, classes))
        return nn.Sequential(*_tail(self._body, self.blocks), *_head(self._body.width, classes))

    @property
    def _body(self) -> Body:
        return _cuttable(self.net, self.file, self.size, self.blocks)


@dataclass(frozen=True, slots=True)
class AdaptedBackbone:
    """A trained net that is all frozen; in its last blocks, low-rank adapters learn, and a head.

    Only the adapters and the head are sent, stored and unlearned. What the blocks before make of a
    record is computed once.
    """

    net: str = PACKAGED
    """The net: efficientnet_lite0 of a package, or one of torchvision's, with a file."""
    file: str | None = None
    """Its weights: safetensors, or a .pth of plain tensors; None: those of the package."""
    size: Count = 96
    """Height and width to which images are brought before it looks at them."""
    blocks: Count = 4
    """Last blocks in which layers have adapters."""
    rank: Count = 4
    """Rank of each adapter."""
    alpha: Positive = 8.0
    """What an adapter adds is multiplied by alpha / rank."""
    cache: str | None = None
    """Folder in which what the frozen blocks see is kept; None: in memory, anew in every run."""

    def __post_init__(self) -> None:
        """Raise `Refused` for values out of range."""
        checks.fields(self)

    @property
    def digest(self) -> str:
        """As `PartlyFrozen.digest`."""
        return _digest(self._body, self.size, self.blocks)

    def frozen(self, inputs: Tensor) -> Tensor:
        """As `PartlyFrozen.frozen`: [n, c, h, w]."""
        return _seen(self._body, inputs, self.size, self.blocks)

    def __call__(self, shape: Shape, classes: int) -> nn.Module:
        """Build what follows the frozen part; raises `Refused` where nothing can be adapted."""
        tail = nn.Sequential(*_tail(self._body, self.blocks))
        if not adapt(tail, self.rank, self.alpha):
            raise Refused(
                f"model.blocks={self.blocks}: the last blocks of {self.net} have no linear layer "
                "or 1x1 convolution to adapt. Raise model.blocks, or choose model=backbone."
            )
        return nn.Sequential(*tail, *_head(self._body.width, classes))

    @property
    def _body(self) -> Body:
        return _cuttable(self.net, self.file, self.size, self.blocks)


class MeanOfPixels(nn.Module):
    """[n, c, h, w] -> [n, c]."""

    def forward(self, seen: Tensor) -> Tensor:
        """Return the mean."""
        return seen.mean(dim=(-2, -1))


def _cuttable(net: str, file: str | None, size: int, blocks: int) -> Body:
    there = body(net, file, size)
    if blocks > len(there.blocks):
        raise Refused(f"model.blocks={blocks}, but {net} has {len(there.blocks)} blocks.")
    return there


def _seen(there: Body, inputs: Tensor, size: int, blocks: int) -> Tensor:
    """Return what all but the last ``blocks`` make of images; features where that is all."""
    if inputs.dim() != 4 or inputs.shape[1] not in (1, 3):
        sizes = "x".join(map(str, inputs.shape[1:]))
        raise Refused(
            "model=backbone needs images [channels, height, width] with 1 or 3 channels; these "
            f"records are {sizes}. Use a model that fits them."
        )
    images = inputs.expand(-1, 3, -1, -1)
    if images.shape[-2:] != (size, size):
        images = nn.functional.interpolate(images, (size, size), mode="bicubic").clamp(0, 1)
    seen: Tensor = there.standard(images).contiguous(memory_format=torch.channels_last)
    for block in there.blocks[: len(there.blocks) - blocks]:
        seen = block(seen)
    return seen.contiguous() if blocks else seen.mean(dim=(-2, -1))


def _tail(there: Body, blocks: int) -> list[nn.Module]:
    """Return copies of the last blocks that learn, with constant statistics."""

    def constant(norm: nn.Module) -> nn.Module:
        assert isinstance(norm, _BatchNorm)
        return FrozenNorm(norm)

    tail = nn.Sequential(*copy.deepcopy(there.blocks[len(there.blocks) - blocks :]))
    tail.requires_grad_(True)
    replaced(tail, _BatchNorm, constant)
    return list(tail)


def _head(width: int, classes: int) -> list[nn.Module]:
    return [MeanOfPixels(), nn.Linear(width, classes)]


def _digest(there: Body, size: int, blocks: int) -> str:
    return hashlib.sha256(f"{there.digest} {size} {blocks}".encode()).hexdigest()
