"""Feature directories: what goes in comes out, damage is named, and a killed writer continues."""

import errno
import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from stal.errors import InputError
from stal.features import FeatureWriter, read_features, read_frames
from stal.tracklets import Tracklet

META = {"net": "toy", "weights_sha256": "w", "list_sha256": "l", "commit": "c", "attention_norm": "L1",
        "feature_norm": "UNNORMALIZED"}
TRACKLETS = [Tracklet(f"t{n}", n // 2, n % 2, n % 2 == 0, ("f",) * (n + 1)) for n in range(5)]
SIZES = {"parts": 2, "global_width": 3, "part_width": 4}
FILES = ["tracklets.csv", "global.npy", "parts.npy", "parts_mean.npy", "attention.npy", "meta.json"]
FRAME_FILES = ["frames/global.npy", "frames/parts.npy", "frames/attention.npy", "frames/offsets.npy"]


def values(index, frames=False):
    """The features of a tracklet: a function of its index alone."""
    rng = np.random.default_rng(index)
    length = len(TRACKLETS[index].frames)
    tracklet = rng.random(3), rng.random((2, 4)), rng.random((2, 4)), rng.random(2)
    if not frames:
        return tracklet
    return *tracklet, (rng.random((length, 3)), rng.random((length, 2, 4)), rng.random((length, 2)))


def write(directory, count=5, frames=False, meta=META, tracklets=TRACKLETS):
    with FeatureWriter(directory, tracklets, meta=meta, frames=frames, **SIZES) as writer:
        started_at = writer.done()
        for index in range(started_at, count):
            writer.add(index, *values(index, frames))
    return started_at


def content(directory):
    return {str(path.relative_to(directory)): path.read_bytes()
            for path in directory.rglob("*") if path.is_file()}


def test_what_goes_in_comes_out(tmp_path):
    write(tmp_path / "x", frames=True)
    features = read_features(tmp_path / "x")
    assert features.names == ("t0", "t1", "t2", "t3", "t4")
    assert features.pids.tolist() == [0, 0, 1, 1, 2] and features.camids.tolist() == [0, 1, 0, 1, 0]
    assert features.lengths.tolist() == [1, 2, 3, 4, 5] and features.query.tolist() == [1, 0, 1, 0, 1]
    assert features.meta == META
    frames = read_frames(features)
    assert frames.offsets.tolist() == [0, 1, 3, 6, 10, 15]
    for index in range(5):
        wanted = values(index, True)
        arrays = features.global_mean, features.parts, features.parts_mean, features.attention
        for array, value in zip(arrays, wanted):
            np.testing.assert_array_equal(array[index], np.float32(value))
        rows = slice(frames.offsets[index], frames.offsets[index + 1])
        for array, value in zip(frames, wanted[4]):
            np.testing.assert_array_equal(array[rows], np.float32(value))
    assert sorted(content(tmp_path / "x")) == sorted(FILES + FRAME_FILES)
    assert not os.path.exists(tmp_path / "x.part")


@pytest.mark.parametrize("parts, width, part_width", [(0, 3, 0), (2, 0, 4), (1, 3, 3)])
def test_a_branch_that_a_net_lacks_has_width_zero(tmp_path, parts, width, part_width):
    def rows(*count):
        return np.ones((*count, width)), np.ones((*count, parts, part_width)), np.ones((*count, parts))
    sizes = {"parts": parts, "global_width": width, "part_width": part_width}
    started_at = []
    for stop in (1, 2, 2):  # the second run continues, the third finds everything done
        with FeatureWriter(tmp_path / "x", TRACKLETS[:2], meta=META, frames=True, **sizes) as writer:
            started_at.append(writer.done())
            for index in range(writer.done(), stop):
                whole, local, scores = rows()
                writer.add(index, whole, local, local, scores, frames=rows(index + 1))
    assert started_at == [0, 1, 2]
    features = read_features(tmp_path / "x")
    assert (features.global_mean.shape, features.attention.shape) == ((2, width), (2, parts))
    assert features.parts.shape == features.parts_mean.shape == (2, parts, part_width)
    assert all((array == 1).all() for array in (features.global_mean, features.parts, features.attention))
    assert [array.shape for array in read_frames(features)[:3]] == [(3, width), (3, parts, part_width), (3, parts)]


@pytest.mark.parametrize("frames", [False, True])
def test_a_killed_writer_loses_no_finished_tracklet(tmp_path, frames):
    program = ("import os, signal, sys; import test_features as t\n"
               "writer = t.FeatureWriter(sys.argv[1], t.TRACKLETS, meta=t.META, "
               f"frames={frames}, **t.SIZES)\n"
               f"[writer.add(n, *t.values(n, {frames})) for n in range(3)]\n"
               "os.kill(os.getpid(), signal.SIGKILL)")
    killed = subprocess.run([sys.executable, "-c", program, tmp_path / "x"], cwd=os.path.dirname(__file__))
    assert killed.returncode == -signal.SIGKILL
    with pytest.raises(InputError, match="has not finished.*run tools/extract.py again"):
        read_features(tmp_path / "x")
    assert write(tmp_path / "x", frames=frames) == 3
    write(tmp_path / "unbroken", frames=frames)
    assert content(tmp_path / "x") == content(tmp_path / "unbroken")


def test_only_tracklets_whose_bytes_arrived_count_as_finished(tmp_path):
    write(tmp_path / "x", count=4)
    parts = np.load(tmp_path / "x.part" / "parts.npy", mmap_mode="r+")
    parts[2] = 0  # as after a power cut: recorded, but the page was never written
    parts.flush()
    assert write(tmp_path / "x") == 2
    write(tmp_path / "unbroken")
    assert content(tmp_path / "x") == content(tmp_path / "unbroken")


def test_a_torn_record_of_progress_is_dropped(tmp_path):
    write(tmp_path / "x", count=2)
    with open(tmp_path / "x.part" / "progress", "ab") as stream:
        stream.write(b"\1\2")
    assert write(tmp_path / "x", count=4) == 2
    assert write(tmp_path / "x") == 4
    write(tmp_path / "unbroken")
    assert content(tmp_path / "x") == content(tmp_path / "unbroken")


def test_other_weights_or_another_list_start_over(tmp_path):
    write(tmp_path / "x", count=3)
    assert write(tmp_path / "x", count=2, meta={**META, "weights_sha256": "other"}) == 0
    assert write(tmp_path / "x", count=2) == 0
    assert write(tmp_path / "x", count=2, tracklets=TRACKLETS[:4]) == 0
    assert write(tmp_path / "x", count=1, tracklets=TRACKLETS[:4], frames=True) == 0
    assert write(tmp_path / "x", count=4, tracklets=TRACKLETS[:4]) == 0
    assert len(read_features(tmp_path / "x").names) == 4


def test_a_complete_directory_is_kept_until_its_successor_is_complete(tmp_path):
    write(tmp_path / "x")
    before = content(tmp_path / "x")
    assert write(tmp_path / "x") == 5
    other = {**META, "commit": "other"}
    assert write(tmp_path / "x", count=3, meta=other) == 0
    assert content(tmp_path / "x") == before
    assert write(tmp_path / "x", meta=other) == 3
    assert read_features(tmp_path / "x").meta == other
    assert sorted(os.listdir(tmp_path)) == ["x"]


def test_a_directory_with_other_files_is_not_replaced(tmp_path):
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="thesis.txt"):
        write(tmp_path / "x")
    assert (tmp_path / "x" / "thesis.txt").read_text() == "mine"


def test_two_writers_do_not_share_a_directory(tmp_path):
    writer = FeatureWriter(tmp_path / "x", TRACKLETS, meta=META, **SIZES)
    with pytest.raises(InputError, match="another program is writing"):
        write(tmp_path / "x")
    writer.close()
    assert write(tmp_path / "x") == 0


def test_a_full_disk_is_noticed_before_the_work(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(InputError, match="no room for .*global.npy"):
        write(tmp_path / "x")


def test_wrong_values_do_not_enter(tmp_path):
    with FeatureWriter(tmp_path / "x", TRACKLETS, meta=META, **SIZES) as writer:
        good = list(values(0))
        for position, wrong in ((1, np.nan), (0, np.inf), (3, -1)):
            bad = [value.copy() for value in good]
            bad[position][0] = wrong
            with pytest.raises(InputError, match="t0"):
                writer.add(0, *bad)
        with pytest.raises(ValueError, match="out of turn"):
            writer.add(1, *good)
        with pytest.raises(ValueError, match="announced"):
            writer.add(0, np.ones(1), *good[1:])  # would broadcast
        assert writer.done() == 0
    with pytest.raises(InputError, match="commit"):
        write(tmp_path / "y", meta={key: value for key, value in META.items() if key != "commit"})


@pytest.mark.parametrize("name", FILES + FRAME_FILES)
@pytest.mark.parametrize("left", [0, 0.5, 0.97, None])
def test_a_file_cut_short_or_missing_is_named(tmp_path, name, left):
    write(tmp_path / "x", frames=True)
    path = tmp_path / "x" / name
    if left is None:
        os.remove(path)
    else:
        data = path.read_bytes()
        path.write_bytes(data[:int(left * len(data))])
    with pytest.raises(InputError, match=f"{name}.*run tools/extract.py again") as caught:
        read_frames(read_features(tmp_path / "x"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name,array", [
    ("global.npy", np.zeros((4, 3), np.float32)), ("global.npy", np.zeros((5, 3))),
    ("global.npy", np.zeros((5, 3, 1), np.float32)), ("parts.npy", np.zeros((5, 2), np.float32)),
    ("parts_mean.npy", np.zeros((5, 2, 5), np.float32)), ("attention.npy", np.zeros((5, 3), np.float32)),
    ("frames/global.npy", np.zeros((14, 3), np.float32)),
    ("frames/parts.npy", np.zeros((15, 1, 4), np.float32)),
    ("frames/offsets.npy", np.array([0, 2, 3, 6, 10, 15]))])
def test_shapes_that_disagree_are_refused(tmp_path, name, array):
    write(tmp_path / "x", frames=True)
    np.save(tmp_path / "x" / name, array)
    with pytest.raises(InputError, match=r"\.npy .*run tools/extract.py again"):
        read_frames(read_features(tmp_path / "x"))


@pytest.mark.parametrize("name,row,value", [
    ("global.npy", 3, np.nan), ("parts.npy", 3, np.inf), ("parts_mean.npy", 3, -np.inf),
    ("attention.npy", 3, np.nan), ("attention.npy", 3, -0.5),
    ("frames/global.npy", 6, np.nan), ("frames/parts.npy", 9, np.nan)])
def test_a_value_that_is_no_feature_is_named_with_its_tracklet(tmp_path, name, row, value):
    write(tmp_path / "x", frames=True)
    array = np.load(tmp_path / "x" / name, mmap_mode="r+")
    array[row, ..., -1] = value
    array.flush()
    with pytest.raises(InputError, match=f"/{name} .*tracklet t3:"):
        read_frames(read_features(tmp_path / "x"))


@pytest.mark.parametrize("text,said", [
    ("tracklet,pid\n", "first line"), ("tracklet,pid,camid,frames,query\n", "no tracklet"),
    ("tracklet,pid,camid,frames,query\na,1,0,x,0\n", "line 2"),
    ("tracklet,pid,camid,frames,query\na,1,0,2,0\na,1,0,2,0\n", "line 3"),
    ("tracklet,pid,camid,frames,query\na,1,-1,2,0\n", "line 2"),
    ("tracklet,pid,camid,frames,query\na,1,0,2,2\n", "line 2")])
def test_a_bad_table_is_refused(tmp_path, text, said):
    write(tmp_path / "x")
    (tmp_path / "x" / "tracklets.csv").write_text(text)
    with pytest.raises(InputError, match=f"tracklets.csv.*{said}"):
        read_features(tmp_path / "x")


def test_bad_meta_and_absent_directories_are_refused(tmp_path):
    with pytest.raises(InputError, match="no feature directory"):
        read_features(tmp_path / "x")
    write(tmp_path / "x")
    with pytest.raises(InputError, match="--frames"):
        read_frames(read_features(tmp_path / "x"))
    meta = (tmp_path / "x" / "meta.json").read_text()
    (tmp_path / "x" / "meta.json").write_text(meta.replace("UNNORMALIZED", "L3"))
    with pytest.raises(InputError, match="feature_norm is 'L3'"):
        read_features(tmp_path / "x")
