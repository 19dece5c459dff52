"""Records that look a little different in every round, to whoever trains on them and nobody else.

A record's look is a function of the run's seed, the round, the client and the record's place: it
stays the same through the epochs of a round, and nobody's depends on who or what else is there.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from fedunlearn import checks
from fedunlearn.checks import CountFromZero, NotNegative, Positive, Share
from fedunlearn.models import Shape


class Augmentation(Protocol):
    """Changes the inputs of one client's records for a round, and not their labels."""

    def misfit(self, shape: Shape) -> str:
        """Return why records of ``shape`` cannot be augmented so, or nothing where they can."""

    def __call__(self, inputs: Tensor, rng: np.random.Generator) -> Tensor:
        """Return new inputs [n, *shape]; those of record i depend on ``rng`` and i alone."""


@dataclass(frozen=True, slots=True)
class ImageAugmentation:
    """Flip, shift, cover and blur images [n, c, h, w], in this order.

    Flipped are left and right. A shifted image is cropped from itself between margins of 0. The
    square that is covered by 0 has its middle anywhere in the image. Noise is normal, and its sum
    with the pixels is cut to 0 … 1.

    DeVries, Taylor. Improved regularization of convolutional neural networks with cutout. 2017,
    arXiv 1708.04552.
    """

    flip: Share = 0.0
    """Chance that an image is flipped; digits and letters bear none."""
    shift: CountFromZero = 0
    """The most pixels by which an image is moved, up or down and to a side."""
    cutout: CountFromZero = 0
    """Side of a square that is covered, in pixels; 0: none."""
    noise: NotNegative = 0.0
    """Standard deviation of what is added to each pixel."""

    def __post_init__(self) -> None:
        """Raise `Refused` for values outside their range."""
        checks.fields(self)

    def misfit(self, shape: Shape) -> str:
        """Return why records of ``shape`` are no images that can be shifted and covered so."""
        if len(shape) != 3 or not shape.dtype.is_floating_point:
            return "it changes images [channels, height, width], and the records are none"
        least = min(shape[1:])
        if max(self.shift, self.cutout) >= least:
            return f"shift and cutout must be less than the {least} pixels of an image's side"
        return ""

    def __call__(self, inputs: Tensor, rng: np.random.Generator) -> Tensor:
        """See `Augmentation.__call__`."""
        steps, noise = rng.spawn(2)  # of their own, so that no record's depend on how many are
        draws = torch.from_numpy(steps.random((len(inputs), 5))).to(inputs.device)
        if self.flip:
            flipped = (draws[:, 0] < self.flip)[:, None, None, None]
            inputs = torch.where(flipped, inputs.flip(-1), inputs)
        if self.shift:
            inputs = _shifted(inputs, (draws[:, 1:3] * (2 * self.shift + 1)).long(), self.shift)
        if self.cutout:
            sizes = torch.tensor(inputs.shape[-2:], device=inputs.device)
            inputs = _covered(inputs, (draws[:, 3:] * sizes).long(), self.cutout)
        if self.noise:
            inputs = (inputs + self.noise * _normal(inputs, noise)).clamp(0, 1)
        return inputs


@dataclass(frozen=True, slots=True)
class SensorAugmentation:
    """Scale and jitter sensors' series [n, steps, channels]: ``x <- s x + j``.

    s, one number for each channel of a record, is normal around 1, and j normal around 0.

    Um, Pfister, Pichler, Endo, Lang, Hirche, Fietzek, Kulić. Data augmentation of wearable sensor
    data for Parkinson's disease monitoring using convolutional neural networks. ICMI 2017, arXiv
    1706.00527.
    """

    jitter: NotNegative = 0.05
    """Standard deviation of what is added to each value."""
    scaling: NotNegative = 0.1
    """Standard deviation of the factor of each channel."""

    def __post_init__(self) -> None:
        """Raise `Refused` for values outside their range."""
        checks.fields(self)

    def misfit(self, shape: Shape) -> str:
        """Return why records of ``shape`` are no series of numbers."""
        if len(shape) != 2 or not shape.dtype.is_floating_point:
            return "it changes series of numbers [steps, channels], and the records are none"
        return ""

    def __call__(self, inputs: Tensor, rng: np.random.Generator) -> Tensor:
        """See `Augmentation.__call__`."""
        factors, noise = rng.spawn(2)
        scales = 1 + self.scaling * _normal(inputs[:, :1], factors)
        return inputs * scales + self.jitter * _normal(inputs, noise)


@dataclass(frozen=True, slots=True)
class InputNoise:
    """Add normal noise to every input of whatever shape, and cut nothing: ``x <- x + std e``."""

    std: Positive = 0.1
    """Standard deviation of what is added to each number."""

    def __post_init__(self) -> None:
        """Raise `Refused` for values outside their range."""
        checks.fields(self)

    def misfit(self, shape: Shape) -> str:
        """Return why records of ``shape`` are no numbers that noise could be added to."""
        if not shape.dtype.is_floating_point:
            return "it adds noise to numbers, and the records are tokens"
        return ""

    def __call__(self, inputs: Tensor, rng: np.random.Generator) -> Tensor:
        """See `Augmentation.__call__`."""
        return inputs + self.std * _normal(inputs, rng)


def _normal(like: Tensor, rng: np.random.Generator) -> Tensor:
    """Draw standard normal numbers, record after record, of the shape and the type of ``like``."""
    drawn = torch.from_numpy(rng.standard_normal(tuple(like.shape), dtype=np.float32))
    return drawn.to(like.device, like.dtype)


def _shifted(images: Tensor, begin: Tensor, most: int) -> Tensor:
    """Crop each image from itself between margins of ``most``, from ``begin`` [n, 2] on."""
    count, channels, height, width = images.shape
    padded = functional.pad(images, (most, most, most, most))
    rows = begin[:, :1] + torch.arange(height, device=images.device)
    columns = begin[:, 1:] + torch.arange(width, device=images.device)
    each = torch.arange(count, device=images.device)[:, None, None, None]
    layers = torch.arange(channels, device=images.device)[None, :, None, None]
    return padded[each, layers, rows[:, None, :, None], columns[:, None, None, :]]


def _covered(images: Tensor, middle: Tensor, side: int) -> Tensor:
    """Set the pixels of a square around ``middle`` [n, 2] to 0, as far as it lies in the image."""
    first = middle - side // 2

    def within(place: int, size: int) -> Tensor:
        offset = torch.arange(size, device=images.device) - first[:, place : place + 1]
        return (offset >= 0) & (offset < side)

    square = within(0, images.shape[-2])[:, :, None] & within(1, images.shape[-1])[:, None, :]
    return images.masked_fill(square[:, None], 0.0)
