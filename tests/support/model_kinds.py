"""Kinds of models that somebody may bring along: those that train, and those that are refused."""

import random
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional

SHAPE, CLASSES = (1, 4, 4), 3


class Dense(nn.Module):
    """Two linear layers; each kind below changes one thing about them."""

    def __init__(self, outputs=CLASSES):
        super().__init__()
        self.first, self.last = nn.Linear(16, 8), nn.Linear(8, outputs)

    def hidden(self, images):
        return self.first(images.flatten(1)).relu()

    def forward(self, images):
        return self.last(self.hidden(images))


class Dropped(Dense):
    def hidden(self, images):
        return functional.dropout(super().hidden(images), 0.5, training=self.training)


class Noisy(Dense):
    def hidden(self, images):
        hidden = super().hidden(images)
        return hidden + torch.randn_like(hidden) if self.training else hidden


class Frozen(Dense):
    def __init__(self):
        super().__init__()
        self.first.requires_grad_(False)


class Counted(Dense):
    def __init__(self):
        super().__init__()
        self.register_buffer("order", torch.arange(15, -1, -1))
        self.register_buffer("share", torch.tensor(0.5), persistent=False)

    def hidden(self, images):
        return self.first(images.flatten(1)[:, self.order] * self.share).relu()


class Scaled(Dense):
    """Other logits in training, but no random numbers."""

    def hidden(self, images):
        return super().hidden(images) * (2 if self.training else 1)


class Zero(Dense):
    def __init__(self):
        super().__init__()
        nn.init.zeros_(self.last.weight)


def lazy():
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(8), nn.ReLU(), nn.LazyLinear(CLASSES))


def dropout():
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.Dropout(0.5), nn.Linear(8, CLASSES))


def weight_normed():
    net = Dense()
    torch.nn.utils.parametrizations.weight_norm(net.first)
    return net


SUPPORTED = {
    "a plain net": Dense,
    "nn.Dropout": dropout,
    "functional dropout": Dropped,
    "noise in training": Noisy,
    "frozen parameters": Frozen,
    "integer and unsaved buffers": Counted,
    "other logits in training": Scaled,
    "a head of zeros": Zero,
    "lazy layers": lazy,
    "weight_norm": weight_normed,
    "GroupNorm": lambda: nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.GroupNorm(2, 4), nn.Flatten(), nn.Linear(16, CLASSES)
    ),
}


class AlwaysDropped(Dense):
    def hidden(self, images):
        return functional.dropout(super().hidden(images), 0.5)


class Rounded(Dense):
    """Draws, but seldom with a consequence."""

    def hidden(self, images):
        return super().hidden(images) * (torch.rand(1).item() >= 0)


class ByNumpy(Dense):
    def hidden(self, images):
        np.random.rand()  # noqa: NPY002
        return super().hidden(images)


class ByPython(Dense):
    def hidden(self, images):
        return super().hidden(images) * (1 if not self.training or random.random() < 2 else 0)


class OwnGenerator(Dense):
    def __init__(self):
        super().__init__()
        self.rng = np.random.default_rng(0)

    def hidden(self, images):
        return super().hidden(images) + float(self.rng.normal())


class Remembering(Dense):
    calls = 0

    def hidden(self, images):
        self.calls += 1
        return super().hidden(images) * self.calls


class Centred(Dense):
    """Normalises by its batch, and is called nothing of the kind."""

    def hidden(self, images):
        hidden = super().hidden(images)
        return hidden - hidden.mean(dim=0)


class CentredInTraining(Dense):
    def hidden(self, images):
        hidden = super().hidden(images)
        return hidden - hidden.mean(dim=0) if self.training else hidden


class BatchNormed(Dense):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(8, track_running_stats=False)

    def hidden(self, images):
        return self.norm(super().hidden(images))


class RunningMean(Dense):
    """Learns a mean by itself, in a buffer."""

    def __init__(self, when="always"):
        super().__init__()
        self.when = when
        self.register_buffer("centre", torch.zeros(8))

    def hidden(self, images):
        hidden = super().hidden(images)
        if self.when == "always" or self.training:
            self.centre.lerp_(hidden.detach().mean(0), 0.1)
        return hidden - self.centre


class CountingCalls(Dense):
    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.tensor(0))

    def hidden(self, images):
        self.calls = self.calls + 1
        return super().hidden(images)


