"""Larger small nets: the MNIST net of the FedAvg paper, and one with GroupNorm for CIFAR-10."""

from dataclasses import dataclass

from torch import nn

from fedunlearn import checks
from fedunlearn.checks import Refused
from fedunlearn.models import Shape


@dataclass(frozen=True, slots=True)
class McMahanCnn:
    """Two 5x5 convolutions with pooling, one hidden layer of 512; 1,663,370 parameters on MNIST.

    McMahan, Moore, Ramage, Hampson, Aguera y Arcas. Communication-efficient learning of deep
    networks from decentralized data. AISTATS 2017, arXiv 1602.05629.
    """

    def __call__(self, shape: Shape, classes: int) -> nn.Module:
        """Build the net."""
        depth, height, width = shape
        return nn.Sequential(
            nn.Conv2d(depth, 32, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(64 * (height // 4) * (width // 4), 512),
            nn.ReLU(),
            nn.Linear(512, classes),
        )


@dataclass(frozen=True, slots=True)
class GroupNormCnn:
    """Blocks of a 3x3 convolution, GroupNorm, ReLU and 2x2 pooling, then one linear layer.

    With the defaults and CIFAR-10's images it has 19,546 parameters. GroupNorm knows one image at
    a time, so that no client's statistics stay in the model.

    Wu, He. Group normalization. ECCV 2018, arXiv 1803.08494.
    """

    channels: tuple[int, ...] = (16, 32, 32)
    groups: int = 8

    def __post_init__(self) -> None:
        """Turn a list from a config into a tuple and check it."""
        object.__setattr__(self, "channels", tuple(self.channels))
        checks.whole("model.groups", self.groups)
        for width in self.channels:
            checks.whole("model.channels", width)
            if width % self.groups:
                raise Refused(
                    f"model.groups={self.groups} must divide every width of model.channels, but "
                    f"{width} is no multiple of it."
                )

    def __call__(self, shape: Shape, classes: int) -> nn.Module:
        """Build the net; raises `Refused` for images that so many poolings leave nothing of."""
        inputs, height, width = shape
        depth = len(self.channels)
        if min(height, width) >> depth == 0:
            raise Refused(
                f"model.channels has {depth} blocks, each of which halves the image, but images "
                f"are {height}x{width}. Use fewer."
            )
        layers: list[nn.Module] = []
        for outputs in self.channels:
            layers += [
                nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
                nn.GroupNorm(self.groups, outputs),
                nn.ReLU(),
                nn.MaxPool2d(2),
            ]
            inputs = outputs
        pixels = (height >> depth) * (width >> depth)
        return nn.Sequential(*layers, nn.Flatten(), nn.Linear(inputs * pixels, classes))
