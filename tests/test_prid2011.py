"""data_prep/prid2011.py: who is used, the splits that are published for them, lists of each split in a folder."""

import json
import shutil

import cv2
import numpy as np
import pytest
import scipy.io

from data_prep import prepare, prid2011, synthetic
from data_prep.joints import upright_template
from stal.errors import InputError
from stal.protocols import read_splits
from stal.tracklets import joints_path, read_joints, read_list

PICTURE = cv2.imencode(".png", np.full((16, 8, 3), 90, np.uint8))[1].tobytes()
LISTS = [f"{name}{kind}" for name in ("all", "train", "test") for kind in (".csv", "_joints.npy")]
# Frames of each person in a few-frame set that is prepared with --min-frames 2.
FEW = {2: 2, 5: 2, 7: 3, 30: 2}


def use(root, *options):
    prid2011.main(["--root", str(root), *options])


def tree(root, first=FEW, second=FEW):
    """Writes the published tree: {person: frames} of each camera; returns its root."""
    for camera, people in (("cam_a", first), ("cam_b", second)):
        for pid, frames in people.items():
            folder = root / f"prid_2011/multi_shot/{camera}/person_{pid:04d}"
            folder.mkdir(parents=True)
            for number in range(1, frames + 1):
                (folder / f"{number:04d}.png").write_bytes(PICTURE)
    return root


def few(root, *options):
    use(tree(root), "--min-frames", "2", *options)


def splits_of(root):
    return json.loads((root / "splits.json").read_text())


def test_used_are_the_first_200_with_27_frames_in_both_cameras(tmp_path, capsys):
    tree(tmp_path, {1: 27, 2: 27, 3: 26, 4: 30, 5: 27, 200: 28, 201: 40, 300: 1},
         {1: 27, 2: 26, 3: 40, 5: 60, 6: 30, 200: 27, 201: 40})
    use(tmp_path)
    assert sorted({row.pid for row in read_list(tmp_path / "all.csv")}) == [1, 5, 200]
    printed = capsys.readouterr().out
    assert ("persons in cam_a 8, persons in cam_b 7, persons in both 5, videos of these 10, shortest 26, longest 60, "
            "mean length 32, persons used 3") in printed
    assert ("Note: PRID-2011 as published has persons in cam_a 385, persons in cam_b 749, persons in both 200, videos "
            "of these 400, persons used 178; this") in printed


def test_published_counts_are_told_without_a_note():
    assert prepare.note("PRID-2011", prid2011.PUBLISHED, prid2011.PUBLISHED) == ""
    assert "persons used 178;" in prepare.note("PRID-2011", {**prid2011.PUBLISHED, "persons used": 177}, prid2011.PUBLISHED)


def test_the_lists_hold_what_is_there(tmp_path, capsys):
    few(tmp_path)
    rows = read_list(tmp_path / "all.csv")
    assert [row.name for row in rows] == [f"cam_{c}/person_{pid:04d}" for c in "ab" for pid in FEW]
    for row in rows:
        camera = "ab".index(row.name[4])
        assert (row.pid, row.camid, row.query) == (int(row.name[-4:]), camera, camera == 0)
        assert row.frames == tuple(f"prid_2011/multi_shot/{row.name}/{k:04d}.png" for k in range(1, FEW[row.pid] + 1))
    joints = read_joints(joints_path(tmp_path / "all.csv"), rows)
    assert np.array_equal(joints, np.tile(upright_template(8, 16), (18, 1, 1)))
    assert "  query    |     2 |           2 |         1\n" in capsys.readouterr().out


def test_seeded_halves_are_drawn_and_saved(tmp_path, capsys):
    few(tmp_path)
    assert "random halves, seed 0" in capsys.readouterr().out
    first = (tmp_path / "splits.json").read_bytes()
    use(tmp_path, "--min-frames", "2")
    assert (tmp_path / "splits.json").read_bytes() == first
    use(tmp_path, "--min-frames", "2", "--seed", "1")
    assert (tmp_path / "splits.json").read_bytes() != first
    for train, test in read_splits(tmp_path / "splits.json"):
        assert len(train) == len(test) == 2 and train | test == set(FEW)


@pytest.mark.parametrize("content", [
    [{"train": ["person_0002", "person_0030"], "test": ["person_0005", "person_0007"]}],
    [{"train": [30, 2], "test": [7, 5]}]])
def test_the_published_json_is_taken_as_strings_and_as_numbers(tmp_path, content):
    (tmp_path / "splits_prid2011.json").write_text(json.dumps(content))
    few(tmp_path)
    assert splits_of(tmp_path) == [{"train": [2, 30], "test": [5, 7]}]
    assert {row.pid for row in read_list(tmp_path / "test.csv")} == {5, 7}


def write_mat(root, rows):
    path = root / "train-test people splits/train_test_splits_prid.mat"
    path.parent.mkdir(parents=True)
    scipy.io.savemat(path, {"ls_set": np.array(rows, np.uint8)})


def test_the_published_mat_counts_the_persons_used_and_test_comes_first(tmp_path):
    tree(tmp_path, {1: 1, **FEW}, {1: 5, **FEW})  # person 1 is not used, so rank 1 is person 2
    write_mat(tmp_path, [[1, 4, 3, 2], [4, 3, 2, 1]])
    use(tmp_path, "--min-frames", "2")
    assert splits_of(tmp_path) == [{"test": [2, 30], "train": [5, 7]}, {"test": [7, 30], "train": [2, 5]}]


