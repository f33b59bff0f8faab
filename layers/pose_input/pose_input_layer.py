"""PoseInput: what a pose net sees of a frame, at its published aspect in a padded square, with a centre map.

F frames squashed to H x W; the top's h = new_height, w = new_width.
    bottom  data v (F, 3, H, W) = (pixel - mean_value) * scale
    top     (F, 4, h, w): channels 0..2 p / 256 - 0.5 with p the pixels, 0..255, in the bottom's order of channels;
            channel 3 exp(-((x - w/2)^2 + (y - h/2)^2) / (2 sigma^2)), SpindleNet's map of the person's centre

The frame fills the greatest box of ``aspect`` (width / height) that fits, in the middle: its w' is aspect * h and
its h' is h, or w' is w and h' is w / aspect; left = (w - w') / 2 and top = (h - h') / 2 may be fractions. Pixel
(y, x) is of the frame if left <= x + 0.5 < left + w' and the same holds for y. There v is read bilinearly at
(x + 0.5 - left) / w' * W - 0.5, clamped to [0, W - 1], the same for y, and p = v / scale + mean_value; any other
pixel is p = fill. The two directions separate: with A_y (h, H) and A_x (w, W) the weights of the cells, what is
read is A_y v A_x'.
"""

import math

import numpy as np

from layers.twin import Twin, check_axes, real, uint32
from layers.video_triplet_data.video_triplet_data_layer import mean

NAME = "PoseInput"


def nonzero(value):
    """The kind of a float option that is not 0."""
    number = real()(value)
    if number == 0:
        raise ValueError("a finite number other than 0")
    return number


OPTIONS = {"new_height": (uint32(1), 256), "new_width": (uint32(1), 256), "aspect": (real(above=0), 0.5),
           "mean_value": (mean, mean([])), "scale": (nonzero, 1.0), "fill": (real(), 128.0),
           "sigma": (real(above=0), 21.0)}


def shapes(bottom_shapes, new_height=256, new_width=256, aspect=0.5, mean_value=(0, 0, 0), scale=1, fill=128,
           sigma=21):
    """Shape of the top. Raises InputError for a bottom that is not (F, 3, H, W)."""
    frames, _, _, _ = check_axes(NAME, "data", bottom_shapes[0], "F, 3, H, W")
    return [(frames, 4, new_height, new_width)]


def _weights(pixels, side, cells):
    """A of a direction, (pixels, cells): the frame lies on ``side`` of the pixels; rows off it are 0."""
    a = np.zeros((pixels, cells))
    start = (pixels - side) / 2
    for x in range(pixels):
        if start <= x + 0.5 < start + side:
            source = min(max((x + 0.5 - start) / side * cells - 0.5, 0), cells - 1)
            low = math.floor(source)
            a[x, low] += low + 1 - source
            a[x, min(low + 1, cells - 1)] += source - low
    return a


def _both_weights(data, new_height, new_width, aspect):
    """A_y (h, H) and A_x (w, W)."""
    if aspect <= new_width / new_height:
        height, width = new_height, aspect * new_height
    else:
        height, width = new_width / aspect, new_width
    return _weights(new_height, height, data.shape[2]), _weights(new_width, width, data.shape[3])


def forward(data, new_height=256, new_width=256, aspect=0.5, mean_value=(0, 0, 0), scale=1, fill=128, sigma=21):
    """The pose net's input (F, 4, h, w)."""
    a_y, a_x = _both_weights(data, new_height, new_width, aspect)
    of_frame = np.outer(a_y.any(axis=1), a_x.any(axis=1))
    pixels = np.where(of_frame, a_y @ data @ a_x.T / scale + np.reshape(mean_value, (-1, 1, 1)), fill)
    y, x = np.indices((new_height, new_width))
    centre = np.exp(-((x - new_width / 2) ** 2 + (y - new_height / 2) ** 2) / (2 * sigma ** 2))
    return [np.concatenate([pixels / 256 - 0.5, np.broadcast_to(centre, (len(data), 1, *centre.shape))], axis=1)]


def backward(diffs, data, new_height=256, new_width=256, aspect=0.5, mean_value=(0, 0, 0), scale=1, fill=128,
             sigma=21):
    """Gradient of the data; the centre map has none."""
    a_y, a_x = _both_weights(data, new_height, new_width, aspect)
    return [a_y.T @ diffs[0][:, :3] @ a_x / (256 * scale)]


class PoseInput(Twin):
    OPTIONS = OPTIONS
    BOTTOMS = ("data",)
    TOPS = ("input",)
    shapes = staticmethod(shapes)
    compute = staticmethod(forward)
    differentiate = staticmethod(backward)
