from io import BytesIO

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from fedunlearn.checks import Refused
from fedunlearn.data.images import decode


def png(pixels, mode=None):
    file = BytesIO()
    image = Image.fromarray(pixels)
    (image if mode is None else image.convert(mode)).save(file, "PNG")
    return file


def named(*files):
    return [(f"image {number}", file) for number, file in enumerate(files)]


def noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


@given(st.sampled_from([(3, 5), (4, 4, 3)]), st.integers(1, 4))
def test_png_comes_back_as_it_was(shape, count):
    pixels = [noise(*shape, seed=seed) for seed in range(count)]
    decoded = decode(named(*map(png, pixels)), count)
    np.testing.assert_array_equal(decoded, np.stack(pixels).reshape(count, *shape[:2], -1))


def test_transparency_is_dropped():
    pixels = noise(4, 4, 4)
    np.testing.assert_array_equal(decode(named(png(pixels)), 1)[0], pixels[..., :3])


@pytest.mark.parametrize(("mode", "channels"), [("1", 1), ("L", 1), ("LA", 1), ("P", 3)])
def test_modes_are_grey_or_rgb(mode, channels):
    assert decode(named(png(noise(4, 4, 3), mode)), 1).shape == (1, 4, 4, channels)


def test_conversion_makes_images_equal():
    files = named(png(noise(3, 5)), png(noise(4, 4, 3)))
    assert decode(files, 2, size=6, channels=1).shape == (2, 6, 6, 1)
    assert decode(files, 2, size=6, channels=3).shape == (2, 6, 6, 3)


def test_resizing_keeps_one_colour():
    decoded = decode(named(png(np.full((5, 9, 3), 77, np.uint8))), 1, size=4)
    assert (decoded == 77).all()


@pytest.mark.parametrize(
    ("file", "message"),
    [
        (BytesIO(b"no image"), "image 1 is not a readable image"),
        (BytesIO(png(noise(64, 64)).getvalue()[:200]), "image 1 is not a readable image"),
        (png(noise(4, 5)), "image 1 is 4x5 with 1 channel but the images before it are 4x4"),
        (png(noise(4, 4, 3)), r"image 1 is 4x4 with 3 channels .* set dataset\.size"),
        (png(noise(4, 4).astype(np.uint16)), r"image 1 has more than 8 bits a pixel"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(file, message):
    with pytest.raises(Refused, match=message):
        decode(named(png(noise(4, 4)), file), 2)
