"""A small transformer of sequences."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fedunlearn import checks
from fedunlearn.checks import Count
from fedunlearn.models.sequences import Steps
from fedunlearn.models.shapes import Shape


@dataclass(frozen=True, slots=True)
class Transformer:
    """Blocks of attention and a small net over all steps of a sequence, then their mean.

    Every step sees every other. Normalisation stands before each part, as in Xiong et al. On layer
    normalization in the transformer architecture. ICML 2020, arXiv 2002.04745.

    Vaswani et al. Attention is all you need. NeurIPS 2017, arXiv 1706.03762.
    """

    width: Count = 32
    """Numbers of a step; a multiple of heads."""
    heads: Count = 4
    """Attentions side by side."""
    layers: Count = 2
    """Blocks."""
    hidden: Count = 64
    """Width of the small net within a block."""

    def __post_init__(self) -> None:
        """Raise `Refused` for values out of range."""
        checks.fields(self)
        if self.width % self.heads:
            raise checks.field_refused(
                self, "heads", f"={self.heads} must divide width, which is {self.width}."
            )

    def __call__(self, shape: Shape, classes: int) -> nn.Module:
        """Build the net; raises `Refused` for what is no sequence."""
        steps = Steps("transformer", shape, self.width)
        blocks = [Block(self.width, self.heads, self.hidden) for _ in range(self.layers)]
        return Encoder(steps, self.width, blocks, classes)


class Encoder(nn.Module):
    """Steps with their places, blocks, and a linear layer on the mean."""

    def __init__(self, steps: Steps, width: int, blocks: list["Block"], classes: int) -> None:
        super().__init__()
        self.steps = steps
        self.widening = nn.Identity() if steps.tokens else nn.Linear(steps.width, width)
        self.places = nn.Parameter(torch.randn(steps.length, width) * 0.02)
        self.blocks = nn.Sequential(*blocks)
        self.norm = nn.LayerNorm(width)
        self.last = nn.Linear(width, classes)

    def forward(self, records: Tensor) -> Tensor:
        """Return the logits [n, classes]."""
        steps = self.widening(self.steps(records)) + self.places
        logits: Tensor = self.last(self.norm(self.blocks(steps)).mean(dim=1))
        return logits


class Block(nn.Module):
    """``x <- x + attention(norm(x))``, then ``x <- x + net(norm(x))``; [n, t, width]."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.heads = heads
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.asking = nn.Linear(width, 3 * width)
        self.joining = nn.Linear(width, width)
        self.net = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))

    def forward(self, steps: Tensor) -> Tensor:
        """Return the steps after the block."""
        steps = steps + self.joining(self._attended(self.asking(self.first(steps))))
        changed: Tensor = steps + self.net(self.second(steps))
        return changed

    def _attended(self, asked: Tensor) -> Tensor:
        """Return what each step hears of all: queries, keys and values are [n, heads, t, w]."""
        records, length, _ = asked.shape
        query, key, value = asked.view(records, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        shares = (query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5).softmax(-1)
        heard: Tensor = (shares @ value).transpose(1, 2).reshape(records, length, -1)
        return heard
