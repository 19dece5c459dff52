import json
import sys
from io import BytesIO

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image
from pyarrow import parquet

from fedunlearn.checks import Refused
from fedunlearn.data import Parquet, ParquetTable

PIXELS = np.random.default_rng(0).integers(0, 256, (12, 4, 4, 3), np.uint8)
LABELS = np.arange(12) % 3


def png(pixels):
    file = BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


IMAGES = [png(pixels) for pixels in PIXELS]


def write(file, images=IMAGES, labels=LABELS, struct=True, names=("image", "label"), classes=None):
    file.parent.mkdir(exist_ok=True)
    if struct:
        kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        column = pa.array([{"bytes": image, "path": None} for image in images], kind)
    else:
        column = pa.array(images)
    table = pa.table(dict(zip(names, (column, pa.array(labels)), strict=True)))
    if classes:
        feature = {"names": classes, "_type": "ClassLabel"}
        info = {"info": {"features": {names[1]: feature}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(info)})
    parquet.write_table(table, file)


def both(root, **how):
    for side in ("train", "test"):
        write(root / f"{side}.parquet", **how)


def load(root, **settings):
    return Parquet(str(root), **settings).load()


@pytest.mark.parametrize("struct", [True, False])
@pytest.mark.parametrize("names", [("image", "label"), ("img", "labels"), ("img", "fine_label")])
def test_columns_are_found(tmp_path, struct, names):
    both(tmp_path, struct=struct, names=names)
    data = load(tmp_path)
    expected = torch.from_numpy(PIXELS).permute(0, 3, 1, 2) / 255
    np.testing.assert_allclose(data.train.inputs, expected, rtol=0, atol=1e-7)
    assert data.test.labels.tolist() == LABELS.tolist()
    assert data.classes == ("0", "1", "2")


def test_columns_can_be_named(tmp_path):
    both(tmp_path, names=("picture", "kind"))
    assert len(load(tmp_path, image="picture", label="kind").train) == 12
    with pytest.raises(Refused, match=r"no column image or img; set dataset\.image"):
        load(tmp_path)
    with pytest.raises(Refused, match=r"no column kinds; set dataset\.label; did you mean kind\?"):
        load(tmp_path, image="picture", label="kinds")


def test_several_files_are_read_in_order_and_from_the_folder_data(tmp_path):
    data = tmp_path / "data"
    write(data / "train-00001-of-00002.parquet", IMAGES[8:], LABELS[8:])
    write(data / "train-00000-of-00002.parquet", IMAGES[:8], LABELS[:8], struct=False)
    write(data / "test-00000-of-00001.parquet", IMAGES[:3], LABELS[:3])
    loaded = load(tmp_path)
    assert loaded.train.labels.tolist() == LABELS.tolist()
    assert torch.equal(loaded.train.inputs[:3], loaded.test.inputs)


def test_class_names(tmp_path):
    both(tmp_path, classes=["ant", "bee", "cat", "dog"])
    assert load(tmp_path).classes == ("ant", "bee", "cat", "dog")
    assert load(tmp_path, classes=["a", "b", "c"]).classes == ("a", "b", "c")
    with pytest.raises(Refused, match="from 0 to 2; with 2 classes they must lie in 0 … 1"):
        load(tmp_path, classes=["a", "b"])


def test_limit_keeps_part_of_the_records(tmp_path):
    both(tmp_path)
    full, part = load(tmp_path), load(tmp_path, limit=6)
    assert (len(part.train), len(part.test)) == (6, 2)
    for image, label in zip(part.train.inputs, part.train.labels, strict=True):
        matches = (full.train.inputs == image).flatten(1).all(dim=1)
        assert full.train.labels[matches].tolist() == [label]


def test_conversion(tmp_path):
    both(tmp_path)
    assert load(tmp_path, size=7, channels=1).shape == (1, 7, 7)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"images": [*IMAGES[:-1], b"junk"]}, r"Row 11 of .*t \(class 2\) is not a readable"),
        ({"images": [*IMAGES[:-1], None]}, "test.parquet has rows without bytes"),
        (
            {"images": [*IMAGES[:-1], None], "struct": False},
            "test.parquet has rows without a value",
        ),
        ({"images": list("abcdefghijkl"), "struct": False}, "test.parquet is string; images must"),
        (
            {"labels": [*LABELS[:-1], None]},
            "test.parquet has rows without a value in the column la",
        ),
        ({"labels": LABELS / 1.0}, "column label of .*test.parquet is double"),
        ({"labels": LABELS + 1}, "labels in .*test.parquet go from 1 to 3"),
        ({"images": IMAGES[:0], "labels": LABELS[:0]}, "test.parquet holds no records"),
        (
            {"images": [png(PIXELS[0, :3])] * 12},
            r"^12 of 24 images cannot be used:\n  Row 0 of .*test.parquet \(class 0\) is 3x4 with "
            r"3 channels but the images before it are 4x4 with 3 channels\n(  Row .*\n){9}  and 2",
        ),
        (
            {"labels": [("cat", "dog", "emu")[n] for n in LABELS]},
            r"label of .*test.parquet is string; labels must be whole numbers\. Number the classes "
            r"\('cat', 'dog' and 'emu'\) from 0 .* name them in dataset\.classes\.$",
        ),
        ({"labels": [*LABELS[:-2], None, None]}, "in the column label: 10 and 11. Leave them out"),
        ({"images": [None, *IMAGES[1:-1], None]}, r"rows without bytes \(0 and 11\); images must"),
    ],
)
def test_what_cannot_be_read_is_refused_by_file(tmp_path, how, message):
    both(tmp_path)
    write(tmp_path / "test.parquet", **how)
    with pytest.raises(Refused, match=message):
        load(tmp_path)


