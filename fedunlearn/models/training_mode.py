"""Training mode: what a net does there that it does not do when it is evaluated."""

import copy
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from fedunlearn.models.shapes import Shape

_DRAWING = threading.Lock()
"""Held while a forward pass draws: layers know only torch's own generator, of all threads."""


@contextmanager
def seeded(seed: int, device: torch.device = torch.device("cpu")) -> Iterator[None]:
    """Let torch draw what follows from ``seed``, one thread at a time, and forget it afterwards."""
    devices = [device] if device.type == "cuda" else []
    with _DRAWING, torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield


def differs_in_training(module: nn.Module, shape: Shape) -> bool:
    """Whether two random records pass ``module`` otherwise in training than in evaluation mode.

    So it is if the pass draws random numbers, as dropout does, or if it returns other logits.
    """
    shown = copy.deepcopy(module).cpu()
    with seeded(0), torch.no_grad():
        inputs = shape.drawn(2)
        evaluated = shown.eval()(inputs)
        before = torch.get_rng_state()
        trained = shown.train()(inputs)
        drawn = not torch.equal(before, torch.get_rng_state())
    tensors = isinstance(trained, Tensor) and isinstance(evaluated, Tensor)
    return drawn or not tensors or not torch.allclose(trained, evaluated, equal_nan=True)
