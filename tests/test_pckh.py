"""PCKh by hand, and the files it reads."""

import numpy as np
import pytest

from stal.errors import InputError
from stal.pckh import JOINT_NAMES, head_lengths, heads_path, pckh, read_heads


def standing(frames=1):
    """(frames, 14, 3): joint j at (10 j, 0), annotated."""
    joints = np.ones((frames, 14, 3), np.float32)
    joints[..., 0], joints[..., 1] = 10 * np.arange(14), 0
    return joints


def test_the_share_of_a_joint_counts_the_frames_in_which_it_is_near():
    truth, heads = standing(2), [4, 20]
    found = truth.copy()
    found[0, 3, 0] += 2       # half of the head of frame 0: near
    found[0, 4, :2] += 1.5    # 2.12 away: too far
    found[1, 4, :2] += 1.5    # near beside the larger head
    found[:, 5, 1] -= 11      # too far in both
    scores = pckh(found, truth, heads)
    assert scores.joints.tolist() == [1, 1, 1, 1, 0.5, 0] + [1] * 8
    assert scores.mean == pytest.approx(25 / 28) and scores.annotated.tolist() == [2] * 14
    assert scores.left_out == 0
    assert pckh(found, truth, heads, 0.6).joints[5] == 0.5
    assert pckh(found, truth, heads, 0.4).joints[3] == 0.5


def test_joints_that_are_not_annotated_do_not_count():
    truth = standing(3)
    truth[0, 6] = truth[:, 7] = 0
    truth[1, 6, 2] = 0.01
    found = truth.copy()
    found[0, 6, 0] += 1000
    found[:, 7, 0] += 1000
    found[1, 6, 0] += 1000
    scores = pckh(found, truth, [4, 4, 4])
    assert scores.annotated.tolist() == [3] * 6 + [2, 0] + [3] * 6
    assert scores.joints[6] == 0.5 and np.isnan(scores.joints[7])
    assert scores.mean == pytest.approx(37 / 38)  # of all annotated joints, not of the 13 shares


def test_frames_without_a_head_length_are_left_out():
    truth = standing(3)
    found = truth + np.float32([100, 0, 0])
    found[1] = truth[1]
    scores = pckh(found, truth, [0, 4, np.nan])
    assert scores.left_out == 2 and scores.mean == 1 and scores.annotated.tolist() == [1] * 14
    with pytest.raises(InputError, match="PCKh needs annotated joints"):
        pckh(found, truth, [0, 0, 0])
    with pytest.raises(InputError, match="PCKh needs annotated joints"):
        pckh(found, truth * [1, 1, 0], [4, 4, 4])


def test_what_is_no_number_is_wrong():
    truth = standing()
    found = truth.copy()
    found[0, 2, 1] = np.nan
    assert pckh(found, truth, [4]).joints[2] == 0


def test_the_distance_of_the_first_two_joints_stands_in_for_the_head():
    truth = standing(4)
    truth[0, 1, :2] = 3, 4
    truth[1, 0, 2] = truth[2, 1, 2] = 0
    assert head_lengths(truth).tolist() == [5, 0, 0, 10]


def test_the_left_leg_comes_first():
    assert JOINT_NAMES[:2] == ("Head", "Neck") and len(JOINT_NAMES) == 14
    assert JOINT_NAMES[8:] == ("L hip", "L knee", "L ankle", "R hip", "R knee", "R ankle")


def test_head_lengths_are_read_from_beside_the_list(tmp_path):
    path = heads_path(tmp_path / "val.csv")
    assert path == str(tmp_path / "val_heads.npy")
    np.save(path, np.float32([1, 2.5]))
    assert read_heads(path, 2).tolist() == [1, 2.5]


@pytest.mark.parametrize("heads, said", [
    (np.ones(3, np.float32), r"float32 \(3,\), but its list needs float32 \(2,\)"),
    (np.ones(2), r"float64 \(2,\)"), (np.ones((2, 1), np.float32), r"\(2, 1\)"),
    (np.float32([1, 0]), "not above 0"), (np.float32([np.nan, 1]), "not above 0"),
    (np.float32([np.inf, 1]), "not above 0"), (None, "no complete .npy file")])
def test_wrong_head_lengths_are_refused(tmp_path, heads, said):
    path = tmp_path / "val_heads.npy"
    if heads is None:
        path.write_bytes(b"\x93NUMPY")
    else:
        np.save(path, heads)
    with pytest.raises(InputError, match=f"val_heads.npy .*{said}.*data_prep/mpii.py"):
        read_heads(path, 2)
