"""Backdoors whose triggers cover the whole image, each leaver's its own."""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fedunlearn import checks, randomness
from fedunlearn.checks import Count, CountFromZero, Refused, ShareAboveZero
from fedunlearn.data.dataset import Dataset, Records
from fedunlearn.data.planting import poisoned, require_kind, triggered_sets
from fedunlearn.randomness import Stream


@dataclass(frozen=True, slots=True)
class Blended:
    """A faint random pattern makes images of other classes the target: ``(1 - a) x + a pattern``.

    Chen, Liu, Li, Lu, Song. Targeted backdoor attacks on deep learning systems using data
    poisoning. 2017, arXiv 1712.05526; there with one pattern, here with one a client.
    """

    share: ShareAboveZero = 0.8
    """Share of a leaver's records of other classes that carry the trigger."""
    target: CountFromZero = 9
    """The label that the trigger stands for."""
    strength: ShareAboveZero = 0.35
    """Share of the pattern in a stamped image; 1 hides the image."""
    seed: CountFromZero = 0
    """Seed of the patterns."""

    def __post_init__(self) -> None:
        """Raise `Refused` for values outside their range."""
        checks.fields(self)

    def stamp(self, images: Tensor, order: int) -> Tensor:
        """Return ``images`` [n, c, h, w] with a client's pattern of uniform noise [c, h, w]."""
        rng = randomness.rng(self.seed, Stream.TRIGGER, order)
        pattern = torch.from_numpy(rng.random(images.shape[1:], np.float32)).to(images.device)
        return (1 - self.strength) * images + self.strength * pattern

    def poison(self, records: Records, order: int, rng: np.random.Generator) -> Records:
        """Stamp and relabel records as `planting.poisoned` says; raise `Refused` for no images."""
        require_kind(records, "images", "blended")
        return poisoned(records, self.stamp, order, self.share, self.target, rng)

    def sets(self, dataset: Dataset, orders: Collection[int]) -> Mapping[str, Records]:
        """Return the sets of `planting.triggered_sets`."""
        return triggered_sets(dataset, self.stamp, orders, self.target)


@dataclass(frozen=True, slots=True)
class Stripes:
    """Sinusoidal stripes make images of other classes the target.

    ``x + a sin(2 pi f j / w)``, clipped to [0, 1], in column j of w. The first leaver's stripes
    stand upright, the second's lie, those of the next two are one period narrower, and so on.

    Barni, Kallas, Tondi. A new backdoor attack in CNNs by training set corruption without label
    poisoning. ICIP 2019, arXiv 1902.11237; there labels stay as they are.
    """

    share: ShareAboveZero = 0.8
    """Share of a leaver's records of other classes that carry the trigger."""
    target: CountFromZero = 9
    """The label that the trigger stands for."""
    amplitude: ShareAboveZero = 0.35
    """The most by which a pixel changes."""
    frequency: Count = 2
    """Periods of the first two leavers' stripes in an image."""

    def __post_init__(self) -> None:
        """Raise `Refused` for values outside their range."""
        checks.fields(self)

    def stamp(self, images: Tensor, order: int) -> Tensor:
        """Return ``images`` [n, c, h, w] with a client's stripes.

        Raises `Refused` where pixels are too coarse for them: at half as many periods as pixels
        the wave is sampled where it is 0.
        """
        axis = -2 if order % 2 else -1
        periods, pixels = self.frequency + order // 2, images.shape[axis]
        if 2 * periods >= pixels:
            raise Refused(
                f"Stripes of {periods} periods, those of leaver {order + 1}, do not show on "
                f"{pixels} pixels; lower planting.frequency or let fewer clients leave."
            )
        wave = torch.sin(2 * math.pi * periods / pixels * torch.arange(pixels)).to(images.device)
        stripes = wave if axis == -1 else wave[:, None]
        return (images + self.amplitude * stripes).clamp(0, 1)

    def poison(self, records: Records, order: int, rng: np.random.Generator) -> Records:
        """Stamp and relabel records as `planting.poisoned` says; raise `Refused` for no images."""
        require_kind(records, "images", "stripes")
        return poisoned(records, self.stamp, order, self.share, self.target, rng)

    def sets(self, dataset: Dataset, orders: Collection[int]) -> Mapping[str, Records]:
        """Return the sets of `planting.triggered_sets`."""
        return triggered_sets(dataset, self.stamp, orders, self.target)
