"""data_prep/ilids_vid.py: the published tree becomes lists, splits and joints; what is wrong is named."""

import csv
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import scipy.io

from data_prep import footage, ilids_vid, splits, synthetic
from data_prep.joints import upright_template
from stal.errors import InputError
from stal.tracklets import joints_path, read_joints, read_list

FOOTAGE = Path(__file__).parent / "fixtures" / "footage"
MAT = "train-test people splits/train_test_splits_ilidsvid.mat"
WRITTEN = ["splits.json"] + [f"{name}{kind}" for name in ("all", "train", "test")
                             for kind in (".csv", "_joints.npy")]
PEOPLE = ("person003", "person010", "person200", "person201")


def prepare(root, *options):
    ilids_vid.main(["--root", str(root), *options])


def prepared(root):
    return {name: (root / name).read_bytes() for name in WRITTEN}


def tree(root, people=PEOPLE, cameras=("cam1", "cam2")):
    """Writes the published tree with one-coloured pictures; returns its root."""
    for camera in cameras:
        for person in people:
            folder = root / "i-LIDS-VID/sequences" / camera / person
            folder.mkdir(parents=True)
            for number in (9, 10):
                write_picture(folder / f"{camera}_{person}_{number:05d}.png", 64, 128)
    return root


def write_picture(path, width, height):
    cv2.imwrite(str(path), np.full((height, width, 3), 90, np.uint8))


def write_mat(root, rows, variable="ls_set"):
    path = root / MAT
    path.parent.mkdir(exist_ok=True)
    scipy.io.savemat(path, {variable: np.array(rows, np.float64)})
    return path


@pytest.fixture(scope="module")
def synthetic_set(tmp_path_factory):
    root = tmp_path_factory.mktemp("synthetic")
    synthetic.main(["--root", str(root), "--identities", "8", "--length", "2", "4", "--seed", "5",
                    "--workers", "1"])
    prepare(root, "--split", "1")
    return root


def test_the_lists_hold_what_was_drawn(synthetic_set):
    lists = {name: read_list(synthetic_set / f"{name}.csv") for name in ("all", "train", "test")}
    assert {name: len(rows) for name, rows in lists.items()} == {"all": 16, "train": 8, "test": 8}
    on_disk = {str(path.relative_to(synthetic_set)) for path in (synthetic_set / "i-LIDS-VID").rglob("*.png")}
    listed = [frame for row in lists["all"] for frame in row.frames]
    assert len(listed) == len(set(listed)) and set(listed) == on_disk
    for rows in lists.values():
        assert [row.name for row in rows] == sorted(row.name for row in rows)
        for row in rows:
            camera, person = row.name.split("/")
            assert (row.pid, row.camid, row.query) == (int(person[6:]), int(camera[3]) - 1, camera == "cam1")
            assert list(row.frames) == sorted(row.frames)
            start = f"i-LIDS-VID/sequences/{row.name}/{camera}_{person}_"
            assert all(frame.startswith(start) for frame in row.frames)


def test_the_sides_of_each_split_are_disjoint_halves(synthetic_set):
    everybody = {row.pid for row in read_list(synthetic_set / "all.csv")}
    rows = json.loads((synthetic_set / "splits.json").read_text())
    assert len(rows) == 10 and len({tuple(row["test"]) for row in rows}) > 1
    for row in rows:
        assert row["train"] == sorted(row["train"]) and row["test"] == sorted(row["test"])
        assert len(row["train"]) == len(row["test"]) == 4
        assert set(row["train"]) | set(row["test"]) == everybody
    for side in ("train", "test"):
        assert sorted({row.pid for row in read_list(synthetic_set / f"{side}.csv")}) == rows[1][side]


@pytest.mark.parametrize("name", ["all", "train", "test"])
def test_each_list_has_the_joints_of_its_frames(synthetic_set, name):
    with open(synthetic_set / "joints.csv", newline="", encoding="utf-8") as stream:
        table = {row[0]: row[1:] for row in list(csv.reader(stream))[1:]}
    rows = read_list(synthetic_set / f"{name}.csv")
    joints = read_joints(joints_path(synthetic_set / f"{name}.csv"), rows)
    wanted = [[float(value) for value in table[frame]] for row in rows for frame in row.frames]
    assert np.array_equal(joints, np.array(wanted, np.float32).reshape(-1, 14, 3))


