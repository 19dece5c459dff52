"""BatchNorm whose statistics are constants, as they came with trained weights."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


class FrozenNorm(nn.Module):
    """``(x - mean) / sqrt(var + eps) * weight + bias`` a channel; mean and var never change.

    Other than BatchNorm it knows one record at a time and learns no statistics, so nothing of a
    client stays in it but what ``weight`` and ``bias`` [c] learn by gradients. Tensors are named as
    BatchNorm's.
    """

    def __init__(self, norm: _BatchNorm) -> None:
        """Take over the tensors of ``norm``, which has statistics."""
        super().__init__()
        self.eps = norm.eps
        self.weight, self.bias = (
            nn.Parameter(norm.weight.detach()),
            nn.Parameter(norm.bias.detach()),
        )
        mean, var = norm.running_mean, norm.running_var
        assert mean is not None
        assert var is not None
        self.running_mean = nn.Parameter(mean.clone(), requires_grad=False)
        self.running_var = nn.Parameter(var.clone(), requires_grad=False)

    def forward(self, inputs: Tensor) -> Tensor:
        """Normalise [n, c, ...]."""
        scale = self.weight * torch.rsqrt(self.running_var + self.eps)
        shift = self.bias - self.running_mean * scale
        ones = (1,) * (inputs.dim() - 2)
        return inputs * scale.view(-1, *ones) + shift.view(-1, *ones)


def replaced(
    module: nn.Module, kind: type[nn.Module], make: Callable[[nn.Module], nn.Module | None]
) -> int:
    """Put what ``make`` returns in the place of every layer of ``kind``; return how many it was.

    Layers for which it returns None stay.
    """
    count = 0
    for name, child in list(module.named_children()):
        made = make(child) if isinstance(child, kind) else None
        if made is not None:
            setattr(module, name, made)
            count += 1
        else:
            count += replaced(child, kind, make)
    return count
