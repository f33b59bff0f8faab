"""AttentionPooling: each part's features over the frames of a video, weighted by the attention (Eq. 9, 11).

V videos, T = frames, F = V*T frames video-major, R parts, C channels.
    bottoms  scores a (F, R), not negative; then for each part its features f (F, C)
    tops     parts (V, R, C):   parts[v, r] = sum_t a[v, t, r] f[v, t, r] / sum_t a[v, t, r]
             weights (V, R):    weights[v, r] = mean_t a[v, t, r]

A part without a positive score in a video gets the plain mean of its features: 1/T to each feature's
gradient, none to the scores but through the weights. ``temporal=False`` does the same for every part.
"""

import numpy as np

from layers.twin import Twin, check_axes, check_shape, choice, count_videos, flag, require, uint32

NAME = "AttentionPooling"
OPTIONS = {"frames": (uint32(1), 8), "temporal": (flag, True),
           "gradient": (choice("EXACT", "PAPER"), "EXACT")}


def shapes(bottom_shapes, frames=8, temporal=True, gradient="EXACT"):
    """Shapes of parts and weights. Raises InputError for bottoms that do not fit each other or T."""
    rows, parts = check_axes(NAME, "scores", bottom_shapes[0], "F, R")
    require(len(bottom_shapes) == 1 + parts,
            f"{NAME}: scores of shape {bottom_shapes[0]} need {parts} features, one blob a part, "
            f"not {len(bottom_shapes) - 1}")
    _, channels = check_axes(NAME, "features 1", bottom_shapes[1], "F, C")
    for r, shape in enumerate(bottom_shapes[1:], 1):
        check_shape(NAME, f"features {r}", shape, (rows, channels), "scores' rows by features 1's channels")
    videos = count_videos(NAME, rows, frames)
    return [(videos, parts, channels), (videos, parts)]


def shares(a, temporal=True):
    """What each frame counts in Eq. 9.

    Args:
        a: scores (V, T, R).
    Returns:
        a / sum_t a as (V, T, R); sum_t a as (V, 1, R); which scores have a say, (V, 1, R) bool. The others
        count as equal ones.
    """
    attended = (a.sum(axis=1, keepdims=True) > 0) & temporal
    a = np.where(attended, a, 1)
    total = a.sum(axis=1, keepdims=True)
    return a / total, total, attended


def _by_video(scores, features, frames):
    """Scores as (V, T, R), features as (V, T, R, C)."""
    a = scores.reshape(-1, frames, scores.shape[1])
    return a, np.stack(features, axis=1).reshape(*a.shape, -1)


def forward(scores, *features, frames=8, temporal=True, gradient="EXACT"):
    """Parts (V, R, C) and weights (V, R)."""
    a, f = _by_video(scores, features, frames)
    share, _, _ = shares(a, temporal)
    return [(share[..., None] * f).sum(axis=1), a.mean(axis=1)]


def backward(diffs, scores, *features, frames=8, temporal=True, gradient="EXACT"):
    """Gradients of scores and of each features. PAPER: a score gets its weight's gradient without the 1/T."""
    dparts, dweights = (diff[:, None] for diff in diffs)
    a, f = _by_video(scores, features, frames)
    share, total, attended = shares(a, temporal)
    df = share[..., None] * dparts
    part = (share[..., None] * f).sum(axis=1, keepdims=True)
    da = attended * (dparts * (f - part)).sum(axis=3) / total  # Eq. 11
    da = da + dweights / (1 if gradient == "PAPER" else frames)
    return [da.reshape(scores.shape), *np.moveaxis(df.reshape(*scores.shape, -1), 1, 0)]


class AttentionPooling(Twin):
    OPTIONS = OPTIONS
    BOTTOMS = ("scores", "features...")
    TOPS = ("parts", "weights")
    shapes = staticmethod(shapes)
    compute = staticmethod(forward)
    differentiate = staticmethod(backward)
