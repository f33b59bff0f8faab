"""L1Normalize: the score map of each video brought to a sum of one (section III-C).

V videos, T = frames, F = V*T frames video-major, R parts.
    bottom  scores a (F, R)
    top     (F, R): a / (sum of |a| over the video's T x R map + eps)

eps keeps a map of zeros at zeros instead of 0/0; its gradient is then 1/eps. The derivative of |a| at 0 is
taken as 0.
"""

import numpy as np

from layers.twin import Twin, check_axes, count_videos, real, uint32

NAME = "L1Normalize"
OPTIONS = {"frames": (uint32(1), 8), "eps": (real(above=0), 1e-12)}


def shapes(bottom_shapes, frames=8, eps=1e-12):
    """Shape of the normalised scores. Raises InputError for a bottom that is not (V*T, R)."""
    rows, parts = check_axes(NAME, "scores", bottom_shapes[0], "F, R")
    count_videos(NAME, rows, frames)
    return [(rows, parts)]


def forward(scores, frames=8, eps=1e-12):
    """Normalised scores (F, R)."""
    a = scores.reshape(-1, frames * scores.shape[1])
    return [(a / (np.abs(a).sum(axis=1, keepdims=True) + eps)).reshape(scores.shape)]


def backward(diffs, scores, frames=8, eps=1e-12):
    """Gradient of the scores."""
    a = scores.reshape(-1, frames * scores.shape[1])
    d = diffs[0].reshape(a.shape)
    total = np.abs(a).sum(axis=1, keepdims=True) + eps
    da = (d - np.sign(a) * (d * a / total).sum(axis=1, keepdims=True)) / total
    return [da.reshape(scores.shape)]


class L1Normalize(Twin):
    OPTIONS = OPTIONS
    BOTTOMS = ("scores",)
    TOPS = ("normalized",)
    shapes = staticmethod(shapes)
    compute = staticmethod(forward)
    differentiate = staticmethod(backward)
