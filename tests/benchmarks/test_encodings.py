import pandas as pd
import pytest
import torch

from benchmarks import encodings
from benchmarks.encodings_figure import draw
from fedunlearn.history import History, Needs, Round, Updates
from fedunlearn.history import encodings as stored
from fedunlearn.models import Layout
from strategies.none import Nothing
from tests.support.slow import slowly

SMALL = ["training.rounds=4", "training.work.epochs=1", "model=mlp", "seeds=[0,1]"]
SMALL += ["dataset._target_=tests.support.world.FewDigits", "~dataset.test_share"]


@pytest.fixture(scope="module", params=slowly("digits_backdoor"))
def found(request):
    return encodings.measured(request.param, SMALL)


def test_every_variant_is_measured_for_every_seed(found):
    assert list(found.columns) == list(encodings.COLUMNS)
    assert len(found) == 2 * len(encodings.NAMES) * (len(encodings.INTERVALS) + 1)
    assert not found.duplicated(["seed", "strategy", "interval", "encoding"]).any()


def test_bytes_are_those_of_the_encoding(found):
    size = 64 * 64 + 64 + 64 * 10 + 10
    for (strategy, interval, name), rows in found.groupby(["strategy", "interval", "encoding"]):
        rounds = {("federaser", 1): 4, ("federaser", 2): 2, ("federaser", 4): 1}
        kept = 5 * rounds.get((strategy, interval), 4)
        assert set(rows["store_bytes"]) == {4 * size + kept * stored.of(name).nbytes(1, size)}


class Seeing(Nothing):
    needs = Needs(updates=True)

    def unlearn(self, request, history, clients):
        yield history[0].updates.deltas


@pytest.mark.parametrize("name", encodings.NAMES)
def test_a_strategy_sees_updates_as_they_would_be_stored(name):
    deltas = torch.randn(3, 500, generator=torch.Generator().manual_seed(0))
    sent = Updates((0, 1, 2), deltas, torch.tensor([1, 1, 1]))
    layout = Layout.of_tensors({"w": torch.zeros(500)})
    history = History(layout, torch.zeros(500), torch.zeros(500), (Round(1, sent, 3),))
    (seen,) = encodings.Through(Seeing(), name).unlearn(None, history, None)
    encoding = stored.of(name)
    assert torch.equal(seen, encoding.decode(encoding.encode(deltas), 500))
    assert torch.equal(seen, deltas) == (name == "float32")


def test_a_table_and_a_figure_come_of_it(found, tmp_path):
    lines = encodings.table(found).splitlines()
    assert len(lines) == 2 + len(encodings.NAMES) * (len(encodings.INTERVALS) + 1)
    draw(pd.concat([found, found.assign(experiment="other_one")]), tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 10_000
