"""stal/tracklets.py: lists and joints come back as written; wrong files are refused by name."""

import numpy as np
import pytest

from stal import tracklets
from stal.errors import InputError
from stal.tracklets import Tracklet

HEADER = "tracklet,pid,camid,query,frames\n"
TWO = [Tracklet("cam2/b", -1, 1, False, ("x/1.png", "x/2.png")), Tracklet("cam1/a", 7, 0, True, ("y/1.png",))]


def written(tmp_path, content):
    path = tmp_path / "list.csv"
    path.write_text(content)
    return path


def test_a_list_comes_back_sorted(tmp_path):
    path = tmp_path / "list.csv"
    tracklets.write_list(path, TWO)
    assert path.read_bytes() == (HEADER + "cam1/a,7,0,1,y/1.png\ncam2/b,-1,1,0,x/1.png;x/2.png\n").encode()
    assert tracklets.read_list(path) == TWO[::-1]


@pytest.mark.parametrize("text", ["a;b.png", "a,b.png", 'a"b.png', "a\nb.png"])
def test_a_separator_in_a_path_is_not_written(tmp_path, text):
    path = tmp_path / "list.csv"
    with pytest.raises(InputError, match="list.csv"):
        tracklets.write_list(path, [Tracklet("a", 1, 0, True, (text,))])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content, sentence", [
    ("", "list.csv is no tracklet list"),
    ("tracklet,pid,camid,frames\n", "list.csv is no tracklet list"),
    (HEADER, "list.csv lists no tracklet"),
    (HEADER + "a,1,0,1,x\na,1,0,1,y\n", "list.csv line 3 repeats tracklet a of line 2"),
    (HEADER + "a,1,0,1,\n", "list.csv line 2: tracklet a has no frames"),
    (HEADER + "a,1,0,x\n", "list.csv line 2 has 4 fields"),
    (HEADER + "a,one,0,1,x\n", "list.csv line 2: pid 'one'"),
    (HEADER + "a,1,-1,1,x\n", "list.csv line 2: camid counts from 0"),
    (HEADER + "a,1,0,yes,x\n", "list.csv line 2: .* query is 0 or 1"),
])
def test_a_wrong_list_is_refused(tmp_path, content, sentence):
    with pytest.raises(InputError, match=sentence):
        tracklets.read_list(written(tmp_path, content))


def test_a_list_that_is_no_text_is_refused(tmp_path):
    path = tmp_path / "list.csv"
    path.write_bytes(b"\xff\xfe\x00binary")
    with pytest.raises(InputError, match="list.csv is no tracklet list"):
        tracklets.read_list(path)


def test_a_missing_list_is_named(tmp_path):
    with pytest.raises(InputError, match="missing.csv"):
        tracklets.read_list(tmp_path / "missing.csv")


def test_joints_come_back(tmp_path):
    joints = np.random.default_rng(0).normal(size=(3, 14, 3))
    tracklets.write_joints(tmp_path / "list.csv", joints)
    assert np.array_equal(tracklets.read_joints(tmp_path / "list_joints.npy", TWO), joints.astype(np.float32))


@pytest.mark.parametrize("joints", [np.zeros((2, 14, 3), np.float32), np.zeros((3, 14, 2), np.float32),
                                    np.zeros((3, 14, 3))])
def test_joints_of_another_list_are_refused(tmp_path, joints):
    np.save(tmp_path / "list_joints.npy", joints)
    with pytest.raises(InputError, match="list_joints.npy holds"):
        tracklets.read_joints(tmp_path / "list_joints.npy", TWO)


@pytest.mark.parametrize("kept", [0, 5, 60, 300])
def test_joints_cut_short_are_refused(tmp_path, kept):
    path = tmp_path / "list_joints.npy"
    tracklets.write_joints(tmp_path / "list.csv", np.zeros((3, 14, 3)))
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(InputError, match="list_joints.npy"):
        tracklets.read_joints(path, TWO)


def test_pickled_joints_are_not_loaded(tmp_path):
    np.save(tmp_path / "list_joints.npy", np.array([{}], object))  # np.save pickles objects
    with pytest.raises(InputError, match="list_joints.npy"):
        tracklets.read_joints(tmp_path / "list_joints.npy", TWO)


def test_missing_joints_are_named(tmp_path):
    with pytest.raises(InputError, match="none_joints.npy"):
        tracklets.read_joints(tmp_path / "none_joints.npy", TWO)
