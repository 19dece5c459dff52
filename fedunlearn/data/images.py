"""Encoded images (PNG, JPEG, …) become one array of pixels."""

from collections.abc import Iterable
from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from fedunlearn.data.listed import Faults

GREY = frozenset({"1", "L", "LA", "La"})

DEEP = frozenset({"F", "I", "I;16", "I;16B", "I;16L", "I;16N"})
"""Modes of more than 8 bits a pixel: turning them into 8 silently clips."""


class Unreadable(ValueError):
    """A file that is no image to be had: what is wrong with it, and the remedy."""


def decode(
    files: Iterable[tuple[str, Path | BytesIO]],
    count: int,
    size: int | None = None,
    channels: int | None = None,
) -> npt.NDArray[np.uint8]:
    """Decode ``count`` images into pixels [count, h, w, c] from 0 to 255.

    Each file comes with the name that refusals give it. ``size`` resizes to a square of that
    many pixels, ``channels`` converts to grey (1) or RGB (3); None keeps what is stored.
    Transparency is dropped. Raises `Refused` with every file that cannot be read, has more than 8
    bits a pixel, or another shape than the first that is read.
    """
    pixels: npt.NDArray[np.uint8] | None = None
    faults = Faults()
    for row, (where, file) in enumerate(files):
        try:
            image = _pixels(file, size, channels)
        except Unreadable as error:
            what, remedy = error.args
            faults.add(f"{where} {what}", remedy)
            continue
        if pixels is None:
            pixels = np.empty((count, *image.shape), np.uint8)
        if image.shape == pixels.shape[1:]:
            pixels[row] = image
        else:
            faults.add(
                f"{where} is {_shape(image.shape)} but the images before it are "
                f"{_shape(pixels.shape[1:])}",
                "set dataset.size and dataset.channels to make them equal",
            )
    faults.refuse(count)
    return np.empty((count, 0, 0, 0), np.uint8) if pixels is None else pixels


def _pixels(file: Path | BytesIO, size: int | None, channels: int | None) -> npt.NDArray[np.uint8]:
    try:
        with Image.open(file) as image:
            if image.mode in DEEP:
                raise Unreadable(
                    f"has more than 8 bits a pixel (mode {image.mode})", "convert it first"
                )
            grey = image.mode in GREY if channels is None else channels == 1
            plain = image.convert("L" if grey else "RGB")
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        reason = error.strerror if isinstance(error, OSError) else None
        reason = (reason or str(error)).partition("<_io")[0].rstrip(". ")
        raise Unreadable(
            f"is not a readable image ({reason})", "leave it out or put it right"
        ) from error
    if size is not None:
        plain = plain.resize((size, size), Image.Resampling.BILINEAR)
    pixels = np.asarray(plain)
    return pixels[..., None] if grey else pixels


def _shape(shape: tuple[int, ...]) -> str:
    height, width, channels = shape
    return f"{height}x{width} with {channels} channel{'s' if channels > 1 else ''}"
