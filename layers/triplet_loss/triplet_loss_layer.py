"""TripletLoss: one of the two sums of Eq. 4, on a matrix of distances.

V videos.
    bottoms  distances d (V, V); label (V), the identity of each video
    top      scalar: mean over the triplets (a, p, n) of max(0, d[a, p] - d[a, n] + margin)

Triplets: ORDERED, videos 3k, 3k+1, 3k+2 (the paper); ALL, every a != p of one identity and n of another;
HARD, each anchor with its farthest positive and its nearest negative, the first on ties. The mean is over all
of them, active or not; ``normalization="NONE"`` (loss_param of the C++ layer) sums. Without a triplet loss
and gradient are 0. The derivative of the hinge at 0 is taken as 0; labels get no gradient.
"""

import numpy as np

from layers.twin import REQUIRED, Twin, check_axes, check_shape, choice, real, require

NAME = "TripletLoss"
OPTIONS = {"margin": (real(least=0), REQUIRED), "triplets": (choice("ORDERED", "ALL", "HARD"), "ORDERED"),
           "normalization": (choice("VALID", "NONE"), "VALID")}


def shapes(bottom_shapes, margin, triplets="ORDERED", normalization="VALID"):
    """Shape of the loss. Raises InputError for distances that are not square, labels that do not fit them."""
    videos, columns = check_axes(NAME, "distances", bottom_shapes[0], "V, V")
    require(videos == columns, f"{NAME}: distances must be square, not {bottom_shapes[0]}")
    check_shape(NAME, "label", bottom_shapes[1], (videos,), "one a video")
    require(triplets != "ORDERED" or videos % 3 == 0,
            f"{NAME}: ORDERED triplets need a multiple of 3 videos, not {videos}")
    return [()]


def select(distances, label, triplets="ORDERED"):
    """The triplets (a, p, n). Raises InputError for ORDERED videos whose labels make no triplet."""
    videos = range(len(label))
    if triplets == "ORDERED":
        for a in videos[::3]:
            require(label[a] == label[a + 1] != label[a + 2],
                    f"{NAME}: videos {a}, {a + 1}, {a + 2} must be anchor, positive and negative, but their "
                    f"labels are {label[a]:g}, {label[a + 1]:g}, {label[a + 2]:g}")
        return [(a, a + 1, a + 2) for a in videos[::3]]
    chosen = []
    for a in videos:
        positives = [p for p in videos if p != a and label[p] == label[a]]
        negatives = [n for n in videos if label[n] != label[a]]
        if triplets == "HARD" and positives and negatives:
            positives = [max(positives, key=lambda p: distances[a, p])]
            negatives = [min(negatives, key=lambda n: distances[a, n])]
        chosen += [(a, p, n) for p in positives for n in negatives]
    return chosen


def _hinges(distances, label, margin, triplets, normalization):
    """The triplets, what the hinge of each is taken of, and what their sum is multiplied by."""
    chosen = select(distances, label, triplets)
    values = [distances[a, p] - distances[a, n] + margin for a, p, n in chosen]
    return chosen, values, 1 / len(chosen) if chosen and normalization == "VALID" else 1


def forward(distances, label, margin, triplets="ORDERED", normalization="VALID"):
    """The loss, a scalar."""
    _, values, scale = _hinges(distances, label, margin, triplets, normalization)
    return [np.asarray(scale * sum(max(value, 0) for value in values))]


def backward(diffs, distances, label, margin, triplets="ORDERED", normalization="VALID"):
    """Gradient of the distances; none of the labels."""
    chosen, values, scale = _hinges(distances, label, margin, triplets, normalization)
    gradient = np.zeros_like(distances)
    for (a, p, n), value in zip(chosen, values):
        if value > 0:
            gradient[a, p] += scale * diffs[0]
            gradient[a, n] -= scale * diffs[0]
    return [gradient, None]


class TripletLoss(Twin):
    OPTIONS = OPTIONS
    BOTTOMS = ("distances", "label")
    TOPS = ("loss",)
    shapes = staticmethod(shapes)
    compute = staticmethod(forward)
    differentiate = staticmethod(backward)