def test_labels_must_be_numbered_without_a_gap(tmp_path):
    both(tmp_path, labels=LABELS * 2)
    with pytest.raises(Refused, match=r"3 different labels in .*train.parquet go from 0 to 4"):
        load(tmp_path)
    assert len(load(tmp_path, classes=tuple("abcde")).classes) == 5


def test_missing_and_broken_files_are_refused(tmp_path):
    assert not Parquet(str(tmp_path)).found()
    with pytest.raises(Refused, match=r"There is no .*train\*\.parquet, nor one in .*data"):
        load(tmp_path)
    both(tmp_path)
    assert Parquet(str(tmp_path)).found()
    with pytest.raises(Refused, match=r"There is no .*valid\*\.parquet"):
        load(tmp_path, test="valid")
    (tmp_path / "train.parquet").write_bytes(b"PAR1 but no more")
    with pytest.raises(Refused, match=r"train\.parquet is not a readable Parquet file"):
        load(tmp_path)
    with pytest.raises(Refused, match=r"dataset\.root is not set"):
        Parquet().load()


def test_without_pyarrow_the_extra_is_named(tmp_path, monkeypatch):
    both(tmp_path)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(Refused, match=r"pip install 'fedunlearn\[parquet\]'"):
        load(tmp_path)


def test_settings_are_hashable_values():
    assert hash(Parquet(classes=["a"])) == hash(Parquet(classes=("a",)))
    with pytest.raises(Refused, match=r"Parquet\.limit"):
        Parquet(limit=0)


def test_what_is_passed_over_is_counted_and_told(tmp_path, caplog):
    both(tmp_path)
    load(tmp_path)
    assert not caplog.text
    for name in ("validation.parquet", "data/train.parquet", "README.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    load(tmp_path)
    told = f"Passed over in {tmp_path}: 3 files (README.md, data/train.parquet and validation.pa"
    assert told in caplog.text


def saved(root, owners):
    """Write what `datasets.save_to_disk` writes of a data set of two sides."""
    for side in ("train", "test"):
        both(root.parent / "plain")
        table = parquet.read_table(root.parent / "plain" / f"{side}.parquet")
        table = table.append_column("writer", pa.array(owners))
        (root / side).mkdir(parents=True)
        for number, part in enumerate((table[:5], table[5:])):
            place = root / side / f"data-{number:05}-of-00002.arrow"
            with pa.OSFile(str(place), "wb") as file, pa.ipc.new_stream(file, table.schema) as out:
                out.write_table(part)
        for note in ("dataset_info.json", "state.json"):
            (root / side / note).write_text("{}")
    (root / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')


@pytest.mark.parametrize("owners", [[10, 2, 2] * 4, ["x", "y", "z"] * 4])
def test_saved_folders_and_owners(tmp_path, owners, caplog):
    saved(tmp_path / "saved", owners)
    made, plain = load(tmp_path / "saved", owner="writer"), load(tmp_path / "plain")
    assert torch.equal(made.train.inputs, plain.train.inputs)
    assert [made.owners.names[n] for n in made.owners.of] == [str(name) for name in owners]
    assert plain.owners is None
    assert not caplog.records, "what datasets itself writes beside the files is not told"
    few = load(tmp_path / "saved", owner="writer", limit=5)
    assert len(few.owners.of) == 5
    with pytest.raises(Refused, match=r"no column writers; set dataset\.owner; did you mean writ"):
        load(tmp_path / "saved", owner="writers")
    with pytest.raises(Refused, match=r"image of .* cells are numbers or text"):
        ParquetTable(str(tmp_path / "saved" / "train"), "label").load()


def test_a_saved_table_is_read(tmp_path):
    table = pa.table({"a": np.arange(40) / 7, "who": ["x", "y"] * 20, "label": [0, 0, 1, 1] * 10})
    (tmp_path / "train").mkdir()
    parquet.write_table(table, tmp_path / "train.parquet")
    with (
        pa.OSFile(str(tmp_path / "train" / "data-00000-of-00001.arrow"), "wb") as file,
        pa.ipc.new_stream(file, table.schema) as out,
    ):
        out.write_table(table)
    one = ParquetTable(str(tmp_path / "train"), "label", owner="who").load()
    other = ParquetTable(str(tmp_path / "train.parquet"), "label", owner="who").load()
    assert torch.equal(one.train.inputs, other.train.inputs)
    assert torch.equal(one.owners.of, other.owners.of)
