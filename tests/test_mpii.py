"""data_prep/mpii.py: MPII's structure becomes crops, lists, joints and head sizes; what is irregular is passed over."""

import os

import cv2
import numpy as np
import pytest
import scipy.io

from data_prep import mpii
from stal.errors import InputError
from stal.tracklets import joints_path, read_joints, read_list

MAT = "mpii_human_pose_v1_u12_2/mpii_human_pose_v1_u12_1.mat"
MPII_NAMES = ("right ankle", "right knee", "right hip", "left hip", "left knee", "left ankle", "pelvis", "thorax",
              "neck", "head", "right wrist", "right elbow", "right shoulder", "left shoulder", "left elbow",
              "left wrist")
PAPER_NAMES = ("head", "neck", "right shoulder", "right elbow", "right wrist", "left shoulder", "left elbow",
               "left wrist", "left hip", "left knee", "left ankle", "right hip", "right knee", "right ankle")
# Where a figure of 200 pixels that faces the camera has what, from its middle; her right is on the image's left.
FIGURE = {"head": (0, -95), "neck": (0, -65), "thorax": (0, -55), "pelvis": (0, 5),
          "right shoulder": (-25, -55), "right elbow": (-35, -25), "right wrist": (-40, 5),
          "left shoulder": (25, -55), "left elbow": (36, -24), "left wrist": (42, 8),
          "right hip": (-14, 6), "right knee": (-16, 45), "right ankle": (-18, 85),
          "left hip": (15, 7), "left knee": (17, 46), "left ankle": (19, 88)}
WRITTEN = [f"{side}{kind}" for side in ("train", "val") for kind in (".csv", "_joints.npy", "_heads.npy")]


def struct(*rows):
    """A MATLAB struct array; a field that a row lacks is empty, as MATLAB fills it."""
    fields = sorted({field for row in rows for field in row})
    array = np.empty(len(rows), [(field, object) for field in fields])
    for row, values in zip(array, rows):
        for field in fields:
            row[field] = values.get(field, np.zeros((0, 0)))
    return array


def figure(x, y, scale, names=MPII_NAMES, visible=1):
    """An annorect of FIGURE about the pixel (x, y), counted from 0; ``visible`` as is_visible, None: no such field."""
    points = []
    for name in names:
        dx, dy = FIGURE[name]
        point = {"x": x + dx * scale + 1.0, "y": y + dy * scale + 1.0, "id": MPII_NAMES.index(name)}
        points.append(point if visible is None else point | {"is_visible": visible})
    return {"x1": x - 9 * scale, "y1": y - 92 * scale, "x2": x + 9 * scale, "y2": y - 68 * scale,
            "scale": float(scale), "objpos": struct({"x": x + 1.0, "y": y + 1.0}),
            "annopoints": struct({"point": struct(*points)})}


def image(name, *records, **fields):
    return {"image": struct({"name": name}), "annorect": struct(*records) if records else np.zeros((0, 0))} | fields


def write_mat(root, images, training=None, path=None, **fields):
    path = path or root / MAT
    path.parent.mkdir(exist_ok=True)
    release = {"annolist": struct(*images), "img_train": np.array(training or [1] * len(images), np.uint8)} | fields
    scipy.io.savemat(path, {"RELEASE": {key: value for key, value in release.items() if value is not None}})
    return path


def write_image(root, name, width=400, height=300, draw=lambda picture: None):
    (root / "images").mkdir(exist_ok=True)
    picture = np.full((height, width, 3), (90, 140, 60), np.uint8)
    draw(picture)
    cv2.imwrite(str(root / "images" / name), picture, (cv2.IMWRITE_JPEG_QUALITY, 100))


def small_set(root, count=4):
    """One person in each of the images 1.jpg, 2.jpg, ...; the scale tells them apart."""
    names = [f"{k}.jpg" for k in range(1, count + 1)]
    for name in names:
        write_image(root, name)
    write_mat(root, [image(name, figure(200, 150, 1 + k / 10)) for k, name in enumerate(names)])
    return root


def prepare(root, *options):
    mpii.main(["--root", str(root), *options])