def test_preparing_again_changes_no_byte(synthetic_set):
    before = prepared(synthetic_set)
    prepare(synthetic_set, "--split", "1")
    assert prepared(synthetic_set) == before
    rows = json.loads((synthetic_set / "splits.json").read_text())
    other = next(number for number, row in enumerate(rows) if row != rows[1])
    prepare(synthetic_set, "--split", str(other))
    after = prepared(synthetic_set)
    prepare(synthetic_set, "--split", "1")
    assert after["all.csv"] == before["all.csv"] and after["test.csv"] != before["test.csv"]


def test_each_split_can_have_a_folder_of_its_own(tmp_path):
    root = tree(tmp_path)
    prepare(root, "--split", "1")
    beside = prepared(root)
    (root / "train.csv").unlink()
    prepare(root, "--split", "1", "--lists", str(root / "lists/split1"))
    assert not (root / "train.csv").exists()
    for name in WRITTEN:
        path = root / name if name == "splits.json" else root / "lists/split1" / name
        assert path.read_bytes() == beside[name]  # frames stay relative to the root
    assert not (root / "lists/split1/splits.json").exists()


def test_the_summary_is_printed(synthetic_set, capsys):
    prepare(synthetic_set, "--split", "1")
    printed = capsys.readouterr().out
    assert "identities 8, tracklets 16, shortest 2, longest 4" in printed
    assert "Note: iLIDS-VID as published has identities 300" in printed
    assert "=> Loaded iLIDS-VID" in printed
    assert "  train    |     4 |           8 |         2\n" in printed
    assert "  query    |     4 |           4 |         1\n" in printed
    assert "  gallery  |     4 |           4 |         1\n" in printed


def test_the_published_splits_count_sorted_directories_from_1_and_test_comes_first(tmp_path):
    root = tree(tmp_path)
    write_mat(root, [[1, 4, 3, 2]])
    prepare(root)
    assert json.loads((root / "splits.json").read_text()) == [{"test": [3, 201], "train": [10, 200]}]
    assert {row.pid for row in read_list(root / "test.csv")} == {3, 201}


def test_without_a_splits_file_seeded_halves_are_drawn(tmp_path, capsys):
    root = tree(tmp_path)
    prepare(root)
    assert "random halves, seed 0" in capsys.readouterr().out
    first = (root / "splits.json").read_bytes()
    prepare(root)
    assert (root / "splits.json").read_bytes() == first
    prepare(root, "--seed", "1")
    assert (root / "splits.json").read_bytes() != first
    for row in json.loads(first):
        assert len(row["train"]) == len(row["test"]) == 2 and not set(row["train"]) & set(row["test"])


def test_a_json_file_may_name_numbers_or_directories_and_leave_people_out(tmp_path):
    root = tree(tmp_path)
    (tmp_path / "mine.json").write_text('[{"train": ["person010", 3], "test": [201]}]')
    prepare(root, "--splits", str(tmp_path / "mine.json"))
    assert json.loads((root / "splits.json").read_text()) == [{"train": [3, 10], "test": [201]}]
    assert {row.pid for row in read_list(root / "train.csv")} == {3, 10}
    prepare(root, "--splits", str(root / "splits.json"))
    assert json.loads((root / "splits.json").read_text()) == [{"train": [3, 10], "test": [201]}]


@pytest.mark.parametrize("content, sentence", [
    ("{", "mine.json is no splits file"),
    ('{"train": [3], "test": [10]}', "mine.json is no splits file"),
    ('[{"train": [3]}]', "mine.json is no splits file"),
    ('[{"train": [3.5], "test": [10]}]', "mine.json is no splits file"),
    ('[{"train": ["bob"], "test": [10]}]', "mine.json is no splits file"),
    ("[]", "mine.json lists no split"),
    ('[{"train": [3], "test": []}]', "the test side of split 0 in .*mine.json is empty"),
    ('[{"train": [3, 4], "test": [10]}]',
     "the train side of split 0 in .*mine.json names person 4, who has no directory"),
    ('[{"train": [3], "test": [10]}, {"train": [3], "test": [3, 10]}]',
     "split 1 in .*mine.json has person 3 on both sides"),
])
def test_a_wrong_json_file_is_refused(tmp_path, content, sentence):
    root = tree(tmp_path)
    (tmp_path / "mine.json").write_text(content)
    with pytest.raises(InputError, match=sentence):
        prepare(root, "--splits", str(tmp_path / "mine.json"))
    assert not (root / "all.csv").exists()


