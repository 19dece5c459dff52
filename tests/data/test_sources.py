import hashlib
import os
import pickle
from io import BytesIO

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image
from pyarrow import parquet
from sklearn.datasets import load_digits

from fedunlearn.checks import Refused
from fedunlearn.data import Digits, Torchvision
from fedunlearn.data.archives import ARCHIVES
from fedunlearn.data.sources import VARIABLE

REAL = os.environ.get(VARIABLE)
real = pytest.mark.skipif(not REAL, reason=f"{VARIABLE} is not set")


@pytest.fixture(autouse=True)
def _no_variable(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)


def test_digits_are_scaled_and_split_in_proportion():
    data = Digits().load()
    assert data.shape == (1, 8, 8)
    assert (len(data.train), len(data.test)) == (1437, 360)
    assert data.train.inputs.aminmax() == (0, 1)
    counts = [records.labels.bincount(minlength=10) for records in (data.train, data.test)]
    assert ((counts[1] / (counts[0] + counts[1]) - 0.2).abs() < 0.005).all()
    everything = torch.cat([data.train.inputs, data.test.inputs]).sum().item()
    assert everything == pytest.approx(load_digits().images.sum() / 16, rel=1e-5)


def test_digits_are_the_same_in_every_run():
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002 (the global generators must not matter)
    first = Digits().load()
    assert torch.equal(first.test.inputs, Digits().load().test.inputs)
    # The rows of the first test records, so that no release moves the split unnoticed.
    images = torch.from_numpy(load_digits().images).float()[:, None] / 16
    rows = [
        int((images == image).flatten(1).all(dim=1).nonzero()) for image in first.test.inputs[:5]
    ]
    assert rows == [21, 24, 28, 34, 35]


def idx(array):
    header = bytes([0, 0, 8, array.ndim])
    return header + b"".join(int(n).to_bytes(4, "big") for n in array.shape) + array.tobytes()


def write_idx(root, name="MNIST", train=40, test=10):
    raw = root / name / "raw"
    raw.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for part, count in (("train", train), ("t10k", test)):
        images = rng.integers(0, 256, (count, 28, 28), np.uint8)
        (raw / f"{part}-images-idx3-ubyte").write_bytes(idx(images))
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(idx(images[:, 0, 0] % 10))
    return raw


@pytest.mark.parametrize("below", ["mnist", "."])
def test_idx_files_are_read_from_both_layouts(tmp_path, below, monkeypatch):
    write_idx(tmp_path / below)
    data = Torchvision("mnist", str(tmp_path)).load()
    assert data.shape == (1, 28, 28)
    assert (len(data.train), len(data.test)) == (40, 10)
    assert data.classes == tuple("0123456789")
    corner = (data.train.inputs[:, 0, 0, 0] * 255).round().long()
    assert torch.equal(corner % 10, data.train.labels)
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    assert torch.equal(Torchvision("mnist").load().train.inputs, data.train.inputs)


def test_fashion_mnist_is_another_folder(tmp_path):
    write_idx(tmp_path / "fashion_mnist", "FashionMNIST")
    assert "sandal" in Torchvision("fashion_mnist", str(tmp_path)).load().classes
    with pytest.raises(Refused, match="dataset=mnist is not there"):
        Torchvision("mnist", str(tmp_path)).load()


def test_limit_keeps_pairs_of_image_and_label(tmp_path):
    write_idx(tmp_path)
    data = Torchvision("mnist", str(tmp_path), limit=12).load()
    assert (len(data.train), len(data.test)) == (12, 3)
    corner = (data.train.inputs[:, 0, 0, 0] * 255).round().long()
    assert torch.equal(corner % 10, data.train.labels)


def write_cifar(root, monkeypatch, reader, fine):
    from torchvision import datasets

    kind = getattr(datasets, reader)
    folder = root / kind.base_folder
    folder.mkdir(parents=True)

    def put(name, content):
        data = pickle.dumps(content)
        (folder / name).write_bytes(data)
        return hashlib.md5(data).hexdigest()

    rng = np.random.default_rng(0)
    lists = {"train_list": [], "test_list": []}
    for key, written in lists.items():
        for name, _ in getattr(kind, key):
            data = rng.integers(0, 256, (4, 3072), np.uint8)
            label = "fine_labels" if fine else "labels"
            written.append([name, put(name, {"data": data, label: [int(d[0]) % 10 for d in data]})])
        monkeypatch.setattr(kind, key, written)
    names = [f"class {number}" for number in range(10)]
    md5 = put(kind.meta["filename"], {kind.meta["key"]: names})
    monkeypatch.setattr(kind, "meta", kind.meta | {"md5": md5})
    return folder