def prepared(root):
    crops = {path.name: path.read_bytes() for path in sorted((root / "crops").iterdir())}
    return crops | {name: (root / name).read_bytes() for name in WRITTEN}


def everybody(root):
    """{name: (joints, head)} of both lists."""
    people = {}
    for side in ("train", "val"):
        rows = read_list(root / f"{side}.csv")
        joints = read_joints(joints_path(root / f"{side}.csv"), rows)
        heads = np.load(root / f"{side}_heads.npy")
        assert heads.shape == (len(rows),) and heads.dtype == np.float32
        people |= {row.name: (joints[k], heads[k]) for k, row in enumerate(rows)}
    return people


def test_a_drawn_figure_keeps_left_and_right(tmp_path):
    colours = {name: tuple(int(value) for value in np.random.default_rng(k).integers(0, 256, 3))
               for k, name in enumerate(MPII_NAMES)}

    def draw(picture):
        for name, (dx, dy) in FIGURE.items():
            cv2.circle(picture, (700 + 3 * dx, 400 + 3 * dy), 14, colours[name], -1)
    write_image(tmp_path, "015.jpg", 1280, 800, draw)
    write_image(tmp_path, "016.jpg")
    write_mat(tmp_path, [image("016.jpg", figure(200, 150, 1)), image("015.jpg", figure(700, 400, 3))])
    prepare(tmp_path)
    joints, head = everybody(tmp_path)["000002_1"]
    cut = cv2.imread(str(tmp_path / "crops/000002_1.jpg"))
    assert cut.shape == (256, 256, 3) and (joints[:, 2] == 1).all()
    for name, (x, y, _) in zip(PAPER_NAMES, joints):
        assert np.abs(cut[round(float(y)), round(float(x))].astype(int) - colours[name]).max() < 25, name
        # 750 pixels of the image are 256 of the crop; the figure's middle is the crop's.
        dx, dy = FIGURE[name]
        assert np.allclose((x, y), (127.5 + dx * 3 * 256 / 750, 127.5 + dy * 3 * 256 / 750), atol=256 / 750)
    assert np.isclose(head, 0.6 * 30 * 3 * 256 / 750)  # the head box is 18 x 24 at scale 1
    assert joints[5, 0] > 128 > joints[2, 0] and joints[8, 0] > 128 > joints[11, 0]


def test_a_crop_is_exact():
    picture = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    assert np.array_equal(mpii.crop(picture, (10, 20, 32), 32), picture[20:52, 10:42])
    outside = mpii.crop(picture, (-8, 40, 32), 32)
    assert np.array_equal(outside[:20, 8:], picture[40:, :24])
    assert (outside[:, :8] == 128).all() and (outside[20:] == 128).all()
    beyond = mpii.crop(picture, (64, -10, 32), 32)
    assert np.array_equal(beyond[10:, :16], picture[:22, 64:]) and (beyond[:10] == 128).all()
    assert (mpii.crop(picture, (200, 200, 32), 32) == 128).all() and (mpii.crop(picture, (-50, 0, 32), 32) == 128).all()
    blocks = picture[:32, :32].reshape(8, 4, 8, 4, 3).mean((1, 3))
    assert np.abs(mpii.crop(picture, (0, 0, 32), 8) - blocks).max() <= 0.5  # every pixel counts in a reduction
    assert np.array_equal(mpii.crop(picture, (0, 0, 8), 16)[0, 0], picture[0, 0])


def test_the_square_lies_about_the_position_and_joints_follow_it(tmp_path):
    write_image(tmp_path, "1.jpg")
    write_image(tmp_path, "2.jpg", 64, 64)
    write_mat(tmp_path, [image("1.jpg", figure(200, 150, 0.64)), image("2.jpg", figure(16, 40, 0.64))])
    prepare(tmp_path, "--size", "128", "--context", "1")  # 128 pixels of the image are 128 of the crop
    people = everybody(tmp_path)
    # Position 201 counted from 1 is the pixel 200 from 0; its centre, 200.5, is the middle of pixels 137 to 264.
    joints = people["000001_1"][0]
    assert np.allclose(joints[1, :2], (200 - 137, 150 - 0.64 * 65 - 87), atol=1e-4)
    cut = cv2.imread(str(tmp_path / "crops/000002_1.jpg")).astype(int)
    # Here the image's columns 0 to 63 are the crop's 47 to 110, its rows the crop's 23 to 86.
    assert (cut[:14] == 128).all() and (cut[98:] == 128).all() and (cut[:, :30] == 128).all()
    assert np.abs(cut[32:80, 56:104] - (90, 140, 60)).max() <= 3
    source = cv2.imread(str(tmp_path / "images/2.jpg"))
    wanted = mpii.crop(source, (16 - 63, 40 - 63, 128), 128)
    assert np.array_equal(cut, cv2.imdecode(cv2.imencode(".jpg", wanted, (cv2.IMWRITE_JPEG_QUALITY, 95))[1], 1))


