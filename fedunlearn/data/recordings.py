"""Watch recordings of people at their exercises: sensors over time, which the people own."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fedunlearn import checks, randomness
from fedunlearn.checks import Count, Refused
from fedunlearn.data.dataset import Dataset, Owners, Records
from fedunlearn.data.stored import SPLIT_SEED, SplitShare
from fedunlearn.randomness import Stream

RATE = 50
"""Steps a second."""

SIDES = ("left", "right")


@dataclass(frozen=True, slots=True)
class Watch:
    """seglearn's recordings of ten people at seven shoulder exercises, cut into windows.

    A record is [6, length] float32: acceleration and turning rate along three axes of a watch, 50
    steps a second, each standardised by mean and deviation of the training records. Of every
    exercise there is one recording a person and side, 140 in all.

    Burns, Leung, Hardisty, Whyne, Henry, McLachlin. Shoulder physiotherapy exercise recognition:
    machine learning the inertial signals from a smartwatch. 2018, arXiv 1802.01489.
    """

    owner: Literal["person", "side"] = "person"
    """Who owns a recording: the person, or each of a person's two sides."""
    length: Count = 100
    """Steps of a window; 50 are a second."""
    step: Count = 50
    """Steps from one window to the next of a recording."""
    test: Literal["end", "people"] = "end"
    """What is tested on: the end of every recording, or all of people who are in no training."""
    test_share: SplitShare = 0.2
    """Share of each recording's steps, or of the people, to test on: the same in every run."""

    def __post_init__(self) -> None:
        """Raise `Refused` for values outside their range."""
        checks.fields(self)

    def load(self) -> Dataset:
        """Cut the recordings; raise `Refused` where seglearn is missing or windows too long."""
        read = _read()
        people = np.asarray(read["subject"]).astype(int)
        labels = np.asarray(read["y"]).astype(int)
        sides = np.asarray(read["side"]).astype(int)
        tested = self._tested(np.unique(people))
        train: list[_Cut] = []
        test: list[_Cut] = []
        for steps, person, label, side in zip(read["X"], people, labels, sides, strict=True):
            owner = f"person {person}" + ("" if self.owner == "person" else f" {SIDES[side]}")
            whole = np.ascontiguousarray(steps, np.float32).T
            parts = self._parts(whole, person in tested)
            for cuts, part in zip((train, test), parts, strict=True):
                if part is not None:
                    cuts.append(_Cut(self._windows(part), int(label), owner))
        classes = tuple(str(name) for name in read["y_labels"])
        return _dataset(train, test, classes)

    def _tested(self, people: npt.NDArray[Any]) -> frozenset[int]:
        """Return the people to test on."""
        if self.test == "end":
            return frozenset()
        count = max(1, round(self.test_share * len(people)))
        drawn = randomness.rng(SPLIT_SEED, Stream.OWNERS).permutation(people)[:count]
        return frozenset(drawn.tolist())

    def _parts(
        self, whole: npt.NDArray[np.float32], tested: bool
    ) -> tuple[npt.NDArray[np.float32] | None, npt.NDArray[np.float32] | None]:
        """Cut a recording [6, t] into what is for training and what for testing."""
        if self.test == "people":
            return (None, whole) if tested else (whole, None)
        cut = round(whole.shape[1] * (1 - self.test_share))
        return whole[:, :cut], whole[:, cut:]

    def _windows(self, part: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return windows [n, 6, length]; none of them reaches beyond the part."""
        if part.shape[1] < self.length:
            raise Refused(
                f"dataset.length={self.length} is longer than the {part.shape[1]} steps of a part "
                f"of a recording; lower it, or change dataset.test_share={self.test_share:g}."
            )
        views = np.lib.stride_tricks.sliding_window_view(part, self.length, axis=1)
        return views[:, :: self.step].transpose(1, 0, 2)


@dataclass(frozen=True)
class _Cut:
    """The windows of a recording, or of a part of it."""

    windows: npt.NDArray[np.float32]
    label: int
    owner: str


def _read() -> Any:
    try:
        from seglearn.datasets import load_watch
    except ImportError as error:
        raise Refused(
            "dataset=har is read from the package seglearn: pip install 'fedunlearn[natural]'."
        ) from error
    return load_watch()


def _dataset(train: list[_Cut], test: list[_Cut], classes: tuple[str, ...]) -> Dataset:
    shown, tested = _records(train), _records(test)
    mean = shown.inputs.mean(dim=(0, 2), keepdim=True)
    deviation = shown.inputs.std(dim=(0, 2), correction=0, keepdim=True)
    scaled = [Records((side.inputs - mean) / deviation, side.labels) for side in (shown, tested)]
    names = tuple(sorted({cut.owner for cut in train}, key=_place))
    of = _repeated([names.index(cut.owner) for cut in train], train)
    return Dataset(scaled[0], scaled[1], classes, owners=Owners(of, names))


def _place(owner: str) -> tuple[int, str]:
    """Put owners in the order of the people's numbers."""
    _, person, *side = owner.split()
    return int(person), "".join(side)


def _records(cuts: list[_Cut]) -> Records:
    windows = torch.from_numpy(np.concatenate([cut.windows for cut in cuts]))
    return Records(windows, _repeated([cut.label for cut in cuts], cuts))


def _repeated(values: list[int], cuts: list[_Cut]) -> Tensor:
    counts = torch.tensor([len(cut.windows) for cut in cuts])
    return torch.repeat_interleave(torch.tensor(values), counts)
