"""What all pictures share: where frames come from, text, rows and columns, colours, PNG."""

import os
from typing import NamedTuple

import cv2
import numpy as np

from stal.errors import InputError
from stal.features import Features, read_features
from stal.files import replacing
from stal.images import read_image
from stal.tracklets import joints_path, read_joints, read_list

HEIGHT = 128  # pixels of a frame in a picture
WHITE, BLACK, GREY = (255, 255, 255), (0, 0, 0), (110, 110, 110)
GREEN, RED = (60, 160, 20), (40, 40, 220)
_FONT, _SCALE = cv2.FONT_HERSHEY_SIMPLEX, 0.4
_LINE = 16    # pixels of a line of text


class Source(NamedTuple):
    """A feature directory together with the frames that it was extracted from."""

    features: Features
    tracklets: list        # of stal.tracklets.Tracklet, row for row those of the features
    root: str              # the frames' paths are relative to it
    joints: np.ndarray     # (F, 14, 3) of all frames, pixels of the published images; None where there is no file
    starts: np.ndarray     # (N + 1,) int64: tracklet n's frames are rows starts[n] to starts[n + 1]


def open_source(directory, list_path, root):
    """Reads a feature directory and its list; joints too where their file lies beside the list.

    Args:
        directory: written by tools/extract.py.
        list_path: the list that it was extracted from.
        root: folder that the list's paths are relative to.
    Returns:
        :class:`Source`.
    Raises:
        InputError: a bad feature directory, list or joints file, or the list is not the features'.
    """
    features, tracklets = read_features(directory), read_list(list_path)
    rows = zip(features.names, features.pids.tolist(), features.camids.tolist(), features.lengths.tolist())
    if list(rows) != [(one.name, one.pid, one.camid, len(one.frames)) for one in tracklets]:
        raise InputError(f"the features in {features.directory} are not of the tracklets in {list_path}: give the list "
                         "that tools/extract.py was given")
    joints = read_joints(joints_path(list_path), tracklets) if os.path.exists(joints_path(list_path)) else None
    starts = np.concatenate([[0], np.cumsum(features.lengths, dtype=np.int64)])
    return Source(features, tracklets, os.fspath(root), joints, starts)


def spread(length, count):
    """``count`` indices below ``length``, or all where there are fewer, evenly spread, first and last included."""
    return sorted(set(np.linspace(0, length - 1, min(count, length)).round().astype(int).tolist()))


def read_frame(source, n, t):
    """Frame t of tracklet n as published; InputError for an image that is missing or damaged."""
    return read_image(os.path.join(source.root, source.tracklets[n].frames[t]))


def enlarge(image, height=HEIGHT):
    """An image at another height, its aspect kept."""
    width = max(1, round(image.shape[1] * height / image.shape[0]))
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)


def moved(points, before, after):
    """Coordinates (..., 2) = x, y of image ``before`` in image ``after``; pixel centres lie at halves, as for enlarge."""
    factors = np.array([after.shape[1] / before.shape[1], after.shape[0] / before.shape[0]])
    return (np.asarray(points, np.float64) + 0.5) * factors - 0.5


def strip(source, n, count, height=HEIGHT):
    """``count`` frames of tracklet n side by side."""
    return row([enlarge(read_frame(source, n, t), height) for t in spread(len(source.tracklets[n].frames), count)], 2)


def blank(height, width, colour=WHITE):
    """An empty image."""
    return np.full((height, width, 3), colour, np.uint8)


def framed(image, colour, width=4):
    """The image within a border of a colour."""
    return cv2.copyMakeBorder(image, width, width, width, width, cv2.BORDER_CONSTANT, value=colour)


def text_width(words, scale=_SCALE):
    """Pixels that :func:`write` needs for ``words``."""
    return cv2.getTextSize(_ascii(words), _FONT, scale, 1)[0][0]


def write(image, words, x, y, colour=BLACK, scale=_SCALE, halo=False):
    """Writes ``words`` into the image, their baseline's left end at x, y; a white halo sets them off a drawing."""
    if halo:
        cv2.putText(image, _ascii(words), (int(x), int(y)), _FONT, scale, WHITE, 4, cv2.LINE_AA)
    cv2.putText(image, _ascii(words), (int(x), int(y)), _FONT, scale, colour, 1, cv2.LINE_AA)


def _ascii(words):
    return words.encode("ascii", "replace").decode()  # OpenCV's fonts hold nothing else


def caption(lines, width=0, colour=BLACK, scale=_SCALE):
    """Lines of text as an image at least ``width`` wide."""
    image = blank(_LINE * len(lines) + 4, max([width] + [text_width(line, scale) + 4 for line in lines]))
    for number, line in enumerate(lines, 1):
        write(image, line, 1, _LINE * number - 3, colour, scale)
    return image


def title(words):
    """A heading."""
    return caption([words], scale=0.5)


def row(images, gap=8):
    """Images side by side, tops aligned."""
    height = max(image.shape[0] for image in images)
    return _joined([cv2.copyMakeBorder(image, 0, height - image.shape[0], 0, 0, cv2.BORDER_CONSTANT, value=WHITE)
                    for image in images], gap, 1)


def column(images, gap=4):
    """Images one below the other, left sides aligned."""
    width = max(image.shape[1] for image in images)
    return _joined([cv2.copyMakeBorder(image, 0, 0, 0, width - image.shape[1], cv2.BORDER_CONSTANT, value=WHITE)
                    for image in images], gap, 0)


def _joined(images, gap, axis):
    space = blank(gap, images[0].shape[1]) if axis == 0 else blank(images[0].shape[0], gap)
    return np.concatenate([piece for image in images for piece in (space, image)][1:], axis)


def page(images, gap=12):
    """A column within a margin."""
    return framed(column(images, gap), WHITE, 12)


def score_colour(score):
    """BGR of a score: red at 0, yellow at 0.5, green at 1; beyond these as at them."""
    score = min(max(float(score), 0.0), 1.0)
    return tuple(int(value) for value in
                 cv2.cvtColor(np.uint8([[[round(60 * score), 230, 215]]]), cv2.COLOR_HSV2BGR)[0, 0])


def png_bytes(image):
    """The image as a PNG file; the same image always gives the same bytes."""
    return cv2.imencode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, 9])[1].tobytes()


def write_png(path, image):
    """Writes the image as a PNG file, atomically."""
    with replacing(path, "wb") as stream:
        stream.write(png_bytes(image))
