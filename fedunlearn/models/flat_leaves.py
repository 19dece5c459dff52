"""One client's weights as leaves of autograd, so that a step's gradient is one vector at once."""

import torch
from torch import Tensor

from fedunlearn.models.layout import Layout, Vector


class Leaves:
    """A vector of weights [d] whose parts are leaves; their gradients lie in a second vector [d].

    Splitting the weights anew in every step would cost as many calls, and nodes of autograd, as
    there are parts; with small nets that is a tenth of a step. Here the parts are made once, as
    views of ``memory``, and autograd adds their gradients in place to views of one vector.
    """

    def __init__(self, layout: Layout, memory: Vector) -> None:
        """Look at the weights in ``memory`` [d], which others may look at as well."""
        self.memory = memory
        """The weights [d], to be changed in place between steps."""
        self._gradient = torch.empty_like(memory)
        self.whole = self._leaf(self.memory, self._gradient)
        """The same weights [d] as one leaf, for those who compute with all of them."""
        self.parts = tuple(
            self._leaf(weights, slopes)
            for weights, slopes in zip(
                layout.named(self.memory).values(),
                layout.named(self._gradient).values(),
                strict=True,
            )
        )
        """The same weights, part by part."""

    def fits(self, weights: Vector) -> bool:
        """Say whether there is room for ``weights``: the same size, precision and device."""
        mine = self.memory
        return (mine.shape, mine.dtype, mine.device) == (
            weights.shape,
            weights.dtype,
            weights.device,
        )

    def gradient(self, loss: Tensor) -> Vector:
        """Return the gradient [d] of a scalar by `whole` and `parts`; the next call overwrites it.

        Where a computation went through both, it is the sum of what came through each.
        """
        self._gradient.zero_()
        loss.backward()  # type: ignore[no-untyped-call]
        return self._gradient

    @staticmethod
    def _leaf(weights: Tensor, slopes: Tensor) -> Tensor:
        leaf = weights.detach().requires_grad_()
        leaf.grad = slopes
        return leaf
