"""AttentionDistance: the attention-aware distance psi of all pairs of videos (Eq. 8, 10, 12).

V videos, R parts, C channels.
    bottoms  parts f (V, R, C); weights a (V, R), each part's mean score
    top      (V, V): psi[i, j] = sum_r w_i^r w_j^r ||f_i^r - f_j^r||_2,   w_i = a_i / ||a_i||

A video whose scores are all zero counts as one with equal scores and gets no gradient to them;
``spatial=False`` makes every video such a one. Gradient of the scores a_i, with d the parts' distances and
s[i, j] = dL/dpsi[i, j] + dL/dpsi[j, i], as both hold the pair's distance:
    EXACT  dL/dw_i^r = sum_j s[i, j] w_j^r d_ij^r, taken through the whole Jacobian of a / ||a||
    PAPER  sum_j s[i, j] (sum_r' w_j^r' d_ij^r') (1 - w_i^r) / ||a_i||: Eq. 10's second line sums over r, and
           Eq. 12 is only the diagonal of the Jacobian of the L1 norm
"""

import numpy as np

from layers.pairwise_distance import pairwise_distance_layer as pairwise
from layers.twin import Twin, check_axes, check_shape, choice, flag

NAME = "AttentionDistance"
OPTIONS = {"norm": (choice("L1", "L2"), "L1"), "spatial": (flag, True),
           "gradient": (choice("EXACT", "PAPER"), "EXACT"), "feature_norm": pairwise.FEATURE_NORM}


def shapes(bottom_shapes, norm="L1", spatial=True, gradient="EXACT", feature_norm="UNNORMALIZED"):
    """Shape of psi. Raises InputError for parts that are not (V, R, C) or weights that are not (V, R)."""
    videos, parts, _ = check_axes(NAME, "parts", bottom_shapes[0], "V, R, C")
    check_shape(NAME, "weights", bottom_shapes[1], (videos, parts), "videos by parts")
    return [(videos, videos)]


def _normalized(a, norm, spatial):
    """w (V, R); ||a|| (V, 1); which videos' scores have a say, (V, 1) bool. Others count as equal ones."""
    scored = a.any(axis=1, keepdims=True) & spatial
    a = np.where(scored, a, 1)
    length = (np.abs(a) if norm == "L1" else a ** 2).sum(axis=1, keepdims=True)
    length = length if norm == "L1" else np.sqrt(length)
    return a / length, length, scored


def _part_distances(parts, feature_norm):
    """||f_i^r - f_j^r|| as (V, V, R)."""
    return np.stack([pairwise.forward(part, feature_norm)[0] for part in np.moveaxis(parts, 1, 0)], axis=2)


def forward(parts, weights, norm="L1", spatial=True, gradient="EXACT", feature_norm="UNNORMALIZED"):
    """psi (V, V)."""
    w, _, _ = _normalized(weights, norm, spatial)
    return [(w[:, None] * w * _part_distances(parts, feature_norm)).sum(axis=2)]


def backward(diffs, parts, weights, norm="L1", spatial=True, gradient="EXACT", feature_norm="UNNORMALIZED"):
    """Gradients of parts (Eq. 10, first line) and of weights."""
    w, length, scored = _normalized(weights, norm, spatial)
    dparts = [pairwise.backward([diffs[0] * np.outer(w[:, r], w[:, r])], parts[:, r], feature_norm)[0]
              for r in range(w.shape[1])]
    s = diffs[0] + diffs[0].T  # the diagonal has no say: its distances are 0
    dw = (s[..., None] * w * _part_distances(parts, feature_norm)).sum(axis=1)
    if gradient == "PAPER":
        da = dw.sum(axis=1, keepdims=True) * (1 - w) / length
    else:
        dlength = np.sign(weights) if norm == "L1" else w  # derivative of ||a|| by each a
        da = (dw - dlength * (dw * w).sum(axis=1, keepdims=True)) / length
    return [np.stack(dparts, axis=1), da * scored]


class AttentionDistance(Twin):
    OPTIONS = OPTIONS
    BOTTOMS = ("parts", "weights")
    TOPS = ("distances",)
    shapes = staticmethod(shapes)
    compute = staticmethod(forward)
    differentiate = staticmethod(backward)
