"""Many byte strings looked for at once, at any alignment, in about one look-up for 8 bytes.

Wherever a string of at least 16 bytes lies, one of the eight 8-byte words that start at its first
eight bytes lies at a multiple of 8. So the words at all eight places of every string go into a
table, and of what is searched only the words at multiples of 8 are looked up.
"""

from collections.abc import Iterator, Sequence

import numpy as np

SHORTEST = 16
"""Bytes that a string must have."""

_WORD = 8

_BLOCK = 2**17
"""Words that are looked up together: what a processor's cache holds."""

_MIX = np.uint64(0x9E3779B97F4A7C15)
"""2^64 over the golden ratio: spreads words that differ in any bits (Knuth, TAOCP 3, 6.4)."""


class Patterns:
    """Byte strings to be looked for."""

    def __init__(self, strings: Sequence[bytes]) -> None:
        """Prepare the search; raises ValueError for a string of fewer than 16 bytes."""
        if any(len(string) < SHORTEST for string in strings):
            raise ValueError(f"A string to look for has at least {SHORTEST} bytes.")
        self.longest = max(map(len, strings), default=SHORTEST)
        self._strings = [np.frombuffer(string, np.uint8) for string in strings]
        self._lengths = np.array([len(string) for string in strings], np.int64)
        self._tails = np.empty((len(strings), _WORD), np.uint8)
        words = np.empty((len(strings), _WORD, _WORD), np.uint8)
        places = np.empty((len(strings), _WORD), np.int64)
        for length in np.unique(self._lengths):
            alike = np.flatnonzero(self._lengths == length)
            for some in np.array_split(alike, len(alike) * length // _BLOCK + 1):
                rows = np.stack([self._strings[number] for number in some])
                windows = np.lib.stride_tricks.sliding_window_view(rows, _WORD, axis=1)
                places[some] = _richest(windows)[:, None] + np.arange(_WORD)
                words[some] = np.take_along_axis(windows, places[some][:, :, None], axis=1)
                self._tails[some] = rows[:, -_WORD:]
        anchors = words.view(np.uint64).ravel()
        order = np.argsort(anchors, kind="stable")
        self._anchors = anchors[order]
        self._owners, self._places = order // _WORD, places.ravel()[order]
        bits = min(24, max(16, len(anchors).bit_length() + 5))
        self._shift = np.uint64(64 - bits)
        self._table = np.zeros(2**bits, bool)
        self._table[self._slots(anchors)] = True

    def occurrences(self, buffer: np.ndarray) -> list[tuple[int, int]]:
        """Return (number of the string, where it starts) for each occurrence in ``buffer`` [n].

        ``buffer`` is uint8; strings that reach beyond it are not found.
        """
        if len(buffer) < SHORTEST:
            return []
        whole = len(buffer) // _WORD * _WORD
        words = buffer[:whole].view(np.uint64)
        return [
            hit
            for first in range(0, len(words), _BLOCK)
            for hit in self._among(buffer, words[first : first + _BLOCK], first)
        ]

    def _among(
        self, buffer: np.ndarray, words: np.ndarray, first: int
    ) -> Iterator[tuple[int, int]]:
        """Yield what has a word among ``words``, of which the first is number ``first``."""
        likely = np.flatnonzero(self._table[self._slots(words)])
        if not len(likely):
            return  # as of most short buffers, of which there are many
        low = np.searchsorted(self._anchors, words[likely], "left")
        counts = np.searchsorted(self._anchors, words[likely], "right") - low
        # one candidate for each string that has the word
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        rows = np.repeat(low, counts) + within
        owners = self._owners[rows]
        starts = (np.repeat(likely, counts) + first) * _WORD - self._places[rows]
        ends = starts + self._lengths[owners]
        inside = (starts >= 0) & (ends <= len(buffer))
        owners, starts, ends = owners[inside], starts[inside], ends[inside]
        tails = buffer[ends[:, None] + np.arange(-_WORD, 0)]
        alike = (tails == self._tails[owners]).all(axis=1)
        for owner, start in zip(owners[alike].tolist(), starts[alike].tolist(), strict=True):
            string = self._strings[owner]
            if np.array_equal(buffer[start : start + len(string)], string):
                yield owner, start

    def _slots(self, words: np.ndarray) -> np.ndarray:
        slots: np.ndarray = (words * _MIX) >> self._shift
        return slots


def _richest(words: np.ndarray) -> np.ndarray:
    """Return [n] where in ``words`` [n, m, 8] the eight start whose poorest has the most bytes.

    Of bytes that occur twice in a word one counts.
    """
    ordered = np.sort(words, axis=2)
    different = (ordered[:, :, 1:] != ordered[:, :, :-1]).sum(axis=2)
    poorest = np.lib.stride_tricks.sliding_window_view(different, _WORD, axis=1).min(axis=2)
    first: np.ndarray = poorest.argmax(axis=1)
    return first
