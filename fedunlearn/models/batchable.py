"""Whether a net can be computed for many clients at once: tried, not looked up by its layers."""

import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from fedunlearn.models.layout import Vector
from fedunlearn.models.shapes import Shape
from fedunlearn.models.training_mode import seeded

TOLERANCE = 1e-3
"""Share of the largest logit by which a batch of clients may move another."""


def hindrance(
    one: Callable[[Vector, Tensor], Tensor],
    together: Callable[[Tensor, Tensor], Tensor],
    weights: Vector,
    shape: Shape,
) -> str:
    """Return why clients cannot share a pass of ``together``, in a few words; empty if they can.

    Two clients with weights near ``weights`` [d] and two records each go through it, and their
    gradients back. It must give the logits of ``one``, and compute none of it in turns, of which
    torch would warn in every round.
    """
    with seeded(0):
        rows = weights + 0.01 * torch.randn(2, len(weights))
        inputs = torch.stack([shape.drawn(2), shape.drawn(2)])
    leaf = rows.clone().requires_grad_()
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            logits = together(leaf, inputs)
            torch.autograd.grad(logits.square().sum(), leaf)
        except Exception as error:  # whatever somebody's own layers raise under vmap
            return _first_words(str(error) or type(error).__name__)
    for warning in warned:
        if "batching rule" in str(warning.message):
            return _first_words(str(warning.message))
    with torch.no_grad():
        apart = torch.stack([one(*pair) for pair in zip(rows, inputs, strict=True)])
    scale = float(apart.abs().nan_to_num().max())
    same = torch.allclose(logits, apart, rtol=0, atol=TOLERANCE * scale + 1e-6, equal_nan=True)
    return "" if same else "it gives other logits there"


def _first_words(text: str) -> str:
    line = text.strip().splitlines()[0].partition(". ")[0].rstrip(".")
    return line if len(line) <= 90 else f"{line[:89]}…"