class Clamped(Dense):
    def hidden(self, images):
        with torch.no_grad():
            self.first.weight.clamp_(-0.01, 0.01)
        return super().hidden(images)


class InPlace(Dense):
    def hidden(self, images):
        return super().hidden(images.sub_(0.5))


class Twice(Dense):
    def forward(self, images):
        return super().forward(images), self.hidden(images)


class AuxiliaryInTraining(Dense):
    def forward(self, images):
        logits = super().forward(images)
        return (logits, logits) if self.training else logits


class Doubled(Dense):
    def forward(self, images):
        return super().forward(images).double()


class Squeezed(Dense):
    def forward(self, images):
        return super().forward(images).squeeze(0)


class Nothing(Dense):
    def forward(self, images):
        return super().forward(images) / 0


class Detached(Dense):
    def forward(self, images):
        return super().forward(images).detach()


class Keeping(Dense):
    """Computes with a reference of its own, where nobody looks for a parameter."""

    def __init__(self):
        super().__init__()
        self.kept = [self.first.weight]

    def hidden(self, images):
        return functional.linear(images.flatten(1), self.kept[0]).relu()


class Unseeded(Dense):
    def __init__(self):
        super().__init__()
        self.first.bias.data += float(np.random.default_rng().normal())


def spectral():
    net = Dense()
    torch.nn.utils.parametrizations.spectral_norm(net.first)
    return net


def all_frozen():
    return Dense().requires_grad_(False)


REFUSED = {
    "dropout in evaluation": (AlwaysDropped, r"draws random numbers when it is evaluated"),
    "draws of no consequence": (Rounded, r"draws random numbers when it is evaluated"),
    "numpy's numbers": (ByNumpy, r"draws random numbers from numpy when it is evaluated"),
    "Python's numbers in training": (ByPython, r"numbers from random when it is trained"),
    "a generator of its own": (OwnGenerator, r"other logits for the same weights and records"),
    "memory of earlier calls": (Remembering, r"other logits for the same weights and records"),
    "normalisation by the batch": (Centred, r"depend on the other records of its batch"),
    "the same in training": (CentredInTraining, r"depend on the other records of its batch"),
    "BatchNorm without statistics": (
        BatchNormed,
        r"does not take every number of records|depend on the other records",
    ),
    "running statistics": (RunningMean, r"changes its own centre when it is evaluated"),
    "those of training": (
        lambda: RunningMean("training"),
        r"changes its own centre when it is trained",
    ),
    "spectral_norm": (spectral, r"changes its own .*_u|changes its own .*_v"),
    "a counter": (CountingCalls, r"changes its own calls when it is evaluated"),
    "weights that it clamps": (Clamped, r"changes its own first.weight when it is evaluated"),
    "records changed in place": (InPlace, r"changes the records that it is given"),
    "a tuple": (Twice, r"returns a tuple when it is evaluated, not one tensor of logits"),
    "a tuple in training": (AuxiliaryInTraining, r"returns a tuple when it is trained"),
    "too many outputs": (lambda: Dense(7), r"returns 6x7 .*the data set has 3 classes"),
    "one output": (lambda: Dense(1), r"returns 6x1 .*the data set has 3 classes"),
    "a lost dimension": (
        Squeezed,
        r"does not take every number of records. The model returns 3 when",
    ),
    "float64 logits": (Doubled, r"returns torch.float64"),
    "no numbers": (Nothing, r"logits are not finite with its first weights"),
    "logits without a gradient": (Detached, r"cannot be trained"),
    "nothing to train": (all_frozen, r"nothing to train: all its parameters"),
    "copies of its weights": (Keeping, r"not those registered as its parameters"),
    "first weights without a seed": (Unseeded, r"initialised otherwise each time"),
    "other images": (
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(9, CLASSES)),
        r"fails when it is evaluated on images \[n, c, h, w\] of 6x1x4x4: RuntimeError: ",
    ),
    "BatchNorm": (
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(16, 3), nn.BatchNorm1d(3)),
        r"is BatchNorm1d: its running statistics",
    ),
    "float64 parameters": (lambda: Dense().double(), r"first.weight is torch.float64"),
    "no module": (lambda: [1], r"The model cannot be built for records of 1x4x4 and 3 classes"),
    "a constructor that fails": (lambda: nn.Linear("a", 3), r"cannot be built .* TypeError"),
}


@dataclass(frozen=True)
class Built:
    """A model as a configuration names it."""

    kind: object

    def __call__(self, shape, classes):
        return self.kind()
