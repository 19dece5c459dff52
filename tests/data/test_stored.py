import numpy as np
import pytest
import torch

from fedunlearn.checks import Refused
from fedunlearn.data.stored import Stored, assemble, fifth, folder, sample, split


def stored(pixels=None, labels=(0, 1, 2, 0), where="somewhere", white=255):
    labels = np.array(labels)
    if pixels is None:
        pixels = np.arange(len(labels) * 12, dtype=np.uint8).reshape(-1, 2, 3, 2)
    return Stored(pixels, labels, where, white)


def test_pixels_are_scaled_and_channels_come_first():
    pixels = np.zeros((1, 2, 3, 2), np.uint8)
    pixels[0, 1, 2, 0] = 51
    data = assemble(stored(pixels, [0]), stored(pixels, [0]), ("only",))
    assert data.shape == (2, 2, 3)
    assert data.train.inputs.dtype == torch.float32
    assert data.train.inputs.is_contiguous()
    assert data.train.labels.dtype == torch.int64
    assert data.train.inputs[0, 0, 1, 2].item() == pytest.approx(0.2)
    assert data.train.inputs.sum().item() == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (stored(labels=()), "somewhere holds no records"),
        (stored(np.zeros((3, 2, 3, 2))), "somewhere holds 3 images but 4 labels"),
        (stored(labels=[0, 1, 3, 0]), "from 0 to 3; with 3 classes they must lie in 0 … 2"),
        (stored(labels=[0, 1, -1, 0]), "labels in somewhere go from -1"),
        (stored(labels=[0.0, 1.0, 2.0, 0.0]), r"float64; they must be whole numbers\.$"),
        (
            stored(labels=[*"abca"]),
            r"numbers\. Number the classes \('a', 'b' and 'c'\) from 0",
        ),
        (stored(np.full((4, 2, 3, 2), np.nan)), "Pixels in somewhere go from nan"),
        (stored(np.full((4, 2, 3, 2), 256)), "go from 256 to 256; they must lie in 0 … 255"),
        (stored(np.full((4, 2, 3, 2), -1)), "Pixels in somewhere go from -1"),
        (stored(np.zeros((4, 3, 3, 2))), r"\(3, 3, 2\) in somewhere but \(2, 3, 2\) in elsewhere"),
    ],
)
def test_what_is_no_data_set_is_refused(bad, message):
    good = stored(where="elsewhere")
    with pytest.raises(Refused, match=message):
        assemble(bad, good, ("a", "b", "c"))


def test_split_is_stratified_complete_and_fixed():
    labels = np.repeat([0, 1, 2], (100, 50, 10))
    pixels = np.arange(160).reshape(-1, 1, 1, 1)
    train, test = split(stored(pixels, labels), 0.2)
    np.testing.assert_array_equal(np.bincount(test.labels), [20, 10, 2])
    both = np.concatenate([train.pixels, test.pixels]).ravel()
    np.testing.assert_array_equal(np.sort(both), np.arange(160))
    np.random.seed(1)  # noqa: NPY002 (the global generator must not matter)
    _, again = split(stored(pixels, labels), 0.2)
    np.testing.assert_array_equal(test.pixels, again.pixels)


@pytest.mark.parametrize(
    ("labels", "classes", "named"),
    [
        ([0] * 20 + [1], (), "one alone of 1"),
        ([0] * 20 + [1, 2], ("a", "b", "c"), "one alone of b and c"),
        ([0] * 20 + [*range(1, 14)], (), "one alone of 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 and 3 more"),
        ([0, 0], ("a",), r"on either side\. Add records"),
    ],
)
def test_a_class_of_one_record_cannot_be_split_and_is_named(labels, classes, named):
    with pytest.raises(Refused, match=rf"somewhere holds too few .* share of 0\.9: .*{named}"):
        split(stored(np.zeros((len(labels), 1, 1, 1)), labels), 0.9, classes)


def test_smaller_samples_are_part_of_larger_ones():
    np.testing.assert_array_equal(sample(50, None), np.arange(50))
    large = sample(50, 30)
    assert len(np.unique(large)) == 30
    np.testing.assert_array_equal(sample(50, 10), large[:10])
    np.testing.assert_array_equal(np.sort(sample(50, 70)), np.arange(50))


def test_the_test_set_keeps_a_fifth():
    assert [fifth(n) for n in (None, 1, 5, 6, 1000)] == [None, 1, 1, 2, 200]


def test_a_root_must_be_a_folder(tmp_path):
    assert folder(str(tmp_path)) == tmp_path
    with pytest.raises(Refused, match=r"dataset\.root is not set"):
        folder(None)
    with pytest.raises(Refused, match=r"dataset\.root=.*absent is not a folder"):
        folder(str(tmp_path / "absent"))
