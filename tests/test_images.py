"""stal/images.py: damaged files are refused in a sentence that names them."""

import cv2
import numpy as np
import pytest

from stal.errors import InputError
from stal.images import read_image


def picture():
    """A picture whose files are longer than the trailer and its tolerated padding."""
    return np.random.default_rng(0).integers(0, 256, (32, 16, 3), np.uint8)


def encoded(kind):
    return cv2.imencode(kind, picture())[1].tobytes()


def test_a_png_is_read_as_it_was_written(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(encoded(".png"))
    assert np.array_equal(read_image(path), picture())


def test_a_jpeg_with_padding_behind_it_is_read(tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(encoded(".jpg") + bytes(16))
    assert read_image(path).shape == (32, 16, 3)


@pytest.mark.parametrize("kind", [".jpg", ".png"])
@pytest.mark.parametrize("lost", [2, 100, 400])
def test_a_file_cut_short_is_refused(tmp_path, kind, lost):
    path = tmp_path / f"cut{kind}"
    path.write_bytes(encoded(kind)[:-lost])
    with pytest.raises(InputError, match=f"cut{kind} is a (JPEG|PNG) file that is cut short"):
        read_image(path)


@pytest.mark.parametrize("content", [b"", b"no picture", b"\xff\xd8 no picture \xff\xd9"])
def test_what_is_no_image_is_refused(tmp_path, content):
    path = tmp_path / "bad.png"
    path.write_bytes(content)
    with pytest.raises(InputError, match="bad.png is no readable image"):
        read_image(path)


def test_a_missing_image_is_named(tmp_path):
    with pytest.raises(InputError, match="missing.png"):
        read_image(tmp_path / "missing.png")