@pytest.mark.parametrize("rows, variable, sentence", [
    ([[1, 2, 3, 4]], "splits", "holds no variable ls_set but splits"),
    ([[1, 2, 3, 4, 5]], "ls_set", "but there are 4 person directories"),
    ([[0, 1, 2, 3]], "ls_set", "row 1 of ls_set in .* does not name each of the directories 1 to 4 once"),
    ([[1, 2, 3, 4], [1, 2, 3, 5]], "ls_set", "row 2 of ls_set"),
    ([[1, 2, 3, 3]], "ls_set", "row 1 of ls_set"),
    ([[1, 2, 3, 3.5]], "ls_set", "row 1 of ls_set"),
])
def test_a_wrong_mat_file_is_refused(tmp_path, rows, variable, sentence):
    root = tree(tmp_path)
    write_mat(root, rows, variable)
    with pytest.raises(InputError, match=sentence) as caught:
        prepare(root)
    assert "train_test_splits_ilidsvid.mat" in str(caught.value)


@pytest.mark.parametrize("kept", [0, 20, 127, 128, 150, 200])
def test_a_mat_file_cut_short_is_refused(tmp_path, kept):
    root = tree(tmp_path)
    path = write_mat(root, [[1, 2, 3, 4]])
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(InputError, match="ilidsvid.mat (is no readable .mat file|holds no variable ls_set)"):
        prepare(root)


@pytest.mark.parametrize("name", ["missing.mat", "missing.json"])
def test_a_missing_splits_file_is_named(tmp_path, name):
    with pytest.raises(InputError, match=name):
        prepare(tree(tmp_path), "--splits", str(tmp_path / name))


@pytest.mark.parametrize("split", ["-1", "10"])
def test_a_split_out_of_range_is_named(tmp_path, split):
    with pytest.raises(InputError, match=f"--split {split}: .* has the splits 0 to 9"):
        prepare(tree(tmp_path), "--split", split)


@pytest.mark.parametrize("camera", ["cam1", "cam2"])
def test_a_missing_camera_is_named(tmp_path, camera):
    root = tree(tmp_path)
    shutil.rmtree(root / "i-LIDS-VID/sequences" / camera)
    with pytest.raises(InputError, match=f"there is no directory .*{camera}"):
        prepare(root)


def test_an_empty_person_directory_is_named(tmp_path):
    root = tree(tmp_path)
    (root / "i-LIDS-VID/sequences/cam2/person055").mkdir()
    with pytest.raises(InputError, match="cam2/person055 holds no images"):
        prepare(root)


@pytest.mark.parametrize("stray", ["cam1/unpacked", "camera3"])
def test_a_stray_directory_is_named(tmp_path, stray):
    root = tree(tmp_path)
    (root / "i-LIDS-VID/sequences" / stray).mkdir()
    with pytest.raises(InputError, match=f"{stray} is not named"):
        prepare(root)


def test_a_tree_without_people_is_refused(tmp_path):
    with pytest.raises(InputError, match="sequences holds no person directories"):
        prepare(empty_tree(tmp_path))


def empty_tree(root):
    for camera in ("cam1", "cam2"):
        (root / "i-LIDS-VID/sequences" / camera).mkdir(parents=True)
    return root


def test_one_person_cannot_be_split(tmp_path):
    with pytest.raises(InputError, match="has one person only"):
        prepare(tree(tmp_path, ("person001",)))


def test_two_directories_of_one_person_are_named(tmp_path):
    with pytest.raises(InputError, match="person07 and person7 have the same person number"):
        prepare(tree(tmp_path, ("person7", "person07")))


