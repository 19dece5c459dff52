"""The same numbers written otherwise: in another precision, order or alphabet."""

import re
import string
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from fedunlearn.history.audit.patterns import SHORTEST
from fedunlearn.models import Layout

WIDTHS = {"float64": 8, "float32": 4, "bfloat16": 2, "float16": 2, "int8": 1, "uint8": 1}
"""Bytes of a number in each form; other encodings hold several kinds of numbers."""

SHORT = 4096
"""Bytes of a buffer in which a single look for digits costs less than the rest."""

CHANNELS_LAST = (0, 2, 3, 1)
"""The order of axes in which many libraries keep images and the kernels of convolutions."""


def writings(window: bytes, form: str, *, rounded: bool) -> Iterator[tuple[str, bytes]]:
    """Yield what a window of ``form`` looks like in every way of writing that is looked for.

    That is as it is, in the other of single and double precision, as decimal text and as levels 0
    to 255 of pixels, and all but the last two with the bytes of each number in reverse.
    ``rounded`` adds half precision: not for models, where it hides what a client changed.
    """
    for name, content in (form, window), *_numbers(window, form, rounded=rounded):
        yield name, content
        if not name.startswith("text"):
            yield from _swapped(content, name)


def decodings(buffer: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Yield what the hexadecimal digits and the base64 in ``buffer``, uint8 [n], stand for.

    Whatever breaks lines between long stretches of them is left out. Where the first digit lies is
    unknown, so that they are read from each of two places, or four.
    """
    if len(buffer) < SHORT and not _DIGITS.search(buffer.data):
        return  # as in most of the strings that a server holds
    text = _texts(buffer)
    digits = _stretches(_BASE64[text], 64, -(-SHORTEST * 8 // 6))
    if len(digits):
        digits = np.pad(digits, (0, 3))
        for first in range(4):
            a, b, c, d = (digits[first + place :: 4] for place in range(4))
            n = len(d)
            three = (a[:n] << 2 | b[:n] >> 4, b[:n] << 4 | c[:n] >> 2, c[:n] << 6 | d)
            yield "base64", np.stack(three, 1).reshape(-1)
        digits = _stretches(_HEXADECIMAL[text], 16, 2 * SHORTEST)
        for first in range(2 if len(digits) else 0):
            low = digits[first + 1 :: 2]
            yield "hexadecimal", digits[first::2][: len(low)] << 4 | low


def _alphabet(*names: str) -> np.ndarray:
    """Return the value of each byte as a digit, and 255 for what is none; uint8 [256]."""
    values = np.full(256, 255, np.uint8)
    for digits in names:
        values[np.frombuffer(digits.encode(), np.uint8)] = np.arange(len(digits))
    return values


_LETTERS = string.ascii_uppercase + string.ascii_lowercase + string.digits

_BASE64 = _alphabet(f"{_LETTERS}+/", f"{_LETTERS}-_")

_HEXADECIMAL = _alphabet("0123456789abcdef", "0123456789ABCDEF")


def _texts(buffer: np.ndarray) -> np.ndarray:
    """Return the parts of ``buffer`` where stretches of 22 digits and more may be, joined.

    Such a stretch has a word of eight at a multiple of 8, and reaches into the two beside it.
    """
    whole = len(buffer) // 8 * 8
    words = buffer[:whole].reshape(-1, 8)
    likely = np.flatnonzero(words.view(np.uint64)[:, 0] & _NO_ASCII == 0)
    digits = likely[(_BASE64[words[likely]] < 64).all(axis=1)]
    if not len(digits):
        return buffer[:0]
    near = np.zeros(len(words) + 2, bool)
    for place in range(3):
        near[digits + place] = True
    return np.concatenate([words[near[1:-1]].reshape(-1), buffer[whole:]])


_DIGITS = re.compile(rb"[A-Za-z0-9+/_-]{%d}" % -(-SHORTEST * 8 // 6))
"""Digits enough in a row to be read; those of hexadecimal numbers are among them, and are more."""

_NO_ASCII = np.uint64(0x8080808080808080)


def _stretches(values: np.ndarray, base: int, shortest: int) -> np.ndarray:
    """Return the digits, below ``base``, that stand with enough others in a row, joined."""
    inside = values < base
    edges = np.flatnonzero(np.diff(inside, prepend=False, append=False))
    first, last = edges[::2], edges[1::2]
    long = last - first >= shortest
    if not long.any():
        return values[:0]
    steps = np.zeros(len(values) + 1, np.int8)
    steps[first[long]], steps[last[long]] = 1, -1
    chosen: np.ndarray = values[np.cumsum(steps[:-1], dtype=np.int8).view(bool)]
    return chosen


def transposed(layout: Layout, rows: Tensor) -> Tensor:
    """Return ``rows`` [n, d] of models or updates with their matrices transposed, [n, e].

    Kernels of convolutions, of four axes, get `CHANNELS_LAST`. What stays as it was is left out.
    """
    turned = []
    for part in layout.parts:
        tensors = rows[:, part.slice].reshape(len(rows), *part.shape)
        if len(part.shape) == 2 and min(part.shape) > 1:
            turned.append(tensors.transpose(1, 2))
        elif len(part.shape) == 4 and part.shape[1] > 1 and part.shape[2] * part.shape[3] > 1:
            turned.append(tensors.permute(0, *(axis + 1 for axis in CHANNELS_LAST)))
    return torch.cat([rows[:, :0], *(each.flatten(1) for each in turned)], 1)


def rearranged(records: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Yield images [n, channels, height, width] transposed, and with their channels last.

    Each as rows [n, d]; nothing of records of another shape, or where it changes nothing.
    """
    if records.ndim == 3 or (records.ndim == 4 and min(records.shape[2:]) > 1):
        yield "transposed", records.transpose(-1, -2).reshape(len(records), -1)
    if records.ndim == 4 and records.shape[1] > 1:
        yield "channels last", records.permute(CHANNELS_LAST).reshape(len(records), -1)


def _numbers(window: bytes, form: str, *, rounded: bool) -> Iterator[tuple[str, bytes]]:
    """Yield floats in other forms; rounded ones only where as many of them are different."""
    kind, _, arrangement = form.partition(", ")
    if kind not in ("float32", "float64"):
        return
    values = np.frombuffer(window, kind)
    for name, content in _precisions(values, kind, rounded=rounded):
        if len(content) >= SHORTEST:
            yield f"{name}, {arrangement}".removesuffix(", "), content


def _precisions(values: np.ndarray, kind: str, *, rounded: bool) -> Iterator[tuple[str, bytes]]:
    different = len(np.unique(values))
    if kind == "float32":
        yield "float64", values.astype(np.float64).tobytes()
    # in the shortest digits that read back as the number in double precision, or in single
    for words in (list(map(repr, values.tolist())), list(map(str, values))):
        yield from (("text", separator.join(words).encode()) for separator in (",", ", ", "\n"))
    if values.min() >= 0 and values.max() <= 1:
        levels = np.rint(values * 255).astype(np.uint8)
        if len(np.unique(levels)) == different:
            yield "uint8", levels.tobytes()
    narrower = [torch.float32] * (kind == "float64") + [torch.float16, torch.bfloat16] * rounded
    for dtype in narrower:
        narrow = torch.from_numpy(values.copy()).to(dtype)
        if len(torch.unique(narrow)) == different:
            yield str(dtype).removeprefix("torch."), narrow.view(torch.uint8).numpy().tobytes()


def _swapped(content: bytes, form: str) -> Iterator[tuple[str, bytes]]:
    """Yield numbers with the bytes of each in reverse."""
    width = WIDTHS.get(form.partition(", ")[0])
    for size in (2, 4) if width is None else [width]:
        if size > 1 and len(content) % size == 0:
            items = np.frombuffer(content, f"u{size}")
            yield f"{form}, bytes swapped", items.byteswap().tobytes()
