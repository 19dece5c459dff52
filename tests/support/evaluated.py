"""Snapshots whose logits are known: a linear net whose weights are the identity."""

import torch

from fedunlearn.data import Records
from fedunlearn.evaluators import Snapshot
from fedunlearn.models import Mlp, Network

CLASSES = 4


def records(logits, labels):
    """Records on which the identity net says ``logits`` [n, CLASSES]."""
    images = torch.as_tensor(logits, dtype=torch.float32).reshape(-1, 1, 1, CLASSES)
    return Records(images, torch.as_tensor(labels, dtype=torch.int64))


def linear_net():
    return Network(Mlp(hidden=()), (1, 1, CLASSES), CLASSES)


def identity(network, scale=1.0):
    """Weights [d] under which the logits are ``scale`` times the image."""
    eye = {"1.weight": scale * torch.eye(CLASSES), "1.bias": torch.zeros(CLASSES)}
    return network.layout.flatten(eye)


def saying(sets, scale=1.0, **kwargs):
    """A snapshot of the identity net on named records."""
    network = linear_net()
    return Snapshot(network, identity(network, scale), sets, network.initial(0), **kwargs)


def hits(right, wrong):
    """Records of which the identity net classifies ``right`` rightly and ``wrong`` wrongly."""
    labels = torch.arange(right + wrong) % CLASSES
    said = torch.where(torch.arange(right + wrong) < right, labels, (labels + 1) % CLASSES)
    return records(5.0 * torch.eye(CLASSES)[said], labels)


def randomly(n, seed, spread=2.0):
    """Records on which the identity net says random things."""
    generator = torch.Generator().manual_seed(seed)
    logits = spread * torch.randn(n, CLASSES, generator=generator)
    return records(logits, torch.randint(CLASSES, (n,), generator=generator))