def test_joints_that_are_missing_or_outside_have_confidence_0(tmp_path):
    write_image(tmp_path, "2.jpg")
    write_image(tmp_path, "3.jpg")
    stretched = figure(200, 150, 1, ("neck", "head", "left wrist"))
    stretched["annopoints"][0]["point"][2]["x"] = 390.0
    write_mat(tmp_path, [image("2.jpg", figure(200, 150, 1)), image("3.jpg", stretched)])
    prepare(tmp_path)
    joints, _ = everybody(tmp_path)["000002_1"]
    assert joints[:, 2].tolist() == [1, 1] + [0] * 12
    assert np.isclose(joints[7, 0], (389 - 200) * 256 / 250 + 127.5, atol=1.1)  # told, though it counts for nothing
    assert (joints[[2, 3, 4, 5, 6, 8, 9, 10, 11, 12, 13]] == 0).all()


@pytest.mark.parametrize("visible", [0, 1, "0", "1", np.zeros((0, 0)), None])
def test_an_annotated_joint_counts_whatever_is_visible_says(tmp_path, visible):
    root = small_set(tmp_path)
    write_mat(root, [image(f"{k}.jpg", figure(200, 150, 1, visible=visible)) for k in (1, 2)])
    prepare(root)
    assert all((joints[:, 2] == 1).all() for joints, _ in everybody(root).values())


def without(record, *fields):
    return {key: value for key, value in record.items() if key not in fields}


def test_irregular_records_are_passed_over(tmp_path, capsys):
    root = small_set(tmp_path, 9)
    good = figure(200, 150, 1)
    none = np.zeros((0, 0))
    one_point = good | {"annopoints": struct({"point": struct({"x": 201.0, "y": 151.0, "id": 9})})}
    write_mat(root, [
        image("1.jpg", good, without(good, "annopoints"), without(good, "scale"), without(good, "objpos"),
              without(good, "x1"), good | {"annopoints": none}, good | {"scale": 0.0}, good | {"scale": np.nan},
              good | {"scale": 1e6}, good | {"objpos": struct({"x": 201.0})}, good | {"annopoints": struct({"point": none})},
              good),
        image("2.jpg"),                                                  # annorect is empty
        {"image": struct({"name": "3.jpg"})},                            # as is here
        image("4.jpg", without(good, "annopoints", "scale", "objpos")),  # fields that no record of this image has
        image("5.jpg", one_point),                                       # single structs instead of arrays
        image("6.jpg", good | {"annopoints": struct({"point": struct(
            {"x": 201.0, "y": 151.0, "id": 6}, {"x": 201.0, "y": 151.0, "id": 16})})}),  # ids without a counterpart
        image("7.jpg", good | {"objpos": struct({"x": 1.0, "y": -900.0})}),  # no joint in the crop
        image("8.jpg", good),                                            # a test image
    ], [1] * 7 + [0])
    prepare(root, "--validation", "0.5")
    assert sorted(everybody(root)) == ["000001_1", "000001_12", "000005_1"]
    printed = capsys.readouterr().out
    assert "8 images with 17 people; 7 training images with 16 people" in printed
    assert "Note: MPII Human Pose as published has around 25 000 images with over 40 000 people" in printed
    assert "3 people of 2 training images are used; 13 have no joint" in printed