def test_who_is_seen_by_one_camera_stays_and_is_named(tmp_path, capsys):
    root = tree(tmp_path)
    shutil.rmtree(root / "i-LIDS-VID/sequences/cam2/person200")
    prepare(root)
    assert "1 persons are seen by one camera only (200)" in capsys.readouterr().out
    assert [row.name for row in read_list(root / "all.csv") if row.pid == 200] == ["cam1/person200"]


def test_further_cameras_are_prepared(tmp_path):
    root = tree(tmp_path, cameras=("cam1", "cam2", "cam10"))
    prepare(root)
    rows = read_list(root / "all.csv")
    assert sorted({(row.camid, row.query) for row in rows}) == [(0, True), (1, False), (9, False)]
    assert [row.name for row in rows] == sorted(row.name for row in rows)


@pytest.mark.parametrize("damage, sentence", [(lambda data: data[:-5], "is a PNG file that is cut short"),
                                              (lambda data: b"", "is no readable image")])
def test_a_damaged_frame_is_named(tmp_path, damage, sentence):
    root = tree(tmp_path)
    frame = root / "i-LIDS-VID/sequences/cam1/person010/cam1_person010_00010.png"
    frame.write_bytes(damage(frame.read_bytes()))
    with pytest.raises(InputError, match=f"cam1_person010_00010.png {sentence}"):
        prepare(root)
    assert not (root / "all.csv").exists()


def joints_table(root, edit):
    """Writes joints.csv for a tree, its lines changed by ``edit``."""
    lines = ["frame," + ",".join(f"x{k},y{k},c{k}" for k in range(1, 15))]
    for frame in sorted((root / "i-LIDS-VID").rglob("*.png")):
        lines.append(f"{frame.relative_to(root)}," + ",".join(["31.5,64,1"] * 14))
    (root / "joints.csv").write_text("\n".join(edit(lines)) + "\n")
    return root


def test_joints_are_found_whatever_the_order_of_their_rows(tmp_path):
    root = joints_table(tree(tmp_path), lambda lines: lines[:1] + lines[:0:-1])
    prepare(root)
    assert np.array_equal(np.load(root / "test_joints.npy"), np.full((8, 14, 3), (31.5, 64, 1), np.float32))


@pytest.mark.parametrize("edit, sentence", [
    (lambda lines: lines[1:], "joints.csv is no joints table"),
    (lambda lines: lines[:-1], "joints.csv has no row for the frame .*cam2_person201_00010.png"),
    (lambda lines: lines + lines[1:2], "joints.csv line 18 repeats the frame .*cam1_person003_00009.png"),
    (lambda lines: lines[:3] + [lines[3] + ",1"] + lines[4:], "joints.csv line 4 has 44 fields, not 43"),
    (lambda lines: [line.replace("31.5", "left") for line in lines], "joints.csv line 2 .* is no number"),
    (lambda lines: [line.replace("31.5", "nan") for line in lines], "joints.csv line 2 .* is not finite"),
])
def test_a_wrong_joints_table_is_refused(tmp_path, edit, sentence):
    root = joints_table(tree(tmp_path), edit)
    with pytest.raises(InputError, match=sentence):
        prepare(root)
    assert not (root / "all.csv").exists()


def test_a_missing_joints_table_is_named(tmp_path):
    with pytest.raises(InputError, match="cannot read the joints table .*other.csv"):
        prepare(tree(tmp_path), "--joints", str(tmp_path / "other.csv"))


def test_the_template_is_a_person_who_stands_upright():
    joints = upright_template(64, 128)
    assert joints.shape == (14, 3) and joints.dtype == np.float32 and (joints[:, 2] == 1).all()
    x, y = joints[:, 0], joints[:, 1]
    assert y[0] < y[1] < y[2] == y[5] < y[8] == y[11] < y[9] == y[12] < y[10] == y[13] < 128
    assert x[[2, 3, 4, 11, 12, 13]].max() < 32 < x[[5, 6, 7, 8, 9, 10]].min()  # she faces the camera
    assert np.array_equal(upright_template(128, 256)[:, :2], 2 * joints[:, :2])


