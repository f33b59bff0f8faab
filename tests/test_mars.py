"""data_prep/mars.py: the published rows become lists; what does not agree with the file names is named."""

import shutil

import cv2
import numpy as np
import pytest
import scipy.io

from data_prep import mars, prepare, synthetic
from data_prep.joints import upright_template
from stal.errors import InputError
from stal.tracklets import joints_path, read_joints, read_list

PICTURE = cv2.imencode(".jpg", np.full((16, 8, 3), 90, np.uint8))[1].tobytes()
# Tracklets and their frames, sorted as their files are.
TRAIN = {"0001C1T0001": 2, "0001C2T0002": 1, "0007C3T0001": 3}
TEST = {"00-1C6T0001": 2, "0000C2T0001": 1, "0000C2T0002": 2, "0002C1T0001": 1, "0002C1T0002": 2, "0002C5T0003": 2,
        "0012C4T0001": 1, "0012C6T0002": 1}
QUERIES = [4, 6, 7, 8]  # rows of TEST, from 1


def use(root, *options):
    mars.main(["--root", str(root), *options])


def files_of(tracklets):
    return [f"{name}F{number:03d}.jpg" for name, frames in tracklets.items() for number in range(1, frames + 1)]


def rows_of(tracklets):
    """The published rows: first line, last line, identity, camera."""
    last = np.cumsum(list(tracklets.values())).tolist()
    return [[end - frames + 1, end, -1 if name.startswith("00-1") else int(name[:4]), int(name[5])]
            for (name, frames), end in zip(tracklets.items(), last)]


def write_info(root, train=None, test=None, queries=QUERIES):
    (root / "info").mkdir(exist_ok=True)
    for side, rows in (("train", train or rows_of(TRAIN)), ("test", test or rows_of(TEST))):
        scipy.io.savemat(root / f"info/tracks_{side}_info.mat", {f"track_{side}_info": np.array(rows, np.int32)})
    scipy.io.savemat(root / "info/query_IDX.mat", {"query_IDX": np.array([queries], np.uint16)})


def tree(root):
    """Writes the published tree, without name lists; returns its root."""
    for side, tracklets in (("train", TRAIN), ("test", TEST)):
        for file in files_of(tracklets):
            folder = root / f"bbox_{side}" / file[:4]
            folder.mkdir(parents=True, exist_ok=True)
            (folder / file).write_bytes(PICTURE)
    write_info(root)
    return root


@pytest.fixture
def root(tmp_path):
    return tree(tmp_path)


def test_the_lists_hold_the_published_rows(root):
    use(root)
    for side, tracklets in (("train", TRAIN), ("test", TEST)):
        rows = read_list(root / f"{side}.csv")
        assert [row.name for row in rows] == list(tracklets)
        for number, (row, (name, frames)) in enumerate(zip(rows, tracklets.items()), start=1):
            pid = -1 if name.startswith("00-1") else int(name[:4])
            assert (row.pid, row.camid) == (pid, int(name[5]) - 1)
            assert row.query == (side == "test" and number in QUERIES)
            assert row.frames == tuple(f"bbox_{side}/{name[:4]}/{name}F{k:03d}.jpg" for k in range(1, frames + 1))
        joints = read_joints(joints_path(root / f"{side}.csv"), rows)
        assert np.array_equal(joints, np.tile(upright_template(8, 16), (sum(tracklets.values()), 1, 1)))
    assert sorted(path.name for path in root.iterdir()) == [
        "bbox_test", "bbox_train", "info", "test.csv", "test_joints.npy", "train.csv", "train_joints.npy"]


def test_names_from_lists_and_from_the_sorted_folders_are_the_same(root):
    use(root)
    before = (root / "test.csv").read_bytes(), (root / "train.csv").read_bytes()
    for side, tracklets in (("train", TRAIN), ("test", TEST)):
        (root / f"info/{side}_name.txt").write_text("\r\n".join([*files_of(tracklets), ""]), newline="")
    (root / "bbox_test/0012/0012C1T0009F001.jpg").write_bytes(PICTURE)  # is in no list, so it does not count
    use(root)
    assert ((root / "test.csv").read_bytes(), (root / "train.csv").read_bytes()) == before


def test_the_order_of_the_published_rows_does_not_matter(root):
    for file in (root / "bbox_test/0012").iterdir():
        cv2.imwrite(str(file), np.full((32, 16, 3), 90, np.uint8))  # so their template differs
    use(root)
    before = {path: path.read_bytes() for path in root.glob("*.*")}
    write_info(root, test=rows_of(TEST)[::-1], queries=[9 - number for number in QUERIES])
    use(root)
    assert {path: path.read_bytes() for path in root.glob("*.*")} == before