def test_one_struct_instead_of_an_array_is_read(tmp_path):
    write_mat(tmp_path, [image("1.jpg", figure(200, 150, 1, ("head",)))])
    release = mpii.read_release(str(tmp_path / MAT))
    assert [(name, training, len(records)) for name, training, records in release] == [("1.jpg", True, 1)]
    assert len(mpii.find_people(release, "x", 256, 1.25)) == 1


def test_lists_have_one_frame_a_person_and_split_by_image(tmp_path):
    root = small_set(tmp_path, 10)
    write_mat(root, [image(f"{k}.jpg", *[figure(200, 150, 1)] * (11 if k == 3 else 2)) for k in range(1, 11)])
    prepare(root, "--validation", "0.3")
    sides = {side: read_list(root / f"{side}.csv") for side in ("train", "val")}
    images = {side: {row.name[:6] for row in rows} for side, rows in sides.items()}
    assert len(images["val"]) == 3 and len(images["train"]) == 7 and not images["val"] & images["train"]
    rows = sorted(sides["train"] + sides["val"])
    assert len(rows) == 29 and [row.pid for row in rows] == list(range(29))
    for row in rows:
        assert (row.camid, row.query, row.frames) == (0, False, (f"crops/{row.name}.jpg",))
        assert (root / row.frames[0]).exists()
    prepare(root, "--validation", "0.3", "--seed", "1")
    assert {row.name[:6] for row in read_list(root / "val.csv")} != images["val"]
    prepare(root, "--validation", "0.01")
    assert len({row.name[:6] for row in read_list(root / "val.csv")}) == 1


def test_an_image_that_is_listed_twice_stays_on_one_side(tmp_path):
    root = small_set(tmp_path)
    write_mat(root, [image(f"{k % 2 + 1}.jpg", figure(200, 150, 1)) for k in range(10)])
    prepare(root, "--validation", "0.5")
    assert {int(row.name[:6]) % 2 for row in read_list(root / "val.csv")} in ({0}, {1})
    assert len(read_list(root / "val.csv")) == 5


def test_joints_and_heads_stand_in_the_order_of_the_list(tmp_path):
    root = small_set(tmp_path, 2)
    scales = [1 + k / 20 for k in range(11)]
    write_mat(root, [image("1.jpg", *(figure(200, 150, scale) for scale in scales)), image("2.jpg", figure(200, 150, 1))])
    prepare(root)
    people = everybody(root)
    for k, scale in enumerate(scales, start=1):  # 000001_10 is sorted before 000001_2
        joints, head = people[f"000001_{k}"]
        side = round(250 * scale)
        assert np.isclose(head, 0.6 * 30 * scale * 256 / side)
        width = (FIGURE["left shoulder"][0] - FIGURE["right shoulder"][0]) * scale * 256 / side
        assert np.isclose(joints[5, 0] - joints[2, 0], width, atol=1e-3)


def test_preparing_again_changes_no_byte_and_cuts_nothing(tmp_path):
    root = small_set(tmp_path)
    prepare(root)
    before = prepared(root)
    for path in (root / "images").iterdir():
        path.unlink()
    prepare(root)
    assert prepared(root) == before


def test_a_killed_run_goes_on(tmp_path, monkeypatch):
    root = small_set(tmp_path)
    prepare(root)
    before = prepared(root)
    for name in WRITTEN:
        (root / name).unlink()
    crops = sorted((root / "crops").glob("*.jpg"))
    crops[1].unlink()
    crops[2].write_bytes(crops[2].read_bytes()[:-9])
    read = []
    monkeypatch.setattr(mpii, "read_image", lambda path, original=mpii.read_image: read.append(path) or original(path))
    prepare(root)
    assert [os.path.basename(path) for path in read] == ["2.jpg", "3.jpg"]
    assert prepared(root) == before


def test_lists_are_written_last(tmp_path):
    root = small_set(tmp_path)
    (root / "images/3.jpg").write_bytes((root / "images/3.jpg").read_bytes()[:-200])
    with pytest.raises(InputError, match="3.jpg is a JPEG file that is cut short"):
        prepare(root)
    assert not any((root / name).exists() for name in WRITTEN) and (root / "crops/000002_1.jpg").exists()


