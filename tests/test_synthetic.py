"""data_prep/synthetic.py: the same bytes each time, the published layout, true occluders and joints."""

import csv
import hashlib
import json
import math
import os
import shutil

import numpy as np
import pytest
import scipy.io

from data_prep import layouts, scene, synthetic, walker
from stal.errors import InputError
from stal.images import read_image

SMALL = ("--identities", "8", "--length", "4", "6", "--seed", "3")
SIZE = 64, 128


def draw(root, *options):
    """Draws the small set with further options; returns its root as a path."""
    synthetic.main(["--root", str(root), *SMALL, "--workers", "1", *options])
    return root


def draw_mars(root, *options):
    synthetic.main(["--root", str(root), "--layout", "mars", "--identities", "9", "--cameras", "4", "--tracklets", "2",
                    "--length", "1", "3", "--distractors", "3", "--junk", "4", "--workers", "1", *options])
    return root


def contents(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def rows_of(path):
    with open(path, newline="", encoding="utf-8") as stream:
        header, *rows = csv.reader(stream)
    return header, {row[0]: np.array(row[1:], float) for row in rows}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return draw(tmp_path_factory.mktemp("small"))


@pytest.fixture
def copy(small, tmp_path):
    return shutil.copytree(small, tmp_path / "copy")


def test_the_number_of_workers_changes_no_byte(small, tmp_path):
    assert contents(draw(tmp_path, "--workers", "2")) == contents(small)


def test_another_seed_gives_other_pictures(small, tmp_path):
    options = scene.Options(seed=3), scene.Options(seed=4)
    first, second = (scene.render(option, 0, 0, 2, SIZE).frames[0].image for option in options)
    assert (first != second).mean() > 0.5


def test_the_layout_is_the_published_one(small):
    frames = sorted((small / "i-LIDS-VID").rglob("*.png"))
    mark = json.loads((small / "synthetic.json").read_text())
    assert mark["counts"] == {"identities": 8, "tracklets": 16, "frames": len(frames)}
    for camera in ("cam1", "cam2"):
        people = sorted(os.listdir(small / "i-LIDS-VID/sequences" / camera))
        assert len(people) == 8 and people != [f"person{number:03d}" for number in range(1, 9)]
    for frame in frames:
        camera, person, number = frame.stem.split("_")
        assert (camera, person) == frame.parts[-3:-1] and len(number) == 5
        assert read_image(frame).shape == (128, 64, 3)
    tracklets = [len(list(path.iterdir())) for path in (small / "i-LIDS-VID/sequences").glob("cam*/*")]
    assert 4 <= min(tracklets) and max(tracklets) <= 6


def test_the_published_lengths_have_the_published_mean():
    walks = layouts.IlidsVid(0, 300, 2, (23, 193)).walks
    lengths = np.array([walk.pieces[0].length for walk in walks]).reshape(2, 300)
    assert lengths.min() == 23 and lengths.max() == 193
    assert round(lengths.mean()) == 73 and abs(lengths[0].mean() - lengths[1].mean()) < 10


def test_person_numbers_reach_319_for_300():
    numbers = layouts.IlidsVid(0, 300, 2, (23, 193)).numbers
    assert len(set(numbers)) == 300 and numbers == sorted(numbers)
    assert numbers[0] >= 1 and 300 < numbers[-1] <= 319


def test_every_split_names_everybody_once_and_keeps_look_alikes_together(small):
    ranks = scipy.io.loadmat(small / "train-test people splits/train_test_splits_ilidsvid.mat")["ls_set"]
    assert ranks.shape == (10, 8)
    for row in ranks:
        assert sorted(row) == list(range(1, 9))
        assert len({(rank - 1) // 4 for rank in row[:4]}) == 1


def test_the_tables_have_a_row_for_each_frame(small):
    frames = {str(path.relative_to(small)) for path in (small / "i-LIDS-VID").rglob("*.png")}
    joints_header, joints = rows_of(small / "joints.csv")
    occlusion_header, occlusion = rows_of(small / "occlusion.csv")
    assert joints_header == ["frame"] + [f"{name}{k}" for k in range(1, 15) for name in "xyc"]
    assert occlusion_header == ["frame", "head", "torso", "right_arm", "left_arm", "right_leg", "left_leg"]
    assert set(joints) == set(occlusion) == frames
    fractions = np.array(list(occlusion.values()))
    assert fractions.min() >= 0 and fractions.max() <= 1


def test_a_complete_set_is_left_alone(copy, capsys):
    before = {path: path.stat().st_mtime_ns for path in copy.rglob("*")}
    draw(copy)
    assert "holds this set already" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in copy.rglob("*")} == before


@pytest.mark.parametrize("lost", ["*.png", "joints.csv", "*.mat"])
def test_a_set_that_lost_a_file_is_drawn_anew(copy, small, lost):
    next(copy.rglob(lost)).unlink()
    draw(copy)
    assert contents(copy) == contents(small)


def test_a_mark_left_beside_a_complete_set_goes(copy, small):
    (copy / "synthetic.unfinished.json").write_text("{}")
    draw(copy)
    assert contents(copy) == contents(small)


def test_an_interrupted_set_is_drawn_anew(copy, small):
    (copy / "synthetic.json").rename(copy / "synthetic.unfinished.json")
    (copy / "i-LIDS-VID/sequences/cam1/person999").mkdir()
    (copy / "i-LIDS-VID/sequences/cam1/person999/left_over.png").write_bytes(b"")
    (copy / "joints.csv.part.123").write_text("half a table")
    draw(copy)
    assert contents(copy) == contents(small)


def test_a_drawing_that_fails_leaves_no_mark(tmp_path, monkeypatch):
    monkeypatch.setattr(layouts.IlidsVid, "write_info", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        draw(tmp_path)
    assert not (tmp_path / "synthetic.json").exists() and (tmp_path / "synthetic.unfinished.json").exists()


def test_another_set_needs_force(copy, small):
    with pytest.raises(InputError, match="holds another synthetic set \\(occluders both instead of none\\)"):
        draw(copy, "--occluders", "none")
    assert contents(copy) == contents(small)
    draw(copy, "--occluders", "none", "--force")
    assert contents(copy) != contents(small)
    _, occlusion = rows_of(copy / "occlusion.csv")
    assert not np.array(list(occlusion.values())).any()


def test_real_data_is_never_overwritten(tmp_path):
    picture = tmp_path / "i-LIDS-VID/sequences/cam1/person001/cam1_person001_00001.png"
    picture.parent.mkdir(parents=True)
    picture.write_bytes(b"somebody's data")
    with pytest.raises(InputError, match="i-LIDS-VID was not written by this program"):
        draw(tmp_path, "--force")
    assert picture.read_bytes() == b"somebody's data"


def test_a_damaged_mark_is_named(copy):
    (copy / "synthetic.json").write_text("{")
    with pytest.raises(InputError, match="synthetic.json is damaged"):
        draw(copy)


@pytest.mark.parametrize("options", [
    ("--identities", "1"), ("--cameras", "1"), ("--cameras", "7"), ("--length", "0", "4"),
    ("--length", "9", "4"), ("--seed", "-1"), ("--persistent-share", "1.5"), ("--redraw", "-0.1"),
    ("--workers", "0")])
def test_a_wrong_option_is_named(tmp_path, options):
    with pytest.raises(InputError, match=options[0]):
        draw(tmp_path, *options)
    assert list(tmp_path.iterdir()) == []


def test_a_root_that_is_a_file_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot make the directory .*file"):
        draw(tmp_path / "file")


def test_look_alikes_share_attributes_as_asked():
    def alike(redraw):
        """Mean share of attributes in which two people of one group agree."""
        options = scene.Options(redraw=redraw)
        people = [[vars(scene.identity(options, 4 * group + k)) for k in range(2)] for group in range(60)]
        return np.mean([[first[name] == second[name] for name in first] for first, second in people])

    assert alike(0) == 1
    assert alike(1) < alike(0.4) < 0.8


def test_the_second_colour_differs_from_the_first():
    for index in range(100):
        who = scene.identity(scene.Options(), index)
        assert walker.second_colour(who) != who.top and 0 <= walker.second_colour(who) < len(walker.CLOTHES)


@pytest.mark.parametrize("phase", np.linspace(0, 2 * math.pi, 9))
def test_the_skeleton_is_a_person(phase):
    who = scene.identity(scene.Options(), 0)
    body = walker.skeleton(who, phase)
    up = body[:, 1]
    assert up[0] > up[1] > up[[2, 5]].max() and up[[2, 5]].min() > up[[8, 11]].max() > up[[9, 12]].max()
    assert body[[2, 3, 4, 11, 12, 13], 0].max() < 0 < body[[5, 6, 7, 8, 9, 10], 0].min()  # right, left
    for first, second, length in ((8, 9, 0.235), (9, 10, 0.225), (11, 12, 0.235), (12, 13, 0.225)):
        assert math.isclose(np.linalg.norm(body[first] - body[second]), length, rel_tol=0.01)


def test_left_and_right_follow_the_view():
    def right_of_left(camid):
        """Mean x of the right shoulder minus that of the left."""
        options = scene.Options(occluders="none", joint_jitter=0)
        tracklets = [scene.render(options, index, camid, 3, SIZE) for index in range(12)]
        return np.mean([frame.joints[2, 0] - frame.joints[5, 0] for one in tracklets for frame in one.frames])

    assert scene._YAWS[3] == 0 and right_of_left(3) < -8  # faces the camera
    assert scene._YAWS[4] == 180 and right_of_left(4) > 8


def test_joints_lie_on_the_person(small):
    _, joints = rows_of(small / "joints.csv")
    joints = np.array(list(joints.values())).reshape(-1, 14, 3)
    x, y, confidence = np.moveaxis(joints, 2, 0)
    assert x.min() > -6 and x.max() < 70 and y.min() > -6 and y.max() < 134
    assert confidence.min() >= 0.1 and confidence.max() == 1
    head, hips, ankles = y[:, 0], y[:, (8, 11)].mean(1), y[:, (10, 13)].mean(1)
    assert (head + 30 < hips).all() and (hips + 25 < ankles).all()


def test_the_jitter_of_the_joints_is_what_is_asked():
    options = scene.Options(joint_jitter=0), scene.Options(joint_jitter=1.5)
    exact, jittered = (scene.render(option, 1, 0, 30, SIZE).frames for option in options)
    assert all(np.array_equal(one.image, other.image) for one, other in zip(exact, jittered))
    off = np.array([one.joints[:, :2] - other.joints[:, :2] for one, other in zip(exact, jittered)])
    assert abs(off.std() - 1.5) < 0.15 and abs(off.mean()) < 0.15


def test_hidden_joints_are_less_sure():
    frames = scene.render(scene.Options(occluders="moving", joint_jitter=0), 2, 0, 30, SIZE).frames
    clear = np.array([frame.joints[:, 2] == 1 for frame in frames])
    fractions = np.array([frame.occlusion for frame in frames])
    for part, members in enumerate(walker.PARTS.values()):
        whole = fractions[:, part] == 1
        assert not clear[whole][:, list(members)].any()
        assert clear[fractions[:, part] == 0][:, list(members)].all()


def test_hidden_fractions_are_those_of_the_box_of_equation_7():
    rng = np.random.default_rng(0)
    for _ in range(20):
        cover = (rng.random((40, 30)) < 0.4).astype(np.uint8) * 255
        joints = rng.uniform(-4, 34, (14, 2))
        for part, members in enumerate(walker.PARTS.values()):
            x, y = joints[list(members), 0], joints[list(members), 1]
            inside = [cover[row, column] > 0 for row in range(40) for column in range(30)
                      if math.floor(x.min()) <= column <= x.max() and math.floor(y.min()) <= row <= y.max()]
            wanted = np.mean(inside) if inside else 0
            assert math.isclose(scene.hidden_fractions(cover, joints)[part], wanted)


def test_without_occluders_nothing_is_hidden():
    tracklet = scene.render(scene.Options(occluders="none"), 0, 0, 5, SIZE)
    assert tracklet.hidden == () and not np.array([frame.occlusion for frame in tracklet.frames]).any()
    assert all((frame.joints[:, 2] == 1).all() for frame in tracklet.frames)


def test_persistent_occluders_hide_their_parts_in_every_frame():
    options, kinds = scene.Options(occluders="persistent", persistent_share=1), set()
    for index in range(30):
        tracklet = scene.render(options, index, index % 2, 12, SIZE)
        kinds.add(tracklet.hidden)
        assert 1 <= len(tracklet.hidden) <= 2
        columns = [list(walker.PARTS).index(name) for name in tracklet.hidden]
        fractions = np.array([frame.occlusion for frame in tracklet.frames])
        assert fractions[:, columns].min() > 0.85
        assert fractions[:, 0].mean() < 0.6  # the head stays in sight
    assert len(kinds) >= 4


def test_the_share_of_persistent_occluders_is_what_is_asked():
    options = scene.Options(occluders="both", persistent_share=0.3)
    hidden = [scene.render(options, index, index % 2, 1, SIZE).hidden for index in range(120)]
    assert 0.18 < np.mean([bool(parts) for parts in hidden]) < 0.42


def test_moving_occluders_come_and_go():
    options, all_fractions = scene.Options(occluders="moving"), []
    for index in range(40):
        frames = scene.render(options, index, index % 2, 10, SIZE).frames
        fractions = np.array([frame.occlusion for frame in frames])
        all_fractions.append(fractions)
        assert fractions.max() > 0.2                                # something passes every tracklet
        assert (np.ptp(fractions, axis=0) > 0.3).any()              # and moves
    mean = np.mean(all_fractions, axis=(0, 1))
    assert 0.28 < mean.mean() < 0.44 and mean[0] < 0.25 and mean[0] == mean.min()


def test_mars_sized_frames_can_be_drawn():
    tracklet = scene.render(scene.Options(), 0, 5, 2, (128, 256))
    assert tracklet.frames[0].image.shape == (256, 128, 3)
    assert tracklet.frames[0].joints[:, 1].max() > 180


def test_the_default_layout_is_what_it_always_was(small):
    # Pictures may differ in a bit from one OpenCV to another; names, counts, options and splits may not.
    digest = hashlib.sha256()
    for name in sorted(contents(small)):
        digest.update(f"{name}\n".encode())
    digest.update((small / "synthetic.json").read_bytes())
    ranks = scipy.io.loadmat(small / "train-test people splits/train_test_splits_ilidsvid.mat")["ls_set"]
    digest.update(ranks.astype("<f8").tobytes())
    assert digest.hexdigest() == "ac1d9c9615a0a948d158092d0653e817d2764b71bcb854eceedd0c4e76ffde7d"


@pytest.fixture(scope="module")
def prid(tmp_path_factory):
    root = tmp_path_factory.mktemp("prid")
    synthetic.main(["--root", str(root), "--layout", "prid2011", "--identities", "9", "--singles", "2", "1", "--length",
                    "26", "28", "--occluders", "none", "--workers", "1"])
    return root


def test_the_layout_of_prid_2011_is_the_published_one(prid):
    for camera, beyond in (("cam_a", 2), ("cam_b", 1)):
        people = sorted(path.name for path in (prid / "prid_2011/multi_shot" / camera).iterdir())
        assert people == [f"person_{number:04d}" for number in [*range(1, 10), *range(201, 201 + beyond)]]
        for person in people:
            frames = sorted(path.name for path in (prid / "prid_2011/multi_shot" / camera / person).iterdir())
            assert frames == [f"{number:04d}.png" for number in range(1, len(frames) + 1)] and 26 <= len(frames) <= 28
    assert read_image(prid / "prid_2011/multi_shot/cam_b/person_0201/0001.png").shape == (128, 64, 3)
    counts = json.loads((prid / "synthetic.json").read_text())["counts"]
    assert counts == {"identities": 9, "tracklets": 21, "frames": len(list(prid.rglob("*.png")))}


def test_a_ninth_of_the_persons_of_prid_2011_has_too_few_frames_and_is_in_no_split(prid):
    frames = {path: len(list(path.iterdir())) for path in (prid / "prid_2011/multi_shot").glob("cam_?/person_0*")}
    short = [path.name for path, count in frames.items() if count < 27]
    assert len(short) == 1
    rows = json.loads((prid / "splits_prid2011.json").read_text())
    everybody = {f"person_{number:04d}" for number in range(1, 10)} - set(short)
    assert len(rows) == 10 and len({tuple(row["test"]) for row in rows}) > 1
    for row in rows:
        assert len(row["train"]) == len(row["test"]) == 4 and set(row["train"]) | set(row["test"]) == everybody


def test_the_default_sizes_are_the_published_ones():
    prid = layouts.Prid2011(0, **layouts.Prid2011.defaults)
    lengths = {walk.pieces[0].name: walk.pieces[0].length for walk in prid.walks}
    assert sum(name.startswith("cam_a") for name in lengths) == 385 and len(lengths) == 385 + 749
    both = np.array([[lengths[f"cam_{camera}/person_{number:04d}"] for camera in "ab"] for number in range(1, 201)])
    assert (both.min(1) >= 27).sum() == 178 == len(prid._used)
    assert min(lengths.values()) == 5 and max(lengths.values()) == 675 and 95 < both.mean() < 105
    mars = layouts.Mars(0, **layouts.Mars.defaults)
    pieces = [piece for walk in mars.walks for piece in walk.pieces]
    people = {side: {piece.name[:4] for piece in pieces if side in piece.stem} for side in ("train", "test")}
    assert len(people["train"]) == 625 and len(people["test"] - {"00-1", "0000"}) == 634
    assert not people["train"] & people["test"]
    frames = np.array([piece.length for piece in pieces])
    assert frames.min() == 2 and frames.max() == 920 and np.median(frames) == 36 and 55 < frames.mean() < 65
    assert 19_000 < len(pieces) < 21_500
    assert sum(piece.name.startswith("00-1") for piece in pieces) == 870
    assert sum(piece.name.startswith("0000") for piece in pieces) == 3248


def test_equal_numbers_beyond_200_are_different_people_and_strangers_are_nobody_else():
    people = {}
    for walk in layouts.Prid2011(0, 10, (1, 2), (5, 5)).walks:
        number = int(walk.pieces[0].name[-4:])
        people.setdefault((number, walk.camid if number > 200 else None), set()).add(walk.index)
    assert all(len(indices) == 1 for indices in people.values())
    assert len({index for indices in people.values() for index in indices}) == len(people) == 20
    strangers, persons = [], set()
    for walk in layouts.Mars(0, 9, 4, (1, 3), 2, 5, 0).walks:
        (strangers.append if walk.pieces[0].name.startswith("0000") else persons.add)(walk.index)
    assert len(strangers) == len(set(strangers)) == 5 and len(persons) == 9 and not persons & set(strangers)


def test_look_alikes_are_on_one_side_of_mars():
    sides = {}
    for walk in layouts.Mars(3, 45, 4, (1, 3), 2, 5, 3).walks:
        sides.setdefault(walk.index // 4, set()).add("train" in walk.pieces[0].stem)
    assert len(sides) > 10 and all(len(side) == 1 for side in sides.values())


def test_one_walk_is_cut_into_the_tracklets_of_a_person_in_a_camera():
    walks = layouts.Mars(0, 40, 6, (1, 9), 3, 7, 30).walks
    assert len({(walk.index, walk.camid) for walk in walks}) == len(walks)
    names = names_of(walks)
    assert len(set(names)) == len(names) and len({(name[:4], name[6:]) for name in names}) == len(names)
    assert {name[5] for name in names} == set("123456")
    assert all(int(piece.name[5]) == walk.camid + 1 for walk in walks for piece in walk.pieces)
    cameras, junk, counts = {}, 0, set()
    for walk in walks:
        own = [name[:4] for name in names_of([walk]) if not name.startswith("00-1")]
        assert len(set(own)) == 1 and (len(own) == len(walk.pieces) or "bbox_test" in walk.pieces[0].stem)
        cameras.setdefault(own[0], set()).add(walk.camid)
        junk += len(walk.pieces) - len(own)
        counts.add(len(own))
    assert junk == 30 and counts == {1, 2, 3, 4, 5}  # 3 on average
    assert min(len(seen) for pid, seen in cameras.items() if pid != "0000") == 2


def names_of(walks):
    return [piece.name for walk in walks for piece in walk.pieces]


@pytest.fixture(scope="module")
def mars(tmp_path_factory):
    return draw_mars(tmp_path_factory.mktemp("mars"))


def test_the_layout_of_mars_is_the_published_one(mars):
    for side in ("train", "test"):
        names = (mars / f"info/{side}_name.txt").read_bytes().decode().split("\r\n")
        files = sorted(path.name for path in (mars / f"bbox_{side}").rglob("*.jpg"))
        assert names == [*files, ""] and all((mars / f"bbox_{side}" / name[:4] / name).is_file() for name in files)
        rows = scipy.io.loadmat(mars / f"info/tracks_{side}_info.mat")[f"track_{side}_info"].tolist()
        assert [row[0] for row in rows] == [1] + [row[1] + 1 for row in rows[:-1]] and rows[-1][1] == len(files)
        for first, last, pid, camera in rows:
            track = {name[:11] for name in names[first - 1:last]}
            assert len(track) == 1 and min(track)[:6] == f"{'00-1' if pid < 0 else f'{pid:04d}'}C{camera}"
            assert [name[11:] for name in names[first - 1:last]] == [f"F{k:03d}.jpg" for k in range(1, last - first + 2)]
    queries = scipy.io.loadmat(mars / "info/query_IDX.mat")["query_IDX"]
    asked = [tuple(rows[number - 1][2:]) for number in queries[0]]
    assert queries.shape[0] == 1 and sorted(asked) == sorted({(row[2], row[3]) for row in rows if row[2] > 0})
    assert sum(row[2] == 0 for row in rows) == 3 and sum(row[2] == -1 for row in rows) == 4
    assert read_image(next(mars.rglob("00-1*.jpg"))).shape == (256, 128, 3)


def test_the_tables_of_mars_have_a_row_for_each_frame(mars):
    frames = {str(path.relative_to(mars)) for path in mars.rglob("*.jpg")}
    _, joints = rows_of(mars / "joints.csv")
    _, occlusion = rows_of(mars / "occlusion.csv")
    assert set(joints) == set(occlusion) == frames
    assert np.array(list(joints.values())).reshape(-1, 14, 3)[:, 10, 1].min() > 128  # ankles


def test_the_number_of_workers_changes_no_byte_of_mars(mars, tmp_path):
    assert contents(draw_mars(tmp_path, "--workers", "2")) == contents(mars)


@pytest.mark.parametrize("lost", ["*.jpg", "query_IDX.mat", "train_name.txt"])
def test_a_set_of_mars_that_lost_a_file_is_drawn_anew(mars, tmp_path, lost, capsys):
    root = shutil.copytree(mars, tmp_path / "copy")
    draw_mars(root)
    assert "holds this set already" in capsys.readouterr().out
    next(root.rglob(lost)).unlink()
    draw_mars(root)
    assert contents(root) == contents(mars)


def test_a_set_of_another_layout_needs_force_and_goes(copy, mars):
    with pytest.raises(InputError, match="another synthetic set \\(layout ilids-vid instead of mars"):
        draw_mars(copy)
    draw_mars(copy, "--force")
    assert contents(copy) == contents(mars)


def test_an_interrupted_set_of_another_layout_goes(copy, mars):
    (copy / "synthetic.json").rename(copy / "synthetic.unfinished.json")
    draw_mars(copy)
    assert contents(copy) == contents(mars)


def test_real_data_of_another_layout_is_never_overwritten(copy, small):
    (copy / "bbox_train").mkdir()
    (copy / "bbox_train/picture.jpg").write_bytes(b"somebody's data")
    with pytest.raises(InputError, match="bbox_train was not written by this program"):
        draw_mars(copy, "--force")
    assert contents(copy) == {**contents(small), "bbox_train/picture.jpg": b"somebody's data"}


@pytest.mark.parametrize("layout, options, sentence", [
    ("ilids-vid", ("--junk", "3"), "--junk is no option of --layout ilids-vid"),
    ("prid2011", ("--cameras", "2"), "--cameras is no option of --layout prid2011"),
    ("mars", ("--singles", "1", "1"), "--singles is no option of --layout mars"),
    ("prid2011", ("--identities", "201"), "--identities 201: the layout prid2011 has up to 200"),
    ("prid2011", ("--singles", "-1", "2"), "--singles -1 2"),
    ("mars", ("--identities", "3"), "--identities 3: the layout mars has 4 to 8000"),
    ("mars", ("--length", "2", "1000"), "--length 2 1000: .* count to 999"),
    ("mars", ("--tracklets", "0"), "--tracklets 0"), ("mars", ("--junk", "-1"), "--junk -1"),
    ("mars", ("--distractors", "10000"), "--distractors 10000"), ("mars", ("--cameras", "7"), "--cameras 7")])
def test_a_wrong_option_of_a_layout_is_named(tmp_path, layout, options, sentence):
    with pytest.raises(InputError, match=sentence):
        synthetic.main(["--root", str(tmp_path / "set"), "--layout", layout, *options])
    assert not (tmp_path / "set").exists()