def test_the_json_comes_before_the_mat_and_the_option_before_both(tmp_path):
    write_mat(tmp_path, [[1, 2, 3, 4]])
    (tmp_path / "splits_prid2011.json").write_text('[{"train": [2], "test": [5]}]')
    (tmp_path / "mine.json").write_text('[{"train": [7], "test": [30]}]')
    few(tmp_path)
    assert splits_of(tmp_path) == [{"train": [2], "test": [5]}]
    use(tmp_path, "--min-frames", "2", "--splits", str(tmp_path / "mine.json"))
    assert splits_of(tmp_path) == [{"train": [7], "test": [30]}]


def test_splits_of_persons_who_are_not_used_are_refused(tmp_path):
    tree(tmp_path, {1: 1, **FEW}, {1: 5, **FEW})
    (tmp_path / "splits_prid2011.json").write_text('[{"train": [2], "test": ["person_0001"]}]')
    with pytest.raises(InputError, match="names person 1, who has no directory with at least 2 frames in both cameras"):
        use(tmp_path, "--min-frames", "2")
    (tmp_path / "splits_prid2011.json").unlink()
    write_mat(tmp_path, [[1, 2, 3, 4, 5]])
    with pytest.raises(InputError, match="there are 4 person directories with at least 2 frames in both cameras: "):
        use(tmp_path, "--min-frames", "2")
    assert not (tmp_path / "all.csv").exists()


def test_each_split_can_have_a_folder_of_its_own(tmp_path):
    few(tmp_path, "--split", "0", "--lists", str(tmp_path / "lists/split0"))
    rows = splits_of(tmp_path)
    other = next(number for number, row in enumerate(rows) if row != rows[0])
    use(tmp_path, "--min-frames", "2", "--split", str(other), "--lists", str(tmp_path / "lists/other"))
    for name, split in (("split0", 0), ("other", other)):
        folder = tmp_path / "lists" / name
        assert sorted(path.name for path in folder.iterdir()) == sorted(LISTS)
        assert sorted({row.pid for row in read_list(folder / "test.csv")}) == rows[split]["test"]
        listed = read_list(folder / "train.csv")
        assert all((tmp_path / frame).is_file() for row in listed for frame in row.frames)
        assert read_joints(joints_path(folder / "train.csv"), listed).shape[1:] == (14, 3)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lists", "prid_2011", "splits.json"]


def test_a_lists_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot make the directory .*file .*give another --lists"):
        few(tmp_path, "--lists", str(tmp_path / "file"))


@pytest.mark.parametrize("camera", ["cam_a", "cam_b"])
def test_a_missing_camera_is_named(tmp_path, camera):
    shutil.rmtree(tree(tmp_path) / "prid_2011/multi_shot" / camera)
    with pytest.raises(InputError, match=f"there is no directory .*{camera}"):
        use(tmp_path)


@pytest.mark.parametrize("made, sentence", [
    ("cam_a/person7", "person7 is not named person_NNNN"),
    ("cam_b/person_07", "cam_b has person_0007 and person_07 with the same person number"),
])
def test_a_stray_directory_is_named(tmp_path, made, sentence):
    (tree(tmp_path) / "prid_2011/multi_shot" / made).mkdir()
    with pytest.raises(InputError, match=sentence):
        use(tmp_path)


def test_an_empty_person_directory_is_named_if_the_person_may_be_used(tmp_path):
    tree(tmp_path, {**FEW, 9: 0, 300: 0}, FEW)
    use(tmp_path, "--min-frames", "2")  # 9 and 300 are in one camera only
    (tmp_path / "prid_2011/multi_shot/cam_b/person_0009").mkdir()
    with pytest.raises(InputError, match="cam_a/person_0009 holds no images"):
        use(tmp_path, "--min-frames", "2")


def test_too_few_persons_are_refused(tmp_path):
    tree(tmp_path)
    with pytest.raises(InputError, match="has 0 persons with at least 27 frames in both cameras"):
        use(tmp_path)
    with pytest.raises(InputError, match="has 1 persons with at least 3 frames"):
        use(tmp_path, "--min-frames", "3")
    with pytest.raises(InputError, match="--min-frames 0: give at least 1"):
        use(tmp_path, "--min-frames", "0")


def test_a_damaged_frame_is_named(tmp_path):
    frame = tree(tmp_path) / "prid_2011/multi_shot/cam_b/person_0030/0002.png"
    frame.write_bytes(PICTURE[:-5])
    with pytest.raises(InputError, match="person_0030/0002.png is a PNG file that is cut short"):
        use(tmp_path, "--min-frames", "2")
    assert not (tmp_path / "splits.json").exists()


@pytest.mark.parametrize("mark, program", [("synthetic.unfinished.json", "synthetic.py"),
                                           ("polluted.unfinished.json", "pollute.py")])
def test_an_interrupted_set_is_refused(tmp_path, mark, program):
    (tree(tmp_path) / mark).write_text("{}")
    with pytest.raises(InputError, match=f"{mark} marks .* run data_prep/{program} again"):
        use(tmp_path, "--min-frames", "2")


def test_a_drawn_set_is_prepared_by_the_published_rule(tmp_path, capsys):
    synthetic.main(["--root", str(tmp_path), "--layout", "prid2011", "--identities", "9", "--singles", "1", "2",
                    "--length", "25", "28", "--occluders", "none", "--workers", "1"])
    use(tmp_path, "--split", "3")
    assert "persons in cam_a 10, persons in cam_b 11, persons in both 9, videos of these 18" in capsys.readouterr().out
    rows, marked = read_list(tmp_path / "all.csv"), splits_of(tmp_path)
    assert len({row.pid for row in rows}) == 8 and min(len(row.frames) for row in rows) == 27
    assert len(marked) == 10 and all(len(row["train"]) == len(row["test"]) == 4 for row in marked)
    assert sorted({row.pid for row in read_list(tmp_path / "test.csv")}) == marked[3]["test"]