def test_preparing_again_changes_no_byte(root):
    use(root)
    before = {path: path.read_bytes() for path in root.glob("*.*")}
    use(root)
    assert {path: path.read_bytes() for path in root.glob("*.*")} == before and len(before) == 4


def test_the_lists_may_lie_elsewhere(root, tmp_path):
    use(root, "--lists", str(tmp_path / "lists/split0"))
    assert not (root / "test.csv").exists()
    rows = read_list(tmp_path / "lists/split0/test.csv")
    assert all((root / frame).is_file() for row in rows for frame in row.frames)
    assert read_joints(joints_path(tmp_path / "lists/split0/test.csv"), rows).shape == (12, 14, 3)


def test_joints_of_a_table_go_to_their_frames(root):
    lines = ["frame," + ",".join(f"x{k},y{k},c{k}" for k in range(1, 15))]
    for side, tracklets in (("train", TRAIN), ("test", TEST)):
        for number, file in enumerate(files_of(tracklets)):
            lines.append(f"bbox_{side}/{file[:4]}/{file}," + ",".join([f"{number},3,1"] * 14))
    (root / "joints.csv").write_text("\n".join(lines) + "\n")
    use(root)
    assert np.load(root / "train_joints.npy")[:, 0, 0].tolist() == list(range(6))
    assert np.load(root / "test_joints.npy")[:, 13, 0].tolist() == list(range(12))


def test_counts_and_summary_are_printed(root, capsys):
    use(root)
    printed = capsys.readouterr().out
    assert ("training persons 2, training tracklets 3, training frames 6, test persons 2, test tracklets 8, test frames "
            "12, queries 4, distractors 2, junk 1\n") in printed
    assert "Note: MARS as published has training persons 625, training tracklets 8298," in printed
    assert "  train    |     2 |           3 |         3\n" in printed
    assert "  query    |     2 |           4 |         4\n" in printed
    assert "  gallery  |     4 |           8 |         5\n" in printed
    assert "have no match" not in printed


def test_the_published_counts_need_no_note():
    assert prepare.note("MARS", mars.PUBLISHED, mars.PUBLISHED) == ""


def test_queries_without_a_match_are_told(root, capsys):
    shutil.rmtree(root / "bbox_test/0012")
    tracklets = {name: frames for name, frames in TEST.items() if not name.startswith("0012")}
    (root / "bbox_test/0012").mkdir()
    (root / "bbox_test/0012/0012C4T0001F001.jpg").write_bytes(PICTURE)
    write_info(root, test=rows_of({**tracklets, "0012C4T0001": 1}), queries=[4, 7])
    use(root)
    assert "Note: 1 queries have no match under another camera (0012C4T0001 the first" in capsys.readouterr().out


def changed(number, column, value, tracklets=TEST):
    rows = rows_of(tracklets)
    rows[number][column] = value
    return rows


@pytest.mark.parametrize("info, sentence", [
    (dict(test=changed(4, 2, 12)), "row 5 of track_test_info .* says person 12, camera 1, but the names 7 to 8 .*sorted "
                                   "files of .*bbox_test say 0002C1T0002"),
    (dict(test=changed(4, 3, 2)), "row 5 of track_test_info .* says person 2, camera 2, but"),
    (dict(test=changed(0, 2, 0)), "row 1 of track_test_info .* says person 0, camera 6, but .*00-1C6T0001"),
    (dict(test=changed(1, 2, -1)), "row 2 of track_test_info .* says person -1, camera 2, but .*0000C2T0001"),
    (dict(test=changed(4, 1, 9)), "row 5 .* says person 2, camera 1, but the names 7 to 9 .*0002C1T0002 and 0002C5T0003"),
    (dict(test=changed(2, 0, 3)[:3]), "row 3 .* the names 3 to 5"),
    (dict(test=changed(7, 1, 13)), "row 8 .* spans the names 12 to 13, but the sorted files of .* has 12"),
    (dict(test=changed(0, 0, 0)), "row 1 .* spans the names 0 to 2"),
    (dict(test=changed(0, 0, 3)), "row 1 .* spans the names 3 to 2"),
    (dict(test=rows_of(TEST) + rows_of(TEST)[3:4]), "two rows for the tracklet 0002C1T0001"),
    (dict(train=[row[:3] for row in rows_of(TRAIN)]), "track_train_info in .* is of shape \\(3, 3\\)"),
    (dict(queries=[4, 9]), "query_IDX in .* names row 9, but track_test_info has 8 rows"),
    (dict(queries=[0]), "names row 0, but"),
    (dict(queries=[4, 4]), "names a row twice"),
    (dict(queries=[2]), "names row 2, which is of person 0, a distractor"),
    (dict(queries=[1]), "names row 1, which is of person -1, a distractor or junk"),
    (dict(queries=[]), "query_IDX in .* is empty"),
])
def test_wrong_rows_are_named(root, info, sentence):
    write_info(root, **info)
    with pytest.raises(InputError, match=sentence):
        use(root)
    assert not (root / "train.csv").exists()


