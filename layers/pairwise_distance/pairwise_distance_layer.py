"""PairwiseDistance: distance of the global features of all pairs of videos (section III-A's d_g).

V videos, C channels.
    bottom  features g (V, C)
    top     (V, V): d[i, j] = ||g_i - g_j||_2; with ``squared`` its square

``feature_norm="L2_UNIT"`` first brings each g_i to unit length; zero stays zero and gets no gradient. The
derivative of a distance of 0 that is not squared is taken as 0.
"""

import numpy as np

from layers.twin import Twin, check_axes, choice, flag

NAME = "PairwiseDistance"
FEATURE_NORM = (choice("UNNORMALIZED", "L2_UNIT"), "UNNORMALIZED")
OPTIONS = {"feature_norm": FEATURE_NORM, "squared": (flag, False)}


def shapes(bottom_shapes, feature_norm="UNNORMALIZED", squared=False):
    """Shape of the distances. Raises InputError for a bottom that is not (V, C)."""
    videos, _ = check_axes(NAME, "features", bottom_shapes[0], "V, C")
    return [(videos, videos)]


def _length(x):
    return np.sqrt((x ** 2).sum(axis=-1, keepdims=True))


def _over(numerator, length):
    """numerator / length, 0 where the length is 0."""
    return np.where(length > 0, numerator / np.where(length > 0, length, 1), 0)


def forward(features, feature_norm="UNNORMALIZED", squared=False):
    """Distances (V, V)."""
    g = _over(features, _length(features)) if feature_norm == "L2_UNIT" else features
    away = g[:, None] - g
    return [(away ** 2).sum(axis=-1) if squared else _length(away)[..., 0]]


def backward(diffs, features, feature_norm="UNNORMALIZED", squared=False):
    """Gradient of the features. d[i, j] and d[j, i] are two values of the same pair and both count."""
    g = _over(features, _length(features)) if feature_norm == "L2_UNIT" else features
    away = g[:, None] - g
    by_g = 2 * away if squared else _over(away, _length(away))
    dg = ((diffs[0] + diffs[0].T)[..., None] * by_g).sum(axis=1)
    if feature_norm == "L2_UNIT":
        dg = _over(dg - g * (g * dg).sum(axis=1, keepdims=True), _length(features))
    return [dg]


class PairwiseDistance(Twin):
    OPTIONS = OPTIONS
    BOTTOMS = ("features",)
    TOPS = ("distances",)
    shapes = staticmethod(shapes)
    compute = staticmethod(forward)
    differentiate = staticmethod(backward)