@pytest.mark.parametrize(("name", "train"), [("cifar10", 20), ("cifar100", 4)])
def test_torchvisions_batches_are_read(tmp_path, monkeypatch, name, train):
    fine = name == "cifar100"
    write_cifar(tmp_path / name, monkeypatch, ARCHIVES[name].reader, fine)
    data = Torchvision(name, str(tmp_path)).load()
    assert data.shape == (3, 32, 32)
    assert (len(data.train), len(data.test)) == (train, 4)
    assert data.classes[3] == ("class 3" if fine else "cat")
    corner = (data.train.inputs[:, 0, 0, 0] * 255).round().long()
    assert torch.equal(corner % 10, data.train.labels)


def test_a_corrupt_batch_is_refused(tmp_path, monkeypatch):
    folder = write_cifar(tmp_path, monkeypatch, "CIFAR10", fine=False)
    (folder / "data_batch_2").write_bytes(b"other content")
    with pytest.raises(Refused, match=r"dataset=cifar10 cannot be read from .*corrupted"):
        Torchvision("cifar10", str(tmp_path)).load()


def test_cifar10_is_also_read_from_parquet(tmp_path):
    folder = tmp_path / "cifar10"
    folder.mkdir()
    for side in ("train", "test"):
        files = [BytesIO() for _ in range(3)]
        for grey, file in enumerate(files):
            Image.fromarray(np.full((32, 32, 3), 51 * grey, np.uint8)).save(file, "PNG")
        images = pa.array([{"bytes": file.getvalue(), "path": None} for file in files])
        parquet.write_table(
            pa.table({"img": images, "label": [0, 1, 9]}), folder / f"{side}.parquet"
        )
    data = Torchvision("cifar10", str(tmp_path)).load()
    assert [data.classes[label] for label in data.train.labels] == [
        "airplane",
        "automobile",
        "truck",
    ]
    np.testing.assert_allclose(data.test.inputs[:, 2, 3, 4], torch.tensor([0, 0.2, 0.4]))


def test_missing_files_are_named_with_what_to_do(tmp_path):
    with pytest.raises(
        Refused, match=r"mnist/MNIST/raw/train-images.*set dataset\.root=FOLDER or the environment"
    ):
        Torchvision("mnist").load()
    with pytest.raises(Refused) as refusal:
        Torchvision("mnist", str(tmp_path)).load()
    message = str(refusal.value)
    assert str(tmp_path / "mnist" / "MNIST" / "raw" / "train-images-idx3-ubyte") in message
    assert "dataset.root or FEDUNLEARN_DATA" in message
    assert "dataset.download=true" in message
    raw = write_idx(tmp_path)
    (raw / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(Refused, match=str(raw / "t10k-labels-idx1-ubyte")):
        Torchvision("mnist", str(tmp_path)).load()


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("train-images-idx3-ubyte", b"\0\0\x08\x03", "dataset=mnist cannot be read from"),
        ("train-labels-idx1-ubyte", idx(np.zeros(39, np.uint8)), "40 images but 39 labels"),
        ("t10k-labels-idx1-ubyte", idx(np.full(10, 10, np.uint8)), "test files in .* 10 to 10"),
    ],
)
def test_broken_idx_files_are_refused(tmp_path, file, content, message):
    (write_idx(tmp_path) / file).write_bytes(content)
    with pytest.raises(Refused, match=message):
        Torchvision("mnist", str(tmp_path)).load()


def test_a_failed_download_is_one_sentence(tmp_path, monkeypatch):
    from torchvision import datasets

    def offline(root, train, download):
        assert download
        raise RuntimeError(f"Error downloading\nto {root}:\n no network.\n")

    monkeypatch.setattr(datasets, "MNIST", offline)
    with pytest.raises(Refused, match=r"cannot be downloaded to .*/mnist: Error .*: no network\.$"):
        Torchvision("mnist", str(tmp_path), download=True).load()


def test_settings_are_checked_at_once():
    with pytest.raises(
        Refused, match=r"Torchvision\.name=cifar11 does not exist; did you mean cifar10"
    ):
        Torchvision("cifar11")
    with pytest.raises(Refused, match=r"Torchvision\.limit must be a whole number"):
        Torchvision("mnist", limit=0)
    with pytest.raises(Refused, match=r"Digits\.test_share must be a number above 0"):
        Digits(test_share=1.0)
    assert hash(Torchvision("mnist")) == hash(Torchvision("mnist"))


@real
def test_real_mnist():
    data = Torchvision("mnist", REAL).load()
    assert data.train.inputs.shape == (60000, 1, 28, 28)
    assert data.train.labels[:5].tolist() == [5, 0, 4, 1, 9]
    assert data.train.inputs.mean().item() == pytest.approx(0.1307, abs=1e-4)


@real
def test_real_cifar10():
    data = Torchvision("cifar10", REAL, limit=500).load()
    assert data.train.inputs.shape == (500, 3, 32, 32)
    assert len(data.test) == 100
    assert data.train.labels.unique().tolist() == list(range(10))
