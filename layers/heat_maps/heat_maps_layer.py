"""HeatMaps: what a pose net is to say of known joints, a Gaussian map of each and one of the background (CPM).

F frames, J joints, h = height, w = width.
    bottom  joints (F, J, 3) = [x, y, confidence], pixels of the image that the maps are of
    top     maps (F, J + 1, h, w), 0..1

Cell c lies at pixel c * stride + (stride - 1) / 2, as in SpatialSoftArgMax. Joint j is map channel[j], or map j
when no channel is given: exp(-((X - x)^2 + (Y - y)^2) / (2 sigma^2)) at the cell of pixel (X, Y), sigma in
pixels. A joint of confidence 0 or less is not annotated, its map is 0. The last map is 1 less the greatest of the
joints' maps at each cell. No gradient.
"""

import numpy as np

from layers.twin import REQUIRED, Twin, check_axes, real, require, uint32, uint32s

NAME = "HeatMaps"
OPTIONS = {"height": (uint32(1), REQUIRED), "width": (uint32(1), REQUIRED), "stride": (real(above=0), 1.0),
           "sigma": (real(above=0), 1.0), "channel": (uint32s, ())}


def shapes(bottom_shapes, height, width, stride=1, sigma=1, channel=()):
    """Shape of the maps. Raises InputError for joints other than (F, J, 3), channels no order of all J maps."""
    frames, joints, _ = check_axes(NAME, "joints", bottom_shapes[0], "F, J, 3")
    require(not channel or sorted(channel) == list(range(joints)),
            f"{NAME}: channel must list each of 0 .. {joints - 1} once, a map of each joint, not {list(channel)}")
    return [(frames, joints + 1, height, width)]


def _pixels(cells, stride):
    """The pixels of a direction's cells (cells,)."""
    return np.arange(cells) * stride + (stride - 1) / 2


def forward(joints, height, width, stride=1, sigma=1, channel=()):
    """Maps (F, J + 1, h, w)."""
    x, y, confidence = np.moveaxis(joints, 2, 0)[..., None, None]  # each (F, J, 1, 1)
    squared = (_pixels(width, stride) - x) ** 2 + (_pixels(height, stride)[:, None] - y) ** 2
    of_joint = np.where(confidence > 0, np.exp(-squared / (2 * sigma ** 2)), 0)
    maps = np.zeros_like(of_joint)
    maps[:, list(channel or range(joints.shape[1]))] = of_joint
    return [np.concatenate([maps, 1 - maps.max(axis=1, keepdims=True)], axis=1)]


def backward(diffs, joints, height, width, stride=1, sigma=1, channel=()):
    """The joints get no gradient."""
    return [None]


class HeatMaps(Twin):
    OPTIONS = OPTIONS
    BOTTOMS = ("joints",)
    TOPS = ("maps",)
    shapes = staticmethod(shapes)
    compute = staticmethod(forward)
    differentiate = staticmethod(backward)
