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
        data.test.images.mean(dim=(1, 2, 3)), torch.tensor([0.2, 0.2, 0.8, 0.8])
    )


def test_class_folders_alone_are_split(tmp_path):
    write(tmp_path / "dark", 10, 51)
    write(tmp_path / "light", 20, 204)
    data = load(tmp_path, test_share=0.3, channels=3, size=6)
    assert data.shape == (3, 6, 6)
    assert data.train.labels.bincount().tolist() == [7, 14]
    assert data.test.labels.bincount().tolist() == [3, 6]
    for records in (data.train, data.test):
        light = records.images.mean(dim=(1, 2, 3)) > 0.5
        assert torch.equal(light.long(), records.labels)


def test_what_cannot_be_read_is_refused_by_name(tmp_path):
    with pytest.raises(Refused, match="holds no folders"):
        load(tmp_path)
    write(tmp_path / "train" / "dark", 2, 51)
    with pytest.raises(Refused, match=r"class folder .*train holds no images.*both train and test"):
        load(tmp_path)
    write(tmp_path / "test" / "light", 2, 204)
    with pytest.raises(Refused, match=r"test and its sibling train .*; dark is in only one"):
        load(tmp_path)
    write(tmp_path / "test" / "dark", 0, 51)
    write(tmp_path / "train" / "light", 2, 204)
    with pytest.raises(Refused, match=r"class folder .*test/dark holds no images"):
        load(tmp_path)
    broken = tmp_path / "test" / "dark" / "broken.png"
    broken.write_bytes(b"no image")
    with pytest.raises(Refused, match=r"broken\.png is not a readable image"):
        load(tmp_path)
    Image.fromarray(np.zeros((5, 4), np.uint8)).save(broken)
    with pytest.raises(Refused, match=r"light/00\.png is 4x4 .* before it are 5x4"):
        load(tmp_path)
    assert load(tmp_path, size=4).shape == (1, 4, 4)


def test_unset_root_and_bad_share_are_refused():
    with pytest.raises(Refused, match=r"dataset\.root is not set"):
        ImageFolder().load()
    with pytest.raises(Refused, match=r"ImageFolder\.test_share must be a number above 0"):
        ImageFolder(test_share=0)
