"""Low-rank adapters: a frozen layer, and a narrow way around it that learns."""

import math

import torch
from torch import Tensor, nn

from fedunlearn.models.frozen_norm import replaced


class LowRank(nn.Module):
    """``y = frozen(x) + (alpha / r) B A x`` with A [r, inputs] and B [outputs, r].

    ``frozen`` is a linear layer, or a 1x1 convolution, which is one at every pixel. B begins with
    zeros: so does what is learned.

    Hu et al. LoRA: low-rank adaptation of large language models. ICLR 2022, arXiv 2106.09685.
    """

    def __init__(self, frozen: nn.Linear | nn.Conv2d, rank: int, alpha: float) -> None:
        super().__init__()
        self.frozen = frozen.requires_grad_(False)
        outputs, inputs = frozen.weight.shape[:2]
        self.scale = alpha / rank
        self.a = nn.Parameter(torch.empty(rank, inputs))
        self.b = nn.Parameter(torch.zeros(outputs, rank))
        nn.init.kaiming_uniform_(self.a, a=math.sqrt(5))

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the sum of both ways."""
        straight: Tensor = self.frozen(inputs)
        if isinstance(self.frozen, nn.Linear):
            return straight + (inputs @ self.a.T) @ self.b.T * self.scale
        narrow = nn.functional.conv2d(inputs, self.a[..., None, None], stride=self.frozen.stride)
        around = nn.functional.conv2d(narrow, self.b[..., None, None])
        return straight + around * self.scale


def adapt(module: nn.Module, rank: int, alpha: float) -> int:
    """Freeze ``module`` and lead a way of ``rank`` around each layer that can have one.

    Return how many these are: linear layers and 1x1 convolutions that join all channels.
    """
    module.requires_grad_(False)

    def around(layer: nn.Module) -> nn.Module | None:
        if isinstance(layer, nn.Linear):
            return LowRank(layer, rank, alpha)
        assert isinstance(layer, nn.Conv2d)
        plain = layer.kernel_size == (1, 1) and layer.groups == 1 and not any(_padding(layer))
        return LowRank(layer, rank, alpha) if plain else None

    linear = replaced(module, nn.Linear, around)
    return linear + replaced(module, nn.Conv2d, around)


def _padding(layer: nn.Conv2d) -> tuple[int, ...]:
    return (1,) if isinstance(layer.padding, str) else tuple(layer.padding)
