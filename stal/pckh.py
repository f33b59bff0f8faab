"""PCKh: the share of joints found within a part of the head's length of their true place.

Source: Andriluka, Pishchulin, Gehler, Schiele: 2D human pose estimation: new benchmark and state of the art analysis,
CVPR 2014, where the head's length is 0.6 times the diagonal of the annotated head box.
"""

import os
from typing import NamedTuple

import numpy as np

from stal.errors import InputError
from stal.tracklets import JOINTS

# J1..J14 in the paper's order: its parts P5 and P6 make J9 to J11 the LEFT leg.
JOINT_NAMES = ("Head", "Neck", "R shoulder", "R elbow", "R wrist", "L shoulder", "L elbow", "L wrist",
               "L hip", "L knee", "L ankle", "R hip", "R knee", "R ankle")


class PCKh(NamedTuple):
    """Shares from 0 to 1; NaN for a joint that is annotated nowhere."""

    joints: np.ndarray     # (14,) float64
    mean: float            # over all annotated joints, so that a joint weighs as often as it is annotated
    annotated: np.ndarray  # (14,) int64, annotated joints that were compared
    left_out: int          # frames without a head length


def pckh(found, truth, heads, alpha=0.5):
    """Compares joints.

    Args:
        found: (F, 14, 2 or more): x, y. A joint that is not finite counts as wrong.
        truth: (F, 14, 3): x, y, confidence, in the same pixels; annotated where the confidence is above 0.
        heads: (F,) lengths in the same pixels; a frame whose length is not above 0 is left out.
        alpha: the distance that still counts, in head lengths.
    Returns:
        :class:`PCKh`.
    Raises:
        InputError: no annotated joint in a frame with a head length.
    """
    found, truth, heads = (np.asarray(values, np.float64) for values in (found, truth, heads))
    usable = heads > 0
    counted = (truth[..., 2] > 0) & usable[:, None]
    if not counted.any():
        raise InputError("PCKh needs annotated joints (confidence above 0) in frames whose head length is known, and there "
                         "are none: check the joints beside the list")
    near = np.linalg.norm(found[..., :2] - truth[..., :2], axis=2) <= alpha * heads[:, None]
    annotated, right = counted.sum(axis=0), (near & counted).sum(axis=0)
    shares = np.divide(right, annotated, out=np.full(JOINTS, np.nan), where=annotated > 0)
    return PCKh(shares, float(right.sum() / annotated.sum()), annotated, int((~usable).sum()))


def head_lengths(truth):
    """Distance from J1 to J2, the head's length where no head box is known.

    Args:
        truth: (F, 14, 3): x, y, confidence.
    Returns:
        (F,) float64; 0 where one of the two is not annotated.
    """
    ends = np.asarray(truth, np.float64)[:, :2]
    return np.where((ends[..., 2] > 0).all(axis=1), np.linalg.norm(ends[:, 0, :2] - ends[:, 1, :2], axis=1), 0)


def heads_path(list_path):
    """The file of head lengths of a list: ``NAME.csv`` -> ``NAME_heads.npy``."""
    return os.path.splitext(os.fspath(list_path))[0] + "_heads.npy"


def read_heads(path, count):
    """Reads head lengths, pixels of the published images.

    Returns:
        (count,) float32, one a frame in the list's order.
    Raises:
        InputError: no .npy file, cut short, another shape, or a length that is not above 0.
    """
    try:
        heads = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path} is no complete .npy file ({error}): write it anew with data_prep/mpii.py") from None
    if heads.shape != (count,) or heads.dtype != np.float32:
        raise InputError(f"{path} holds {heads.dtype} {heads.shape}, but its list needs float32 ({count},): write both anew "
                         "with data_prep/mpii.py")
    if not (np.isfinite(heads) & (heads > 0)).all():
        raise InputError(f"{path} holds a length that is not above 0: write it anew with data_prep/mpii.py")
    return heads
