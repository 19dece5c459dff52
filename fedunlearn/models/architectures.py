"""The nets that ship: dense and convolutional, and torchvision ones with GroupNorm."""

import itertools
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import cast

from torch import nn

from fedunlearn import checks
from fedunlearn.checks import Count, Refused
from fedunlearn.models.shapes import Shape, require_kind

Build = Callable[[Shape, int], nn.Module]
"""Makes a freshly initialised net for records of a shape and a number of classes."""


@dataclass(frozen=True, slots=True)
class Mlp:
    """Fully connected layers with ReLU between them."""

    hidden: tuple[Count, ...] = (64,)
    """Width of each hidden layer."""

    def __post_init__(self) -> None:
        """Turn a list from a config into a tuple; raise `Refused` for values out of range."""
        checks.fields(self)
        object.__setattr__(self, "hidden", tuple(self.hidden))

    def __call__(self, shape: Shape, classes: int) -> nn.Module:
        """Build the net; raises `Refused` for tokens and for columns of categories."""
        require_kind("mlp", shape)
        widths = [math.prod(shape), *self.hidden]
        layers: list[nn.Module] = [nn.Flatten()]
        for inputs, outputs in itertools.pairwise(widths):
            layers += [nn.Linear(inputs, outputs), nn.ReLU()]
        return nn.Sequential(*layers, nn.Linear(widths[-1], classes))


@dataclass(frozen=True, slots=True)
class Cnn:
    """Two 3x3 convolutions, one pooling, one hidden layer: for 8x8 and 28x28 images.

    With the defaults and 8x8 images it has 38,282 parameters.
    """

    channels: tuple[Count, Count] = (16, 32)
    """Widths of the two convolutions."""
    hidden: Count = 64
    """Width of the hidden layer."""

    def __post_init__(self) -> None:
        """Turn a list from a config into a tuple; raise `Refused` for values out of range."""
        checks.fields(self)
        object.__setattr__(self, "channels", tuple(self.channels))

    def __call__(self, shape: Shape, classes: int) -> nn.Module:
        """Build the net; raises `Refused` for what is no image."""
        require_kind("cnn", shape, "images")
        depth, height, width = shape
        first, second = self.channels
        return nn.Sequential(
            nn.Conv2d(depth, first, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(first, second, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(second * (height // 2) * (width // 2), self.hidden),
            nn.ReLU(),
            nn.Linear(self.hidden, classes),
        )


@dataclass(frozen=True, slots=True)
class LeNet5:
    """LeNet-5 with ReLU and max pooling; 61,706 parameters on MNIST.

    LeCun, Bottou, Bengio, Haffner. Gradient-based learning applied to document recognition.
    Proceedings of the IEEE 1998. Images of 28x28 are padded to 32x32, as in the paper.
    """

    def __call__(self, shape: Shape, classes: int) -> nn.Module:
        """Build the net; raises `Refused` for images smaller than 28x28 and for other inputs."""
        require_kind("lenet5", shape, "images")
        depth, height, width = shape
        if min(height, width) < 28:
            raise Refused(
                f"model=lenet5 needs images of at least 28x28; these are {height}x{width}. "
                "Use model=cnn."
            )
        padding = 2 if height == 28 else 0
        rows, columns = (((side + 2 * padding - 4) // 2 - 4) // 2 for side in (height, width))
        return nn.Sequential(
            nn.Conv2d(depth, 6, 5, padding=padding),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(6, 16, 5),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(16 * rows * columns, 120),
            nn.ReLU(),
            nn.Linear(120, 84),
            nn.ReLU(),
            nn.Linear(84, classes),
        )


@dataclass(frozen=True, slots=True)
class ResNet18:
    """torchvision's ResNet-18 with GroupNorm; a 3x3 stem without pooling for small images.

    He, Zhang, Ren, Sun. Deep residual learning for image recognition. CVPR 2016, arXiv 1512.03385.
    Images under 64 pixels keep their resolution in the stem, as is usual for CIFAR.
    """

    groups: Count = 32
    """Groups of every GroupNorm; divides 64."""

    def __post_init__(self) -> None:
        """Raise `Refused` unless ``groups`` divides every width of the net."""
        checks.fields(self)
        if 64 % self.groups:
            raise checks.field_refused(
                self, "groups", f" must divide 64 (1, 2, 4, … 64), not {self.groups}."
            )

    def __call__(self, shape: Shape, classes: int) -> nn.Module:
        """Build the net; raises `Refused` for what is no image."""
        require_kind("resnet18", shape, "images")
        from torchvision.models import resnet18  # a second of import that other models spare

        net = resnet18(
            num_classes=classes,
            norm_layer=lambda width: nn.GroupNorm(min(self.groups, width), width),
        )
        depth, height, width = shape
        if min(height, width) < 64:
            net.conv1 = nn.Conv2d(depth, 64, 3, padding=1, bias=False)
            net.maxpool = nn.Identity()
        elif depth != 3:
            net.conv1 = nn.Conv2d(depth, 64, 7, stride=2, padding=3, bias=False)
        return cast(nn.Module, net)


@dataclass(frozen=True, slots=True)
class McMahanCnn:
    """Two 5x5 convolutions with pooling, one hidden layer of 512; 1,663,370 parameters on MNIST.

    McMahan, Moore, Ramage, Hampson, Aguera y Arcas. Communication-efficient learning of deep
    networks from decentralized data. AISTATS 2017, arXiv 1602.05629.
    """

    def __call__(self, shape: Shape, classes: int) -> nn.Module:
        """Build the net; raises `Refused` for what is no image."""
        require_kind("mcmahan", shape, "images")
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

    channels: tuple[Count, ...] = (16, 32, 32)
    """Widths of the blocks."""
    groups: Count = 8
    """Groups of every GroupNorm; divides each width."""

    def __post_init__(self) -> None:
        """Turn a list from a config into a tuple; raise `Refused` for values out of range."""
        checks.fields(self)
        object.__setattr__(self, "channels", tuple(self.channels))
        require_groups(self, self.groups, self.channels)

    def __call__(self, shape: Shape, classes: int) -> nn.Module:
        """Build the net; raises `Refused` for images that so many poolings leave nothing of."""
        require_kind("groupnorm_cnn", shape, "images")
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


def require_groups(net: object, groups: int, widths: Iterable[int]) -> None:
    """Raise `Refused` of a net's field ``groups`` unless it divides every one of its ``widths``."""
    for width in widths:
        if width % groups:
            raise checks.field_refused(
                net,
                "groups",
                f"={groups} must divide every width of channels, but {width} is no multiple of it.",
            )
