"""Tables of a user's own: what becomes of each column, and what is refused in a sentence."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from fedunlearn.checks import Refused
from fedunlearn.data import (
    CsvTable,
    Natural,
    NoPlanting,
    ParquetTable,
    Scenario,
    checked_federation,
)
from fedunlearn.models import Tabular
from tests.support.visits import visits

PAGE = (Path(__file__).parents[2] / "docs" / "natural.md").read_text()
SENTENCES = re.findall(r'"([^"]+)"', PAGE)


def written(tmp_path, lines, name="visits.csv", encoding="utf-8"):
    path = tmp_path / name
    path.write_bytes("\n".join(lines).encode(encoding))
    return str(path)


def table(tmp_path, lines=None, **fields):
    path = written(tmp_path, visits() if lines is None else lines)
    return CsvTable(path, **{"label": "readmitted", "owner": "hospital", **fields})


def test_every_column_is_encoded_as_the_page_says(tmp_path):
    source = table(tmp_path)
    made, raw = source.load(), pd.read_csv(source.path)
    assert made.levels == (0, 0, 0, 5, 0)
    assert made.classes == ("no", "yes")
    assert made.owners.names == tuple(f"H{n}" for n in range(6))
    assert (len(made.train), len(made.test)) == (320, 80)
    ages, stays, unknown, wards, married = made.train.inputs.T
    kept = raw[raw["stay"].notna()]
    assert unknown.sum() + made.test.inputs[:, 2].sum() == raw["stay"].isna().sum()
    assert (stays[unknown == 1] == 0).all()
    for numbers in (ages, stays[unknown == 0]):
        assert numbers.mean() == pytest.approx(0, abs=1e-5)
        assert numbers.std(correction=0) == pytest.approx(1, abs=1e-5)
    assert set(wards.tolist()) == {1, 2, 3, 4}
    assert married.unique().numel() == 2
    assert len(kept) == 376
    # each record still goes with its owner and its label
    whole = torch.cat([made.train.labels, made.test.labels]).bincount().tolist()
    assert whole == raw["readmitted"].value_counts().loc[["no", "yes"]].tolist()
    by_age = made.train.inputs[:, 0]
    mean = raw["age"].to_numpy()[_training_rows(raw)].mean()
    deviation = raw["age"].to_numpy()[_training_rows(raw)].std()
    expected = (raw["age"].to_numpy()[_training_rows(raw)] - mean) / deviation
    np.testing.assert_allclose(by_age, expected, atol=1e-5)
    owners = [made.owners.names[n] for n in made.owners.of]
    assert owners == raw["hospital"].iloc[_training_rows(raw)].tolist()


def _training_rows(raw):
    from fedunlearn.data.stored import split_rows

    codes = (raw["readmitted"] == "yes").astype(int).to_numpy()
    return split_rows(codes, 0.2, ("no", "yes"), "")[0]


def _unowned(line):
    *cells, _, label = line.split(",")
    return ",".join([*cells, label])


def test_what_the_test_records_hold_moves_nothing(tmp_path):
    lines = visits()
    train, test = lines[:301], [lines[0], *lines[301:]]
    other = [line.replace("medicine", "space") for line in test]
    first, second = (
        table(
            tmp_path,
            train,
            test_path=written(tmp_path, [_unowned(line) for line in held], f"{number}.csv"),
        ).load()
        for number, held in enumerate((test, other))
    )
    torch.testing.assert_close(first.train.inputs, second.train.inputs)
    assert first.levels == second.levels
    new = second.test.inputs[:, 3] == 0
    assert new.sum() == sum("space" in line for line in other)


def test_numbers_only_have_no_levels_and_codes_may_be_categories(tmp_path):
    plain = table(tmp_path, drop=["ward"])
    assert plain.load().levels == ()
    coded = replace(plain, categories=("age",))
    assert coded.load().levels[0] > 50


def test_parquet_reads_the_same(tmp_path):
    pytest.importorskip("pyarrow")
    source = table(tmp_path)
    raw = pd.read_csv(source.path)
    raw.to_parquet(tmp_path / "visits.parquet")
    stored = ParquetTable(str(tmp_path / "visits.parquet"), source.label, source.owner)
    other = stored.load()
    made = source.load()
    torch.testing.assert_close(other.train.inputs, made.train.inputs)
    assert torch.equal(other.train.labels, made.train.labels)
    assert torch.equal(other.owners.of, made.owners.of)
    raw["seen"] = pd.Timestamp("2020-01-01")
    raw.to_parquet(tmp_path / "dated.parquet")
    with pytest.raises(Refused, match=r"seen of .* dates or times"):
        replace(stored, path=str(tmp_path / "dated.parquet")).load()
    raw.drop(columns="seen").assign(parts=[[1, 2]] * len(raw)).to_parquet(tmp_path / "n.parquet")
    with pytest.raises(Refused, match=r"parts of .* numbers or text"):
        replace(stored, path=str(tmp_path / "n.parquet")).load()


def test_a_file_of_the_other_kind_is_refused_with_who_reads_it(tmp_path):
    plain = table(tmp_path)
    said = [
        (replace(plain, path=path), "no CSV file.*dataset=table_parquet")
        for path in (str(tmp_path), "visits.parquet", "part.pq", "data-00000-of-00001.arrow")
    ]
    said.append((replace(plain, test_path="t.parquet"), "t.parquet is no CSV file"))
    said.append((ParquetTable(plain.path, "readmitted"), "no Parquet file.*dataset=csv"))
    said.append((ParquetTable("nowhere.pq", "readmitted"), "dataset.path=nowhere.pq is no file"))
    for source, sentence in said:
        with pytest.raises(Refused, match=sentence):
            source.load()


def test_a_federation_of_hospitals_is_whole(tmp_path):
    source = table(tmp_path)
    scenario = Scenario(source, Natural().of(source), NoPlanting(), Tabular(), (2,), 0)
    here = checked_federation(scenario)
    assert here.owners == tuple(f"H{n}" for n in range(6))
    assert here.clients == 6


def column(name, cells):
    """Return visits with another column at their end."""
    head, *rows = visits()
    return [f"{head},{name}", *(f"{row},{cells(n)}" for n, row in enumerate(rows))]


def replaced(number, cell, rows=slice(1, None)):
    """Return visits with other cells in a column."""
    lines = [line.split(",") for line in visits()]
    for line in lines[rows]:
        line[number] = cell
    return [",".join(line) for line in lines]


MALFORMED = {
    "no header": (visits()[1:], {}, "seems to be data.*names the columns"),
    "an empty file": ([], {}, "is empty: its first row must name the columns"),
    "a header alone": (visits()[:1], {}, "holds no rows below"),
    "no such owner": (visits(), {"owner": "clinic"}, "no column clinic; set dataset.owner"),
    "no such label": (visits(), {"label": "readmited"}, "did you mean readmitted"),
    "no label named": (visits(), {"label": None}, "dataset.label is not set"),
    "one class": (replaced(5, "no"), {}, "holds 'no' alone"),
    "a single owner": (replaced(4, "H1"), {}, "leaves 1 of the 1 owners.*needs two"),
    "ragged rows": ([*visits(), "1,2"], {}, "6 columns, but 1 of its rows .* row 402 has 2"),
    "an empty column": (column("note", lambda n: ""), {}, "note of .* is empty in all"),
    "dates": (column("seen", lambda n: f"2021-03-{n % 28 + 1:02}"), {}, "seen of .* dates"),
    "times": (column("at", lambda n: f"{n % 24}:30"), {}, "at of .* dates or times"),
    "free text": (column("note", lambda n: f"saw {n}"), {}, "400 different texts|320 different"),
    "a wrong encoding": (replaced(2, "chirurgié"), {}, "is not utf-8.*dataset.encoding"),
    "amounts": (column("cost", lambda n: n / 7), {"label": "cost"}, "amounts are not predicted"),
    "whole amounts": (column("cost", lambda n: n), {"label": "cost"}, "400 different values"),
    "two columns of a name": (column("age", lambda n: n), {}, "more than one column age"),
    "a column without a name": (column("", lambda n: n), {}, "column 7 has no name"),
    "semicolons": ([s.replace(",", ";") for s in visits()], {}, "Set dataset.separator=';'"),
    "an open quote": ([*visits(), '"1,2,3,4,5,6'], {}, "is no table"),
    "rows without an owner": (replaced(4, "", slice(3, 5)), {}, "2 rows without.*: 4 and 5"),
    "rows without a label": (replaced(5, "?", slice(9, 10)), {}, "1 rows without.*its label"),
    "infinite numbers": (replaced(0, "inf", slice(5, 6)), {}, "infinite numbers"),
    "gaps that are refused": (visits(), {"missing": "refuse"}, r"lacks values in stay \(24\)"),
    "a label that is dropped": (visits(), {"drop": ["readmitted"]}, "drop names the column of l"),
    "label and owner in one": (visits(), {"owner": "readmitted"}, "they must differ"),
    "nothing to learn from": (
        [line[line.index("H") :] if "H" in line else "hospital,readmitted" for line in visits()],
        {},
        "no column beside label and owner",
    ),
}


@pytest.mark.parametrize("kind", MALFORMED)
def test_a_malformed_table_is_refused_in_a_sentence(kind, tmp_path):
    lines, fields, sentence = MALFORMED[kind]
    source = table(tmp_path, lines, **fields)
    if kind == "a wrong encoding":
        written(tmp_path, lines, encoding="latin-1")
    with pytest.raises(Refused, match=sentence) as refused:
        Natural().of(source)
    said = str(refused.value)
    assert "\n" not in said
    assert any(part in said for part in SENTENCES), f"the page has no row for {said}"


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(Refused, match=r"dataset.path=nowhere.csv is no file"):
        CsvTable("nowhere.csv", "a").load()
    source = table(tmp_path)
    lines = visits()
    lines[1] = lines[1].rpartition(",")[0] + ",maybe"
    with pytest.raises(Refused, match=r"labels maybe, which no training record has"):
        replace(source, test_path=written(tmp_path, lines, "t.csv")).load()
    cut = [line.partition(",")[2] for line in visits()]
    with pytest.raises(Refused, match="has no column age, which"):
        replace(source, test_path=written(tmp_path, cut, "t.csv")).load()


def test_five_thousand_rows_are_read_in_no_time(tmp_path):
    from time import process_time

    source = table(tmp_path, visits(5000))
    source.load()
    before = process_time()
    source.load()
    assert process_time() - before < 1
