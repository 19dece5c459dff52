"""Nets of linear layers and ReLU, for many clients at once: one node of autograd in place of many.

With small batches, calls cost more than what they compute; vmap and autograd make several of each
layer. Here a layer is one product forward and two backward, whatever the number of clients.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn

from fedunlearn.models.layout import Layout, Part


@dataclass(frozen=True)
class Dense:
    """``x <- relu(x W^T + b)``, layer by layer, without the ReLU after the last one."""

    layers: tuple[tuple[Part, Part], ...]
    """Where the weights W [out, in] and the bias b [out] of each layer lie in a model [d]."""

    @classmethod
    def of(cls, module: nn.Module, layout: Layout) -> Self | None:
        """Read a chain of linear layers with ReLU between them; None for any other net."""
        if type(module) is not nn.Sequential or len(module) < 2:
            return None
        flatten, *steps = module
        if type(flatten) is not nn.Flatten or (flatten.start_dim, flatten.end_dim) != (1, -1):
            return None
        linear, between = steps[::2], steps[1::2]
        if len(linear) != len(between) + 1 or any(type(step) is not nn.ReLU for step in between):
            return None
        if any(type(step) is not nn.Linear or step.bias is None for step in linear):
            return None
        parts = layout.parts
        if len(parts) != 2 * len(linear):  # something registered with the chain itself
            return None
        return cls(tuple(zip(parts[::2], parts[1::2], strict=True)))

    def __call__(self, weights: Tensor, images: Tensor) -> Tensor:
        """Return the logits [k, n, classes] of ``images`` [k, n, ...] under ``weights`` [k, d].

        Differentiable once, by ``weights`` alone.
        """
        logits: Tensor = _Chain.apply(weights, images.flatten(2), self.layers)
        return logits


class _Chain(torch.autograd.Function):
    """The chain, and its gradient by all weights as one matrix [k, d]."""

    @staticmethod
    def forward(
        context: Any, weights: Tensor, images: Tensor, layers: Sequence[tuple[Part, Part]]
    ) -> Tensor:
        entering = [images]
        for number, (weight, bias) in enumerate(layers):
            shift = weights[:, None, bias.slice]
            matrix = _matrices(weights, weight)
            left = torch.baddbmm(shift, entering[-1], matrix.transpose(1, 2))
            entering.append(left if number == len(layers) - 1 else left.relu_())
        logits = entering.pop()
        context.save_for_backward(weights, *entering)
        context.layers = layers
        return logits

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(context: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        weights, *entering = context.saved_tensors
        gradient = torch.empty_like(
            weights
        )  # the layers are all that there is: each part is written
        for number in reversed(range(len(entering))):
            weight, bias = context.layers[number]
            torch.sum(slope, dim=1, out=gradient[:, bias.slice])
            torch.bmm(slope.transpose(1, 2), entering[number], out=_matrices(gradient, weight))
            if number:
                slope = torch.bmm(slope, _matrices(weights, weight))
                slope = torch.ops.aten.threshold_backward(slope, entering[number], 0)
        return gradient, None, None


def _matrices(rows: Tensor, part: Part) -> Tensor:
    """View a weight in each of ``rows`` [k, d] as [k, out, in]."""
    return rows[:, part.slice].view(len(rows), *part.shape)
