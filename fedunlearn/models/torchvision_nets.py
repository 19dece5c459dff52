"""Any of torchvision's classifiers of images, untrained, with GroupNorm for BatchNorm."""

import logging
import math
from dataclasses import dataclass
from functools import cache
from typing import Literal, cast

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from fedunlearn import checks
from fedunlearn.checks import Count
from fedunlearn.models.frozen_norm import replaced
from fedunlearn.models.shapes import Shape, require_kind
from fedunlearn.models.torchvision_names import require_name, untrained

log = logging.getLogger(__name__)

SMALL = 64
"""Height and width below which images keep their resolution in the stem."""


@dataclass(frozen=True, slots=True)
class TorchvisionNet:
    """A net of torchvision's by its name, with fresh weights; BatchNorm becomes GroupNorm.

    Nothing is downloaded. Images of another depth than 3 get a first convolution that fits.
    """

    name: str = "resnet34"
    """The name that torchvision gives it, such as resnet34 or mobilenet_v2."""
    groups: Count = 32
    """Groups of every GroupNorm; where they do not divide its width, as many as divide both."""
    stem: Literal["auto", "small", "own"] = "auto"
    """small: the first convolution takes every pixel and no pooling follows, as is usual for
    CIFAR; own: as torchvision builds it; auto: small for images under 64 pixels."""

    def __post_init__(self) -> None:
        """Raise `Refused` for values out of range and for names that torchvision has not."""
        checks.fields(self)
        require_name(self.name, "model.name")

    def __call__(self, shape: Shape, classes: int) -> nn.Module:
        """Build the net; raises `Refused` for what is no image."""
        require_kind("torchvision", shape, "images")
        depth, height, width = shape
        net = cast(nn.Module, untrained(self.name, classes, height))
        small = self.stem == "small" or (self.stem == "auto" and min(height, width) < SMALL)
        _fit_stem(net, depth, small=small)
        count = replaced(net, _BatchNorm, self._grouped)
        if count:
            _tell(self.name, count)
        return net

    def _grouped(self, norm: nn.Module) -> nn.Module:
        assert isinstance(norm, _BatchNorm)
        return nn.GroupNorm(math.gcd(self.groups, norm.num_features), norm.num_features)


@cache
def _tell(name: str, count: int) -> None:
    """Say once a process what became of the normalisation."""
    log.warning(
        "All %d BatchNorm layers of %s became GroupNorm: running statistics cannot be unlearned.",
        *(count, name),
    )


def _fit_stem(net: nn.Module, depth: int, *, small: bool) -> None:
    """Give ``net`` a first convolution for ``depth`` channels, and for small images."""
    path, first = next(
        (path, layer) for path, layer in net.named_modules() if isinstance(layer, nn.Conv2d)
    )
    patches = first.kernel_size == first.stride  # of a transformer, say: there is no stem
    shrunk = small and not patches
    if depth != first.in_channels or shrunk:
        size = min(3, first.kernel_size[0])
        fitting = nn.Conv2d(
            in_channels=depth,
            out_channels=first.out_channels,
            kernel_size=size if shrunk else cast(tuple[int, int], first.kernel_size),
            stride=1 if shrunk else cast(tuple[int, int], first.stride),
            padding=size // 2 if shrunk else cast(tuple[int, int], first.padding),
            bias=first.bias is not None,
        )
        holder, _, name = path.rpartition(".")
        setattr(net.get_submodule(holder), name, fitting)
    for owner, pooling in ((net, "maxpool"), (getattr(net, "features", net), "pool0")):
        if shrunk and hasattr(owner, pooling):
            setattr(owner, pooling, nn.Identity())