def test_rows_that_are_no_whole_numbers_are_refused(root):
    rows = np.array(rows_of(TRAIN), float)
    rows[0, 0] = 1.5
    for values in (rows, np.array([["a", "b", "c", "d"]])):
        scipy.io.savemat(root / "info/tracks_train_info.mat", {"track_train_info": values})
        with pytest.raises(InputError, match="track_train_info in .* holds other things than whole numbers"):
            use(root)


@pytest.mark.parametrize("name", ["tracks_train_info", "tracks_test_info", "query_IDX"])
def test_the_mat_files_must_be_there_and_whole(root, name):
    path = root / f"info/{name}.mat"
    content = path.read_bytes()
    path.unlink()
    with pytest.raises(InputError, match=f"there is no file .*{name}.mat: take info/ from .*MARS-evaluation"):
        use(root)
    path.write_bytes(content[:60])
    with pytest.raises(InputError, match=f"{name}.mat is no readable .mat file"):
        use(root)
    scipy.io.savemat(path, {"other": np.ones((2, 4))})
    with pytest.raises(InputError, match=f"{name}.mat holds no variable .* but other"):
        use(root)


@pytest.mark.parametrize("side", ["train", "test"])
def test_a_missing_side_is_named(root, side):
    shutil.rmtree(root / f"bbox_{side}")
    with pytest.raises(InputError, match=f"there is no directory .*bbox_{side}"):
        use(root)


def test_a_missing_image_is_noticed(root):
    (root / "bbox_test/0002/0002C1T0002F001.jpg").unlink()
    with pytest.raises(InputError, match="row 5 .*restore the missing images"):
        use(root)  # the rows no longer fit the sorted files
    for side, tracklets in (("train", TRAIN), ("test", TEST)):
        (root / f"info/{side}_name.txt").write_text("\n".join(files_of(tracklets)))
    with pytest.raises(InputError, match="cannot read the image .*0002C1T0002F001.jpg"):
        use(root)


@pytest.mark.parametrize("path, sentence", [
    ("bbox_test/person2/0002C1T0001F001.jpg", "person2 is not named NNNN or 00-1"),
    ("bbox_test/-1/00-1C1T0001F001.jpg", "-1 is not named NNNN or 00-1"),
    ("bbox_test/0012/0002C1T0009F001.jpg", "0012/0002C1T0009F001.jpg is not named after its directory"),
    ("bbox_test/0012/0012C6T0002F001 copy.jpg", "'0012C6T0002F001 copy.jpg' of .* is not named like"),
    ("bbox_train/0001/0001C0T0001F001.jpg", "'0001C0T0001F001.jpg' of .* is not named like"),
])
def test_a_stray_file_is_named(root, path, sentence):
    (root / path).parent.mkdir(exist_ok=True)
    (root / path).write_bytes(PICTURE)
    with pytest.raises(InputError, match=sentence):
        use(root)


def test_a_name_list_that_is_none_is_refused(root):
    (root / "info/test_name.txt").write_bytes(b"\xff\xfe0002")
    with pytest.raises(InputError, match="test_name.txt is no list of file names"):
        use(root)


def test_a_person_on_both_sides_is_named(root):
    shutil.copytree(root / "bbox_test/0012", root / "bbox_train/0012")
    write_info(root, train=rows_of({**TRAIN, "0012C4T0001": 1, "0012C6T0002": 1}))
    with pytest.raises(InputError, match="person 12 is in the training and the test side"):
        use(root)


def test_junk_and_distractors_are_no_training_persons(root):
    shutil.copytree(root / "bbox_test/0000", root / "bbox_train/0000")
    write_info(root, train=rows_of({"0000C2T0001": 1, "0000C2T0002": 2, **TRAIN}))
    with pytest.raises(InputError, match="row 1 of track_train_info .* is of person 0, but distractors"):
        use(root)


def test_a_drawn_set_is_prepared(tmp_path, capsys):
    synthetic.main(["--root", str(tmp_path), "--layout", "mars", "--identities", "8", "--tracklets", "2", "--length",
                    "2", "3", "--distractors", "3", "--junk", "2", "--workers", "1", "--occluders", "none"])
    use(tmp_path)
    printed = capsys.readouterr().out
    assert "training persons 4," in printed and "test persons 4," in printed
    assert "distractors 3, junk 2\n" in printed and "have no match" not in printed
    rows = read_list(tmp_path / "test.csv")
    assert len({(row.pid, row.camid) for row in rows if row.pid > 0}) == sum(row.query for row in rows)
    assert max(row.camid for row in rows) <= 5
