"""A few made-up images to plant something in."""

import numpy as np
import torch

from fedunlearn.data import Records


def some(records=60, shape=(2, 8, 10), seed=0):
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(records, *shape, generator=generator) / 2
    return Records(images, torch.arange(records) % 10)


def rng(seed=0):
    return np.random.default_rng(seed)
