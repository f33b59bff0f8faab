"""SpatialSoftArgMax: joints from heat maps.

F frames, J' maps of h x w cells, J joints.
    bottom  maps m (F, J', h, w)
    top     joints (F, J, 3) = [x, y, the map's maximum], pixels: cell c lies at c * stride + (stride - 1) / 2

ARG_MAX: the highest cell, the first in rows on ties; no gradient. SOFT: the mean cell under softmax(beta * m)
over the h*w cells. Joint j reads map channel[j], or map j when no channel is given. The maximum passes no
gradient.
"""

import numpy as np

from layers.twin import Twin, check_axes, choice, real, require, uint32, uint32s

NAME = "SpatialSoftArgMax"
OPTIONS = {"mode": (choice("ARG_MAX", "SOFT"), "ARG_MAX"), "beta": (real(above=0), 1.0),
           "stride": (real(above=0), 1.0), "channel": (uint32s, ()), "joints": (uint32(1), 14)}


def shapes(bottom_shapes, mode="ARG_MAX", beta=1, stride=1, channel=(), joints=14):
    """Shape of the joints. Raises InputError for a bottom that is not (F, J', h, w) or has too few maps."""
    frames, maps, _, _ = check_axes(NAME, "maps", bottom_shapes[0], "F, J', h, w")
    channel = channel or range(joints)
    require(max(channel) < maps,
            f"{NAME}: a joint reads map {max(channel)}, but there are {maps} maps, counted from 0")
    return [(frames, len(channel), 3)]


def _flat(maps, stride, channel, joints):
    """The maps read (F, J, h*w), and the pixel [x, y] of each cell (h*w, 2)."""
    rows, columns = np.indices(maps.shape[2:]).reshape(2, -1)
    pixels = np.stack([columns, rows], axis=1) * stride + (stride - 1) / 2
    return maps[:, list(channel or range(joints))].reshape(len(maps), -1, len(pixels)), pixels


def _softmax(m):
    e = np.exp(m - m.max(axis=2, keepdims=True))
    return e / e.sum(axis=2, keepdims=True)


def forward(maps, mode="ARG_MAX", beta=1, stride=1, channel=(), joints=14):
    """Joints (F, J, 3)."""
    m, pixels = _flat(maps, stride, channel, joints)
    place = _softmax(beta * m) @ pixels if mode == "SOFT" else pixels[m.argmax(axis=2)]
    return [np.concatenate([place, m.max(axis=2, keepdims=True)], axis=2)]


def backward(diffs, maps, mode="ARG_MAX", beta=1, stride=1, channel=(), joints=14):
    """Gradient of the maps: beta p_c (dx (x_c - x) + dy (y_c - y)) at cell c for SOFT, zero for ARG_MAX."""
    gradient = np.zeros_like(maps)
    if mode == "SOFT":
        m, pixels = _flat(maps, stride, channel, joints)
        p = _softmax(beta * m)
        away = pixels - (p @ pixels)[:, :, None]
        dm = beta * p * (diffs[0][:, :, None, :2] * away).sum(axis=3)
        for j, c in enumerate(channel or range(joints)):
            gradient[:, c] += dm[:, j].reshape(gradient[:, c].shape)
    return [gradient]


class SpatialSoftArgMax(Twin):
    OPTIONS = OPTIONS
    BOTTOMS = ("maps",)
    TOPS = ("joints",)
    shapes = staticmethod(shapes)
    compute = staticmethod(forward)
    differentiate = staticmethod(backward)
