"""Nets of sequences: series [channels, time] of numbers, and tokens [length]."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fedunlearn import checks
from fedunlearn.checks import Count, Refused
from fedunlearn.models.architectures import require_groups
from fedunlearn.models.shapes import Shape, require_kind


@dataclass(frozen=True, slots=True)
class Conv1d:
    """Blocks of a convolution over time, GroupNorm, ReLU and halving, then the mean over time.

    Wang, Yan, Oates. Time series classification from scratch with deep neural networks: a strong
    baseline. IJCNN 2017, arXiv 1611.06455; with GroupNorm for BatchNorm.
    """

    channels: tuple[Count, ...] = (32, 64, 64)
    """Widths of the blocks."""
    kernel: Count = 5
    """Steps that a convolution sees."""
    groups: Count = 8
    """Groups of every GroupNorm; divides each width."""

    def __post_init__(self) -> None:
        """Turn a list from a config into a tuple; raise `Refused` for values out of range."""
        checks.fields(self)
        object.__setattr__(self, "channels", tuple(self.channels))
        require_groups(self, self.groups, self.channels)

    def __call__(self, shape: Shape, classes: int) -> nn.Module:
        """Build the net; raises `Refused` for what is no series, and for too short ones."""
        require_kind("conv1d", shape, "series")
        width, steps = shape
        if steps >> len(self.channels) == 0:
            raise Refused(
                f"model.channels has {len(self.channels)} blocks, each of which halves the series, "
                f"but series have {steps} steps. Use fewer."
            )
        layers: list[nn.Module] = []
        for outputs in self.channels:
            layers += [
                nn.Conv1d(width, outputs, self.kernel, padding="same", bias=False),
                nn.GroupNorm(self.groups, outputs),
                nn.ReLU(),
                nn.MaxPool1d(2),
            ]
            width = outputs
        return nn.Sequential(*layers, MeanOverTime(), nn.Linear(width, classes))


class MeanOverTime(nn.Module):
    """[n, c, t] -> [n, c]."""

    def forward(self, series: Tensor) -> Tensor:
        """Return the mean."""
        return series.mean(dim=-1)


class Steps(nn.Module):
    """Turns what a record is into steps [n, t, width]: tokens looked up, series turned around."""

    def __init__(self, model: str, shape: Shape, width: int) -> None:
        """Raise `Refused` for what is no sequence."""
        super().__init__()
        require_kind(model, shape, "series", "tokens")
        self.tokens = shape.kind == "tokens"
        if self.tokens:
            self.length, self.width = shape[0], width
            self.table = nn.Embedding(shape.levels[0], width)
        else:
            self.width, self.length = shape

    def forward(self, records: Tensor) -> Tensor:
        """Return [n, t, width]."""
        if self.tokens:
            embedded: Tensor = self.table(records)
            return embedded
        return records.transpose(-1, -2)


class Recurrent(nn.Module):
    """Steps, a chain of cells, and a linear layer on the last state.

    Cells are written with plain products, which, other than torch's own, many clients share.
    """

    def __init__(self, steps: Steps, cells: list[nn.Module], hidden: int, classes: int) -> None:
        super().__init__()
        self.steps = steps
        self.cells = nn.Sequential(*cells)
        self.last = nn.Linear(hidden, classes)

    def forward(self, records: Tensor) -> Tensor:
        """Return the logits [n, classes]."""
        logits: Tensor = self.last(self.cells(self.steps(records))[:, -1])
        return logits


class GruCell(nn.Module):
    """A layer of gated recurrent units: states [n, t, hidden] of steps [n, t, width].

    ``r, z = sigmoid(W x + U h)``, ``c = tanh(W_c x + r * (U_c h + b_c))``,
    ``h <- c + z * (h - c)``: as `torch.nn.GRU`, gates in its order.
    """

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.hidden = hidden
        self.entering = nn.Linear(width, 3 * hidden)
        self.recurring = nn.Linear(hidden, 3 * hidden)
        _within_a_root(self, hidden)

    def forward(self, steps: Tensor) -> Tensor:
        """Go through the steps."""
        # One product for all steps; the recurrence itself has nothing to share.
        entering = self.entering(steps).unbind(1)
        state = torch.zeros_like(entering[0][:, : self.hidden])
        states = []
        for given in entering:
            gate, candidate = self.recurring(state).split([2 * self.hidden, self.hidden], -1)
            open_gate, candidate_given = given.split([2 * self.hidden, self.hidden], -1)
            reset, update = (open_gate + gate).sigmoid().chunk(2, -1)
            new = (candidate_given + reset * candidate).tanh()
            state = new + update * (state - new)
            states.append(state)
        return torch.stack(states, 1)


class LstmCell(nn.Module):
    """A layer of long short-term memory: states [n, t, hidden] of steps [n, t, width].

    ``i, f, o = sigmoid(W x + U h)``, ``g = tanh(W_g x + U_g h)``, ``c <- f * c + i * g``,
    ``h <- o * tanh(c)``: as `torch.nn.LSTM`, gates in its order.
    """

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.hidden = hidden
        self.entering = nn.Linear(width, 4 * hidden)
        self.recurring = nn.Linear(hidden, 4 * hidden)
        _within_a_root(self, hidden)

    def forward(self, steps: Tensor) -> Tensor:
        """Go through the steps."""
        entering = self.entering(steps).unbind(1)
        state = torch.zeros_like(entering[0][:, : self.hidden])
        memory = state
        states = []
        for given in entering:
            let_in, keep, new, let_out = (given + self.recurring(state)).chunk(4, -1)
            memory = keep.sigmoid() * memory + let_in.sigmoid() * new.tanh()
            state = let_out.sigmoid() * memory.tanh()
            states.append(state)
        return torch.stack(states, 1)


def _within_a_root(module: nn.Module, hidden: int) -> None:
    """Begin as torch's own recurrent layers do: uniform within ``1 / sqrt(hidden)``."""
    for parameter in module.parameters():
        nn.init.uniform_(parameter, -(hidden**-0.5), hidden**-0.5)


