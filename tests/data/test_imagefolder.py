import numpy as np
import pytest
import torch
from PIL import Image

from fedunlearn.checks import Refused
from fedunlearn.data import ImageFolder


def write(folder, count, grey, shape=(4, 4)):
    folder.mkdir(parents=True)
    for number in range(count):
        Image.fromarray(np.full(shape, grey, np.uint8)).save(folder / f"{number:02}.png")


def load(root, **settings):
    return ImageFolder(str(root), **settings).load()


def test_a_given_split_is_kept(tmp_path):
    for side, count in (("train", 3), ("test", 2)):
        write(tmp_path / side / "dark", count, 51)
        write(tmp_path / side / "light", count, 204)
    (tmp_path / "train" / "dark" / "notes.txt").write_text("passed over")
    (tmp_path / "train" / ".cache").mkdir()
    data = load(tmp_path)
    assert data.classes == ("dark", "light")
    assert data.train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert data.test.labels.tolist() == [0, 0, 1, 1]
    np.testing.assert_allclose(
        data.test.inputs.mean(dim=(1, 2, 3)), torch.tensor([0.2, 0.2, 0.8, 0.8])
    )


def test_class_folders_alone_are_split(tmp_path):
    write(tmp_path / "dark", 10, 51)
    write(tmp_path / "light", 20, 204)
    data = load(tmp_path, test_share=0.3, channels=3, size=6)
    assert data.shape == (3, 6, 6)
    assert data.train.labels.bincount().tolist() == [7, 14]
    assert data.test.labels.bincount().tolist() == [3, 6]
    for records in (data.train, data.test):
        light = records.inputs.mean(dim=(1, 2, 3)) > 0.5
        assert torch.equal(light.long(), records.labels)


def test_what_cannot_be_read_is_refused_by_name(tmp_path):
    with pytest.raises(Refused, match="holds no folders"):
        load(tmp_path)
    write(tmp_path / "train" / "dark", 2, 51)
    with pytest.raises(Refused, match=r"class folder .*train holds no images.*both train and test"):
        load(tmp_path)
    write(tmp_path / "test" / "light", 2, 204)
    with pytest.raises(Refused, match=r"test and its sibling train .*; dark and light are in only"):
        load(tmp_path)
    write(tmp_path / "test" / "dark", 0, 51)
    write(tmp_path / "train" / "light", 2, 204)
    with pytest.raises(Refused, match=r"class folder .*test/dark holds no images"):
        load(tmp_path)
    broken = tmp_path / "test" / "dark" / "broken.png"
    broken.write_bytes(b"no image")
    with pytest.raises(Refused, match=r"broken\.png \(class dark\) is not a readable image"):
        load(tmp_path)
    Image.fromarray(np.zeros((5, 4), np.uint8)).save(broken)
    with pytest.raises(Refused, match=r"broken\.png \(class dark\) is 5x4 .* before it are 4x4"):
        load(tmp_path)
    assert load(tmp_path, size=4).shape == (1, 4, 4)


def test_unset_root_and_bad_share_are_refused():
    with pytest.raises(Refused, match=r"dataset\.root is not set"):
        ImageFolder().load()
    with pytest.raises(Refused, match=r"ImageFolder\.test_share must be a number above 0"):
        ImageFolder(test_share=0)


def odd_files(root):
    """Break fourteen images of two classes on both sides, each in one of four ways."""
    for side in ("train", "test"):
        write(root / side / "dark", 12, 51)
        write(root / side / "light", 2, 204)
    ways = [
        lambda path: path.write_bytes(b"no image"),
        lambda path: path.write_bytes(path.read_bytes()[:40]),
        lambda path: Image.fromarray(np.zeros((5, 4), np.uint8)).save(path),
        lambda path: Image.fromarray(np.zeros((4, 4), np.uint16)).save(path),
    ]
    broken = [*sorted((root / "train/dark").iterdir())[1:], *(root / "test/light").iterdir()]
    broken.append(root / "test/dark/03.png")
    for number, path in enumerate(broken):
        ways[number % 4](path)
    return broken


def test_all_bad_files_are_listed_with_their_class(tmp_path):
    broken = odd_files(tmp_path)
    assert len(broken) == 14
    with pytest.raises(Refused) as refusal:
        load(tmp_path)
    first, *named, more, remedy = str(refusal.value).splitlines()
    assert first == "14 of 28 images cannot be used:"
    assert [line.split(" (class dark) ")[0].strip() for line in named] == list(
        map(str, broken[:10])
    )
    assert more == "  and 4 more"
    assert remedy == (
        "Leave it out or put it right; set dataset.size and dataset.channels to make them equal; "
        "convert it first."
    )
    for path in broken[:11]:
        Image.fromarray(np.full((4, 4), 51, np.uint8)).save(path)
    with pytest.raises(Refused) as refusal:
        load(tmp_path)
    listed = str(refusal.value).splitlines()
    assert listed[0] == "3 of 28 images cannot be used:"
    assert [line.split()[2].rstrip(")") for line in listed[1:-1]] == ["dark", "light", "light"]


@pytest.mark.parametrize(
    ("given", "made", "told"),
    [
        (True, {}, ""),
        (True, {"train/dark/a.txt": 0}, "1 file (train/dark/a.txt)"),
        (True, {"val/dark/a.png": 0}, "1 folder (val)"),
        (True, {"train/dark/deeper/a.png": 0, "train/.cache/b": 0}, "2 folders"),
        (True, {"train/light/x.png/a": 0, "LICENSE": 0}, "1 file (LICENSE) and 1 folder"),
        (False, {"light/.DS_Store": 0, "README.md": 0}, "2 files (README.md, light/.DS_Store)"),
        (False, {f"light/{n:02}.gif": 0 for n in range(12)}, "12 files"),
    ],
)
def test_what_is_passed_over_is_counted_and_told(tmp_path, caplog, given, made, told):
    for side in ("train", "test") if given else (".",):
        write(tmp_path / side / "dark", 10, 51)
        write(tmp_path / side / "light", 10, 204)
    for name in made:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    data = load(tmp_path)
    assert len(data.train) + len(data.test) == (40 if given else 20)
    text = caplog.text.replace(" and light/", ", light/")
    assert (f"Passed over in {tmp_path}: {told}" in text) if told else not text
    assert ("and 2 more" in text) == (len(made) == 12)


def test_classes_with_one_file_are_named(tmp_path):
    for name, count in (("dark", 20), ("light", 1), ("grey", 20), ("red", 1)):
        write(tmp_path / name, count, 51)
    with pytest.raises(Refused, match=r"on either side, but there is one alone of light and red\."):
        load(tmp_path)


def test_all_empty_and_all_unlike_classes_are_named(tmp_path):
    for name in ("a", "b", "c"):
        write(tmp_path / "train" / name, 1 if name == "b" else 0, 51)
        write(tmp_path / "test" / (name if name == "b" else f"{name}x"), 1, 51)
    with pytest.raises(Refused, match="a, ax, c and cx are in only one of them"):
        load(tmp_path)
    for name in ("a", "c"):
        (tmp_path / "test" / f"{name}x").rename(tmp_path / "test" / name)
    with pytest.raises(Refused, match=r"class folders a and c of .*train hold no images"):
        load(tmp_path)