def test_an_interrupted_synthetic_set_is_refused(tmp_path):
    (tree(tmp_path) / "synthetic.unfinished.json").write_text("{}")
    with pytest.raises(InputError, match="synthetic.unfinished.json marks a synthetic set"):
        prepare(tmp_path)


def test_real_pictures_go_through_with_the_template(tmp_path):
    root = shutil.copytree(FOOTAGE, tmp_path / "footage")
    image = next((root / "i-LIDS-VID").rglob("*.jpg"))
    prepare(root)
    rows = read_list(root / "all.csv")
    assert len({row.pid for row in rows}) == 6 and len(rows) == 12
    assert {len(row.frames) for row in rows} == {12}
    height, width = cv2.imread(str(image)).shape[:2]
    assert (width, height) == (64, 128)
    joints = read_joints(joints_path(root / "all.csv"), rows)
    assert np.array_equal(joints, np.tile(upright_template(64, 128), (144, 1, 1)))


def test_the_template_follows_the_size_of_each_image(tmp_path):
    root = tree(tmp_path)
    frame = root / "i-LIDS-VID/sequences/cam1/person003/cam1_person003_00010.png"
    write_picture(frame, 96, 256)
    prepare(root)
    joints = np.load(root / "all_joints.npy")
    assert np.array_equal(joints[0], upright_template(64, 128))
    assert np.array_equal(joints[1], upright_template(96, 256))


def test_the_footage_is_small_and_credited():
    files = [path for path in FOOTAGE.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 400_000
    credit = (FOOTAGE / "ATTRIBUTION.md").read_text()
    for needed in ("CC BY 4.0", "creativecommons.org/licenses/by/4.0/", "Intel IoT DevKit", "Changes"):
        assert needed in credit


def test_splits_are_a_function_of_the_seed():
    assert splits.random_halves([5, 6, 7], 1) == splits.random_halves([5, 6, 7], 1)
    for row in splits.random_halves([5, 6, 7], 1):
        assert len(row["test"]) == 1 and len(row["train"]) == 2


def film(path, empty=footage.EMPTY_FRAMES, visits=2):
    """Writes a film of an empty scene through which a tall box walks once a visit."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, (320, 200))
    for step in [None] * empty + ([*range(0, 300, 5)] + [None] * 15) * visits:
        frame = np.full((200, 320, 3), 170, np.uint8)
        if step is not None:
            cv2.rectangle(frame, (step - 20, 40), (step + 20, 180), (40, 30, 120), -1)
        writer.write(frame)
    writer.release()
    return path


def test_a_film_becomes_the_published_tree(tmp_path, capsys):
    footage.main(["--video", str(film(tmp_path / "film.avi")), "--out", str(tmp_path), "--frames", "5"])
    assert "wrote 20 pictures" in capsys.readouterr().out
    prepare(tmp_path)
    rows = read_list(tmp_path / "all.csv")
    assert [row.name for row in rows] == [f"cam{c}/person00{p}" for c in (1, 2) for p in (1, 2)]
    assert {len(row.frames) for row in rows} == {5}
    assert rows[0].frames[-1][-9:] < rows[2].frames[0][-9:]  # the first half comes before the last
    for row in rows:
        for frame in row.frames:
            image = cv2.imread(str(tmp_path / frame))
            background = image[[0, 0, -1, -1], [0, -1, 0, -1]]
            assert image.shape == (128, 64, 3)
            assert np.abs(image[64, 32].astype(int) - (40, 30, 120)).max() < 25
            assert np.abs(background.astype(int) - 170).max() < 25  # nobody is cut off


def test_a_film_of_nobody_is_refused(tmp_path):
    for name, options, sentence in (("empty.avi", {"visits": 0}, "not more than the 20 of the empty scene"),
                                    ("nobody.avi", {"visits": 0, "empty": 30}, "shows nobody long enough")):
        with pytest.raises(InputError, match=f"{name} .*{sentence}"):
            footage.main(["--video", str(film(tmp_path / name, **options)), "--out", str(tmp_path / "out")])
    (tmp_path / "text.avi").write_text("no film")
    with pytest.raises(InputError, match="text.avi is no film"):
        footage.main(["--video", str(tmp_path / "text.avi"), "--out", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()
