"""A net that many clients cannot share a pass of."""

from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True)
class Recurrent:
    """torch's own recurrent layer, which has no rule for many clients."""

    def __call__(self, shape, classes):
        return Rows()


class Rows(nn.Module):
    def __init__(self):
        super().__init__()
        self.cells, self.last = nn.GRU(8, 8, batch_first=True), nn.Linear(8, 10)

    def forward(self, images):
        return self.last(self.cells(images[:, 0])[0][:, -1])
