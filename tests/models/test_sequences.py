"""Nets of sequences and tables: what they compute, and that many clients share a pass."""

import numpy as np
import pytest
import torch
from torch import nn

from fedunlearn.checks import Refused
from fedunlearn.data import Records, Shards
from fedunlearn.local import LocalWork, train_locally
from fedunlearn.local.cohort import train_cohort
from fedunlearn.models import (
    Cnn,
    Conv1d,
    GroupNormCnn,
    Gru,
    LeNet5,
    Lstm,
    McMahanCnn,
    Mlp,
    Network,
    ResNet18,
    Shape,
    Tabular,
    Transformer,
    try_model,
)
from fedunlearn.models.sequences import GruCell, LstmCell

TOKENS = Shape((9,), torch.int64, (12,))
SERIES = Shape((3, 16))
TABLE = Shape((5,), torch.float32, (0, 4, 0, 11, 2))
NUMBERS = Shape((5,))

NETS = {
    "conv1d": (Conv1d((8, 8), 3, 4), SERIES),
    "gru of tokens": (Gru(8, 2, 4), TOKENS),
    "gru of series": (Gru(8), SERIES),
    "lstm of tokens": (Lstm(8, 1, 4), TOKENS),
    "lstm of series": (Lstm(8, 2), SERIES),
    "transformer of tokens": (Transformer(8, 2, 1, 8), TOKENS),
    "transformer of series": (Transformer(8, 2, 2, 8), SERIES),
    "tabular": (Tabular((8,), 3), TABLE),
    "tabular of numbers": (Tabular(), NUMBERS),
    "mlp of series": (Mlp((8,)), SERIES),
}


def drawn(shape, records, seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return shape.drawn(records)


@pytest.mark.parametrize(("build", "shape"), NETS.values(), ids=NETS)
def test_they_pass_the_trial_and_every_parameter_learns(build, shape):
    network = Network(build, shape, 4)
    inputs = drawn(shape, 64)
    try_model(network, inputs)
    leaf = network.initial(1).requires_grad_()
    logits = network(leaf, inputs)
    assert logits.shape == (64, 4)
    (gradient,) = torch.autograd.grad(logits.square().sum(), leaf)
    for name, part in network.layout.named(gradient).items():
        assert part.any(), name


@pytest.mark.parametrize(("build", "shape"), NETS.values(), ids=NETS)
def test_clients_in_one_batch_train_as_each_alone(build, shape):
    network = Network(build, shape, 4)
    assert network.alone == ""
    held = [Records(drawn(shape, size, size), torch.arange(size) % 4) for size in (12, 5, 8)]
    start, work = network.initial(1), LocalWork(epochs=2, batch_size=5)

    def rngs():
        return [np.random.default_rng([3, row]) for row in range(len(held))]

    together = train_cohort(
        network, start, Shards.of(held), range(len(held)), work, 1, rngs()
    ).weights
    for row, records, rng in zip(together, held, rngs(), strict=True):
        alone = train_locally(network, start, records.inputs, records.labels, work, 1, rng).weights
        torch.testing.assert_close(row, alone, rtol=1e-5, atol=1e-5)
        assert not torch.equal(alone, start)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (GruCell(3, 8), nn.GRU(3, 8, batch_first=True)),
        (LstmCell(3, 8), nn.LSTM(3, 8, batch_first=True)),
    ],
    ids=["gru", "lstm"],
)
def test_cells_compute_what_torch_s_own_layers_do(ours, theirs):
    names = {
        "entering.weight": "weight_ih_l0",
        "recurring.weight": "weight_hh_l0",
        "entering.bias": "bias_ih_l0",
        "recurring.bias": "bias_hh_l0",
    }
    state = theirs.state_dict()
    ours.load_state_dict({name: state[other] for name, other in names.items()})
    steps = drawn(Shape((7, 3)), 5)
    torch.testing.assert_close(ours(steps), theirs(steps)[0], rtol=1e-5, atol=1e-6)


def test_attention_is_torch_s_own():
    network = Transformer(8, 2, 1, 8)(SERIES, 4)
    block = network.blocks[0]
    asked = torch.randn(3, 16, 24, generator=torch.Generator().manual_seed(0))
    query, key, value = (each.view(3, 16, 2, 4).transpose(1, 2) for each in asked.split(8, dim=-1))
    expected = nn.functional.scaled_dot_product_attention(query, key, value)
    torch.testing.assert_close(
        block._attended(asked), expected.transpose(1, 2).reshape(3, 16, 8), rtol=1e-5, atol=1e-6
    )


def test_a_table_s_categories_are_looked_up_each_in_its_own_rows():
    net = Tabular((), 3)(TABLE, 4)
    columns = net[0]
    assert columns.width == 2 + min(3, 2) + min(3, 6) + min(3, 1)
    rows = drawn(TABLE, 50)
    seen = columns(rows)
    assert torch.equal(seen[:, :2], rows[:, [0, 2]])
    for column, count in ((1, 4), (3, 11), (4, 2)):
        shown = rows[:1].repeat(count, 1)
        shown[:, column] = torch.arange(count).float()
        assert len(columns(shown).unique(dim=0)) == count


class OfTorch(nn.Module):
    """What somebody would bring along: it cannot be computed for many clients at once."""

    def __init__(self):
        super().__init__()
        self.cells, self.last = nn.GRU(3, 8, batch_first=True), nn.Linear(8, 4)

    def forward(self, series):
        return self.last(self.cells(series.transpose(1, 2))[0][:, -1])


def test_what_cannot_be_computed_together_is_known_before_training():
    network = Network(lambda shape, classes: OfTorch(), SERIES, 4)
    try_model(network, drawn(SERIES, 3))
    assert "gru" in network.alone


@pytest.mark.parametrize(
    ("build", "shape", "sentence"),
    [
        (Cnn(), TABLE, r"model=cnn needs images .* a table \[columns\] of 5\. Use model=tabular\."),
        (LeNet5(), TOKENS, r"model=lenet5 needs images .* Use model=gru or model=lstm or"),
        (McMahanCnn(), SERIES, r"model=mcmahan needs images .* Use model=conv1d or"),
        (GroupNormCnn(), NUMBERS, r"model=groupnorm_cnn needs images .* Use model=tabular or m"),
        (ResNet18(), SERIES, r"model=resnet18 needs images"),
        (Conv1d(), (3, 8, 8), r"model=conv1d needs series .* Use model=cnn or"),
        (Conv1d(), (3, 7), r"3 blocks, each of which halves the series, but series have 7 steps"),
        (Gru(), (3, 8, 8), r"model=gru needs series .* or sequences of tokens \[length\]; these"),
        (Lstm(), TABLE, r"model=lstm needs series"),
        (Transformer(), NUMBERS, r"model=transformer needs series"),
        (Tabular(), SERIES, r"model=tabular needs rows of a table"),
        (Mlp(), TABLE, r"model=mlp needs numbers, no codes of categories; .* Use model=tabular\."),
        (Mlp(), TOKENS, r"model=mlp needs numbers, no codes"),
    ],
)
def test_other_inputs_are_refused_with_the_nets_that_fit(build, shape, sentence):
    with pytest.raises(Refused, match=sentence):
        Network(build, shape, 4)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Conv1d((12,), 3, 8), "12 is no multiple"),
        (lambda: Transformer(32, 5), "heads=5 must divide width"),
        (lambda: Gru(0), r"Gru\.hidden"),
        (lambda: Tabular((0,)), r"Tabular\.hidden\[0\]"),
    ],
)
def test_values_out_of_range_are_refused(make, sentence):
    with pytest.raises(Refused, match=sentence):
        make()