@dataclass(frozen=True, slots=True)
class Gru:
    """Gated recurrent units over tokens or over the steps of a series; the last state decides.

    Cho et al. Learning phrase representations using RNN encoder-decoder for statistical machine
    translation. EMNLP 2014, arXiv 1406.1078.
    """

    hidden: Count = 64
    """Numbers of a state."""
    layers: Count = 1
    """Layers of cells, one above another."""
    embedding: Count = 16
    """Numbers that a token becomes; series need none."""

    def __post_init__(self) -> None:
        """Raise `Refused` for values out of range."""
        checks.fields(self)

    def __call__(self, shape: Shape, classes: int) -> nn.Module:
        """Build the net; raises `Refused` for what is no sequence."""
        return _recurrent(Steps("gru", shape, self.embedding), GruCell, self, classes)


@dataclass(frozen=True, slots=True)
class Lstm:
    """Long short-term memory over tokens or over the steps of a series; the last state decides.

    Hochreiter, Schmidhuber. Long short-term memory. Neural Computation 1997; on next characters
    as in McMahan, Moore, Ramage, Hampson, Aguera y Arcas. AISTATS 2017, arXiv 1602.05629.
    """

    hidden: Count = 64
    """Numbers of a state, and of a memory."""
    layers: Count = 1
    """Layers of cells, one above another."""
    embedding: Count = 16
    """Numbers that a token becomes; series need none."""

    def __post_init__(self) -> None:
        """Raise `Refused` for values out of range."""
        checks.fields(self)

    def __call__(self, shape: Shape, classes: int) -> nn.Module:
        """Build the net; raises `Refused` for what is no sequence."""
        return _recurrent(Steps("lstm", shape, self.embedding), LstmCell, self, classes)


def _recurrent(
    steps: Steps, cell: Callable[[int, int], nn.Module], net: Gru | Lstm, classes: int
) -> Recurrent:
    """Put the layers of ``net`` one above another."""
    widths = [steps.width, *[net.hidden] * (net.layers - 1)]
    return Recurrent(steps, [cell(width, net.hidden) for width in widths], net.hidden, classes)
