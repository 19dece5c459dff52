"""Models of which a part never trains: before the net, or within it."""

from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True)
class Quadrants:
    """A head on the mean of each 2x2 square, which stands for a frozen net."""

    factor: float = 1.0

    @property
    def digest(self):
        return str(self.factor)

    def frozen(self, inputs):
        return nn.functional.avg_pool2d(inputs, 2).flatten(1) * self.factor

    def __call__(self, shape, classes):
        return nn.Sequential(nn.Flatten(), nn.Linear(shape[0], classes))


@dataclass(frozen=True)
class WideFrozen:
    """A head on a wide layer that is frozen within the net."""

    def __call__(self, shape, classes):
        net = nn.Sequential(nn.Flatten(), nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, classes))
        net[1].requires_grad_(False)
        return net