@pytest.mark.parametrize("options", [("--size", "128"), ("--context", "1.5"), ("--annotations", "other.mat")])
def test_crops_of_other_options_are_refused(tmp_path, monkeypatch, options):
    root = small_set(tmp_path)
    prepare(root)
    before = prepared(root)
    monkeypatch.chdir(root)
    write_mat(root, [image(f"{k}.jpg", figure(190, 150, 1)) for k in (1, 2)], path=root / "other.mat")
    with pytest.raises(InputError, match="crops holds crops of another --size, --context or --annotations"):
        prepare(root, *options)
    assert prepared(root) == before


def test_crops_of_somebody_else_are_refused(tmp_path):
    root = small_set(tmp_path)
    (root / "crops").mkdir()
    (root / "crops/mine.jpg").write_bytes(b"mine")
    with pytest.raises(InputError, match="crops was not written by this program"):
        prepare(root)
    (root / "crops/crops.json").write_text("{")
    with pytest.raises(InputError, match="crops.json is damaged"):
        prepare(root)


@pytest.mark.parametrize("option, value", [("--size", "8"), ("--context", "0"), ("--context", "nan"),
                                           ("--validation", "0"), ("--validation", "1"), ("--seed", "-1")])
def test_a_wrong_option_is_named(tmp_path, option, value):
    with pytest.raises(InputError, match=f"{option} {value}"):
        prepare(small_set(tmp_path), option, value)


def test_missing_files_are_named(tmp_path):
    root = small_set(tmp_path)
    with pytest.raises(InputError, match="there is no file .*none.mat"):
        prepare(root, "--annotations", str(root / "none.mat"))
    (root / "images/2.jpg").unlink()
    (root / "images/4.jpg").unlink()
    with pytest.raises(InputError, match="2 images are missing, .*images/2.jpg the first"):
        prepare(root)
    assert not (root / "crops").exists()
    (root / MAT).unlink()
    with pytest.raises(InputError, match="there is no file .*v1_u12_1.mat: unpack"):
        prepare(root)


@pytest.mark.parametrize("fields", [{"annolist": None}, {"img_train": None}, {"img_train": np.ones(3)},
                                    {"annolist": np.ones(4)}])
def test_another_structure_is_refused(tmp_path, fields):
    root = small_set(tmp_path)
    write_mat(root, [image(f"{k}.jpg", figure(200, 150, 1)) for k in (1, 2)], **fields)
    with pytest.raises(InputError, match="v1_u12_1.mat holds no struct RELEASE"):
        prepare(root)


def test_another_mat_file_is_refused(tmp_path):
    root = small_set(tmp_path)
    for content in ({"ls_set": np.ones((2, 3))}, {"RELEASE": np.ones(3)}, {"RELEASE": "text"}):
        scipy.io.savemat(root / MAT, content)
        with pytest.raises(InputError, match="v1_u12_1.mat holds no struct RELEASE"):
            prepare(root)


@pytest.mark.parametrize("kept", [0, 100, 127, 128, 150, 1000, -8])
def test_a_mat_file_cut_short_is_refused(tmp_path, kept):
    root = small_set(tmp_path)
    (root / MAT).write_bytes((root / MAT).read_bytes()[:kept])
    with pytest.raises(InputError, match="v1_u12_1.mat (is no readable .mat file|holds no struct RELEASE)"):
        prepare(root)


def test_a_set_with_nobody_or_one_image_is_refused(tmp_path):
    root = small_set(tmp_path)
    write_mat(root, [image("1.jpg", figure(200, 150, 1)), image("2.jpg")], [0, 1])
    with pytest.raises(InputError, match="v1_u12_1.mat has nobody with joints"):
        prepare(root)
    write_mat(root, [image("1.jpg", figure(200, 150, 1)), image("2.jpg")])
    with pytest.raises(InputError, match="only the image 1.jpg has people"):
        prepare(root)


def test_a_person_of_no_image_is_refused(tmp_path):
    root = small_set(tmp_path)
    write_mat(root, [image("1.jpg", figure(200, 150, 1)), image(np.zeros((0, 0)), figure(200, 150, 1))])
    with pytest.raises(InputError, match=r"annolist\(2\) in .* has a person but no image.name"):
        prepare(root)
