"""Encoded images (PNG, JPEG, …) become one array of pixels."""

from collections.abc import Iterable
from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from fedunlearn.checks import Refused

GREY = frozenset({"1", "L", "LA", "La"})

DEEP = frozenset({"F", "I", "I;16", "I;16B", "I;16L", "I;16N"})
"""Modes of more than 8 bits a pixel: turning them into 8 silently clips."""


def decode(
    files: Iterable[tuple[str, Path | BytesIO]],
    count: int,
    size: int | None = None,
    channels: int | None = None,
) -> npt.NDArray[np.uint8]:
    """Decode ``count`` images into pixels [count, h, w, c] from 0 to 255.

    Each file comes with the name that refusals give it. ``size`` resizes to a square of that
    many pixels, ``channels`` converts to grey (1) or RGB (3); None keeps what is stored.
    Transparency is dropped. Raises `Refused` for what cannot be read, for more than 8 bits a
    pixel, and where images differ in shape.
    """
    pixels = np.empty((count, 0, 0, 0), np.uint8)
    for row, (where, file) in enumerate(files):
        image = _pixels(where, file, size, channels)
        if row == 0:
            pixels = np.empty((count, *image.shape), np.uint8)
        if image.shape != pixels.shape[1:]:
            raise Refused(
                f"{where} is {_shape(image.shape)} but the images before it are "
                f"{_shape(pixels.shape[1:])}; set dataset.size and dataset.channels to make them "
                "equal."
            )
        pixels[row] = image
    return pixels


def _pixels(
    where: str, file: Path | BytesIO, size: int | None, channels: int | None
) -> npt.NDArray[np.uint8]:
    try:
        with Image.open(file) as image:
            if image.mode in DEEP:
                raise Refused(
                    f"{where} has more than 8 bits a pixel (mode {image.mode}); convert it first."
                )
            grey = image.mode in GREY if channels is None else channels == 1
            plain = image.convert("L" if grey else "RGB")
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise Refused(f"{where} is not a readable image: {error}.") from error
    if size is not None:
        plain = plain.resize((size, size), Image.Resampling.BILINEAR)
    pixels = np.asarray(plain)
    return pixels[..., None] if grey else pixels


def _shape(shape: tuple[int, ...]) -> str:
    height, width, channels = shape
    return f"{height}x{width} with {channels} channel{'s' if channels > 1 else ''}"
