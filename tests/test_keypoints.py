"""data_prep/keypoints.py: what pose estimators write becomes a joints table in the paper's order."""

import json

import cv2
import numpy as np
import pytest

from data_prep import ilids_vid, keypoints
from data_prep.joints import read_joints_table, upright_template, write_joints_table
from stal.errors import InputError

COCO_17 = ("nose", "left eye", "right eye", "left ear", "right ear", "left shoulder", "right shoulder", "left elbow",
           "right elbow", "left wrist", "right wrist", "left hip", "right hip", "left knee", "right knee", "left ankle",
           "right ankle")
COCO_18 = ("nose", "neck", "right shoulder", "right elbow", "right wrist", "left shoulder", "left elbow", "left wrist",
           "right hip", "right knee", "right ankle", "left hip", "left knee", "left ankle", "right eye", "left eye",
           "right ear", "left ear")
BODY_25 = (*COCO_18[:8], "middle hip", *COCO_18[8:], "left big toe", "left small toe", "left heel", "right big toe",
           "right small toe", "right heel")
PAPER = ("head", "neck", "right shoulder", "right elbow", "right wrist", "left shoulder", "left elbow", "left wrist",
         "left hip", "left knee", "left ankle", "right hip", "right knee", "right ankle")
FACE = ("nose", "left eye", "right eye", "left ear", "right ear")
# Each point has a place of its own, so that no two can be mistaken for each other.
PLACES = {name: (3.0 + 2 * k, 4.0 + 4 * k) for k, name in enumerate(dict.fromkeys(BODY_25))}
FRAMES = [f"i-LIDS-VID/sequences/{camera}/person001/{camera}_person001_{number:05d}.png" for camera in ("cam1", "cam2")
          for number in (1, 2)]


def points(names, seen=None, confidence=0.5, places=PLACES):
    """The flat numbers of one person; who is not among the ``seen`` is 0, 0, 0 as OpenPose and COCO write it."""
    rows = [(*places[name], confidence) if seen is None or name in seen else (0, 0, 0) for name in names]
    return [value for row in rows for value in row]


@pytest.fixture
def root(tmp_path):
    for frame in FRAMES:
        path = tmp_path / "set" / frame
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), np.full((128, 64, 3), 90, np.uint8))
    return tmp_path / "set"


def write_openpose(folder, people_of):
    """One file for each of {NAME: [flat numbers of a person, ...]}."""
    for name, people in people_of.items():
        path = folder / f"{name}_keypoints.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"version": 1.3, "people": [{"pose_keypoints_2d": person} for person in people]}))
    return folder


def stem(frame):
    return frame.rsplit("/", 1)[1][:-4]


def coco_images(**sizes):
    return [{"id": 10 + k, "file_name": frame} | sizes for k, frame in enumerate(FRAMES)]


def write_json(path, value):
    path.write_text(json.dumps(value))
    return path


def convert(root, form, path, *options):
    keypoints.main(["--format", form, "--input", str(path), "--root", str(root), "--out", str(root / "joints.csv"),
                    *options])
    return read_joints_table(root / "joints.csv")


def check_person(joints, confidence=0.5):
    """Whether ``joints`` are PLACES in the paper's order, with our head top; the neck is not checked."""
    for name, joint in list(zip(PAPER, joints))[2:]:
        assert tuple(joint[:2]) == PLACES[name], name
    face = np.mean([PLACES[name] for name in FACE], axis=0)
    assert np.allclose(joints[0, :2], joints[1, :2] + 1.7 * (face - joints[1, :2]), atol=0.02)
    assert np.allclose(joints[:, 2], confidence)


@pytest.mark.parametrize("names", [BODY_25, COCO_18])
def test_openpose_becomes_the_papers_order(root, tmp_path, names):
    table = convert(root, "openpose", write_openpose(tmp_path / "poses", {stem(f): [points(names)] for f in FRAMES}))
    assert list(table) == FRAMES
    for joints in table.values():
        check_person(joints)
        assert tuple(joints[1, :2]) == PLACES["neck"]


def test_coco_annotations_become_the_papers_order(root, tmp_path):
    annotations = [{"id": k, "image_id": 13 - k, "keypoints": points(COCO_17, confidence=1 + k % 2)} for k in range(4)]
    path = write_json(tmp_path / "person.json", {"images": coco_images(width=64, height=128), "annotations": annotations})
    table = convert(root, "coco", path)
    assert list(table) == FRAMES
    for joints in table.values():
        check_person(joints, confidence=1)  # hidden and visible alike
        middle = np.mean([PLACES["left shoulder"], PLACES["right shoulder"]], axis=0)
        assert np.allclose(joints[1], (*middle, 1))


def test_coco_results_need_their_images(root, tmp_path):
    results = write_json(tmp_path / "results.json", [{"image_id": 11, "keypoints": points(COCO_17), "score": 0.9}])
    images = write_json(tmp_path / "images.json", {"images": coco_images()})
    table = convert(root, "coco", results, "--images", str(images))
    check_person(table[FRAMES[1]])
    with pytest.raises(InputError, match="results.json is a list of results: .* --images"):
        convert(root, "coco", results)
    with pytest.raises(InputError, match="images.json .* annotations is missing"):
        convert(root, "coco", images)


def test_the_person_with_the_highest_sum_of_confidences_is_taken(root, tmp_path):
    sure_of_little, unsure_of_all = points(BODY_25, ("nose", "neck"), 0.9), points(BODY_25, confidence=0.4)
    poses = {stem(FRAMES[0]): [sure_of_little, unsure_of_all], stem(FRAMES[1]): [unsure_of_all, sure_of_little]}
    table = convert(root, "openpose", write_openpose(tmp_path / "poses", poses))
    check_person(table[FRAMES[0]], 0.4)
    assert np.array_equal(table[FRAMES[0]], table[FRAMES[1]])
    people = [{"image_id": 10, "keypoints": points(COCO_17, ("nose",), 2)},
              {"image_id": 10, "keypoints": points(COCO_17, confidence=1)}]
    path = write_json(tmp_path / "person.json", {"images": coco_images(), "annotations": people})
    check_person(convert(root, "coco", path)[FRAMES[0]], 1)


def test_a_frame_with_nobody_gets_the_template_with_confidence_0(root, tmp_path, capsys):
    wanted = upright_template(64, 128)
    wanted[:, 2] = 0
    poses = {stem(FRAMES[0]): [], stem(FRAMES[1]): [points(BODY_25, ())], stem(FRAMES[2]): [points(BODY_25)]}
    table = convert(root, "openpose", write_openpose(tmp_path / "poses", poses))
    printed = capsys.readouterr().out
    assert "wrote the joints of 3 frames" in printed and "33.3% of the joints are seen, 2 frames show nobody" in printed
    assert f"Note: 1 images under {root} are not in" in printed and FRAMES[3] in printed
    for frame in FRAMES[:2]:
        assert np.allclose(table[frame], wanted, atol=0.006)
    path = write_json(tmp_path / "none.json", {"images": coco_images(), "annotations": []})
    table = convert(root, "coco", path)
    assert len(table) == 4 and all(np.allclose(joints, wanted, atol=0.006) for joints in table.values())


def test_unseen_joints_follow_the_seen_ones():
    template = upright_template(64, 128)
    moved = template.copy()
    moved[:, :2] = (template[:, :2] - (30, 60)) * 0.7 + (33, 57)
    seen = [0, 1, 2, 5, 8, 13]
    joints = np.zeros((14, 3), np.float32)
    joints[seen] = moved[seen]
    filled = keypoints.fill(joints, 64, 128)
    assert np.array_equal(filled[seen], joints[seen])
    rest = [k for k in range(14) if k not in seen]
    assert np.allclose(filled[rest, :2], moved[rest, :2], atol=1e-3) and (filled[rest, 2] == 0).all()

    joints[seen[1:-1]] = 0  # two are enough
    assert np.allclose(keypoints.fill(joints, 64, 128)[:, :2], moved[:, :2], atol=1e-3)
    joints[seen] = moved[seen]

    behind = joints.copy()
    behind[seen, 0] = 63 - joints[seen, 0]  # her right is on the image's right
    filled = keypoints.fill(behind, 64, 128)
    assert np.allclose(filled[rest, 0], 63 - moved[rest, 0], atol=1e-3)


def test_one_seen_joint_shifts_the_template_inside_the_image():
    joints = np.zeros((14, 3), np.float32)
    joints[4] = 40, 20, 0.3  # the right wrist, far above and right of where the template has it
    filled = keypoints.fill(joints, 64, 128)
    template = upright_template(64, 128)[:, :2]
    wanted = (template + joints[4, :2] - template[4]).clip(0, (63, 127))
    assert np.allclose(filled[:, :2], wanted, atol=1e-3)
    assert filled[:, 2].tolist() == [0] * 4 + [np.float32(0.3)] + [0] * 9


def test_the_template_does_not_collapse_on_joints_that_lie_together():
    joints = np.zeros((14, 3), np.float32)
    joints[[0, 10]] = 32, 64, 1
    filled = keypoints.fill(joints, 64, 128)
    assert np.ptp(filled[:, 1]) > 0.4 * np.ptp(upright_template(64, 128)[:, 1])


@pytest.mark.parametrize("seen, wanted, confidence", [
    (("nose", "left shoulder", "right shoulder"), "nose", 0.5),
    (("left ear", "left shoulder", "right shoulder"), "left ear", 0.5),
    (("nose", "left shoulder"), None, 0.5),          # no neck: the face itself
    (("left shoulder", "right shoulder"), None, 0),  # no face: no head
])
def test_the_head_top_is_made_of_what_is_seen(seen, wanted, confidence):
    joints = keypoints.to_joints(np.reshape(points(COCO_17, seen), (17, 3)))
    assert joints[0, 2] == confidence
    if wanted:
        middle = np.mean([PLACES["left shoulder"], PLACES["right shoulder"]], axis=0)
        assert np.allclose(joints[0, :2], middle + 1.7 * (np.array(PLACES[wanted]) - middle))
    elif confidence:
        assert tuple(joints[0, :2]) == PLACES["nose"]
    assert joints[1, 2] == (0.5 if {"left shoulder", "right shoulder"} <= set(seen) else 0)


def test_the_neck_has_the_smaller_confidence_of_the_shoulders():
    person = np.reshape(points(COCO_17), (17, 3))
    person[COCO_17.index("left shoulder"), 2] = 0.25
    person[COCO_17.index("nose"), 2] = 0.9
    joints = keypoints.to_joints(person)
    assert joints[1, 2] == 0.25 and np.isclose(joints[0, 2], (0.9 + 4 * 0.5) / 5)


def test_a_confidence_above_1_is_limited(root, tmp_path):
    path = write_json(tmp_path / "person.json", {"images": coco_images(), "annotations": [
        {"image_id": 10, "keypoints": points(COCO_17, confidence=5.5)}]})
    assert convert(root, "coco", path)[FRAMES[0]][:, 2].max() == 1


def test_frames_are_found_by_the_end_of_their_path(root, tmp_path):
    for camera in ("cam1", "cam2"):  # the same name twice
        cv2.imwrite(str(root / f"i-LIDS-VID/sequences/{camera}/person001/0001.png"), np.zeros((128, 64, 3), np.uint8))
    with pytest.raises(InputError, match="0001, but .*cam1/person001/0001.png and .*cam2/person001/0001.png are both"):
        convert(root, "openpose", write_openpose(tmp_path / "flat", {"0001": []}))
    table = convert(root, "openpose", write_openpose(tmp_path / "tree", {"cam2/person001/0001": []}))
    assert list(table) == ["i-LIDS-VID/sequences/cam2/person001/0001.png"]
    for name in ("am2/person001/0001", "cam3/person001/0001"):
        with pytest.raises(InputError, match=f"names {name}, but no image under .*set is called so"):
            convert(root, "openpose", write_openpose(tmp_path / name[:4], {name: []}))


@pytest.mark.parametrize("form", ["openpose", "coco"])
def test_a_frame_that_is_not_in_the_set_is_named(root, tmp_path, form):
    if form == "openpose":
        path = write_openpose(tmp_path / "poses", {stem(FRAMES[0]): [], "cam1_person777_00001": []})
    else:
        images = coco_images() + [{"id": 5, "file_name": "cam1_person777_00001.png"}]
        path = write_json(tmp_path / "person.json", {"images": images, "annotations": []})
    with pytest.raises(InputError, match="names cam1_person777_00001.* no image under"):
        convert(root, form, path)
    assert not (root / "joints.csv").exists()


def test_a_frame_named_twice_is_refused(root, tmp_path):
    poses = write_openpose(tmp_path / "poses", {stem(FRAMES[0]): [], "person001/" + stem(FRAMES[0]): []})
    with pytest.raises(InputError, match=f"names the frame {FRAMES[0]} a second time"):
        convert(root, "openpose", poses)


@pytest.mark.parametrize("content, sentence", [
    ("{", "is no JSON file"),
    ("[]", "people is missing"),
    ('{"people": {}}', "people is missing or of another type"),
    ('{"people": [{}]}', "pose_keypoints_2d is missing"),
    ('{"people": [{"pose_keypoints_2d": [1, 2, 3]}]}', "has 3 numbers in pose_keypoints_2d, not 75 or 54"),
    (json.dumps({"people": [{"pose_keypoints_2d": points(COCO_17)}]}), "has 51 numbers"),
    (json.dumps({"people": [{"pose_keypoints_2d": ["1"] * 75}]}), "that is no number of pixels"),
    (json.dumps({"people": [{"pose_keypoints_2d": [float("nan")] * 75}]}), "that is no number of pixels"),
    (json.dumps({"people": [{"pose_keypoints_2d": [10 ** 400] * 75}]}), "that is no number of pixels"),
])
def test_a_wrong_openpose_file_is_refused(root, tmp_path, content, sentence):
    poses = write_openpose(tmp_path / "poses", {stem(FRAMES[0]): []})
    (poses / f"{stem(FRAMES[1])}_keypoints.json").write_text(content)
    with pytest.raises(InputError, match=f"{stem(FRAMES[1])}_keypoints.json .*{sentence}"):
        convert(root, "openpose", poses)
    assert not (root / "joints.csv").exists()


@pytest.mark.parametrize("content, sentence", [
    ("no json", "is no JSON file"),
    ("{}", "images is missing"),
    ("3", "images is missing"),
    ({"images": [], "annotations": []}, "lists no images"),
    ({"images": [{"id": 1}], "annotations": []}, "file_name is missing"),
    ({"images": coco_images() * 2, "annotations": []}, "has the image id 10 twice"),
    ({"images": coco_images(), "annotations": [{"image_id": 10}]}, "keypoints is missing"),
    ({"images": coco_images(), "annotations": [{"image_id": [], "keypoints": points(COCO_17)}]}, "image_id is missing"),
    ({"images": coco_images(), "annotations": [{"image_id": 9, "keypoints": points(COCO_17)}]},
     "has keypoints of the image id 9, which .* does not list"),
    ({"images": coco_images(), "annotations": [{"image_id": 10, "keypoints": points(COCO_18)}]}, "has 54 numbers"),
    ({"images": coco_images(width=128, height=256), "annotations": []}, "has 128 x 256 pixels, but it has 64 x 128"),
])
def test_a_wrong_coco_file_is_refused(root, tmp_path, content, sentence):
    path = tmp_path / "person.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(InputError, match=f"person.json .*{sentence}"):
        convert(root, "coco", path)
    assert not (root / "joints.csv").exists()


def test_normalised_coordinates_are_refused(root, tmp_path):
    small = {name: (x / 64, y / 128) for name, (x, y) in PLACES.items()}
    poses = write_openpose(tmp_path / "poses", {stem(FRAMES[0]): [points(BODY_25, places=small)], stem(FRAMES[1]): []})
    with pytest.raises(InputError, match="poses lie within 1 pixel: .*--keypoint_scale 0"):
        convert(root, "openpose", poses)


def test_wrong_options_are_named(root, tmp_path):
    poses = write_openpose(tmp_path / "poses", {stem(FRAMES[0]): []})
    person = write_json(tmp_path / "person.json", {"images": coco_images(), "annotations": []})
    for form, path, options, sentence in (
            ("openpose", tmp_path / "nowhere", (), "there is no NAME_keypoints.json in the directory .*nowhere"),
            ("openpose", root, (), "there is no NAME_keypoints.json in the directory .*set"),
            ("openpose", poses, ("--images", "x.json"), "--images x.json belongs to --format coco"),
            ("coco", person, ("--images", "x.json"), "person.json is no list of results: leave --images x.json out"),
            ("coco", tmp_path / "none.json", (), "cannot read .*none.json"),
            ("coco", poses, (), "cannot read .*poses")):
        with pytest.raises(InputError, match=sentence):
            convert(root, form, path, *options)
    with pytest.raises(InputError, match="there are no images under .*poses"):
        convert(poses, "coco", person)
    with pytest.raises(SystemExit):
        convert(root, "alphapose", person)


def test_a_damaged_frame_is_named(root, tmp_path):
    (root / FRAMES[0]).write_bytes((root / FRAMES[0]).read_bytes()[:-5])
    with pytest.raises(InputError, match="00001.png is a PNG file that is cut short"):
        convert(root, "openpose", write_openpose(tmp_path / "poses", {stem(FRAMES[0]): []}))


def test_the_same_input_gives_the_same_bytes_and_ilids_vid_reads_them(root, tmp_path):
    for camera in ("cam1", "cam2"):
        folder = root / f"i-LIDS-VID/sequences/{camera}/person002"
        folder.mkdir()
        cv2.imwrite(str(folder / f"{camera}_person002_00001.png"), np.zeros((128, 64, 3), np.uint8))
    names = [path.stem for path in root.rglob("*.png")]
    poses = write_openpose(tmp_path / "poses", {name: [points(BODY_25)] for name in names})
    convert(root, "openpose", poses)
    written = (root / "joints.csv").read_bytes()
    convert(root, "openpose", poses)
    assert (root / "joints.csv").read_bytes() == written
    ilids_vid.main(["--root", str(root)])
    joints = np.load(root / "all_joints.npy")
    assert joints.shape == (6, 14, 3)
    check_person(joints[5])


def test_a_joints_table_is_read_as_it_was_written(tmp_path):
    table = {f"{name}.png": np.random.default_rng(k).integers(-100, 9999, (14, 3)).astype(np.float32) / 4
             for k, name in enumerate(("b", "a,c", "a"))}
    write_joints_table(tmp_path / "joints.csv", table)
    again = read_joints_table(tmp_path / "joints.csv")
    assert list(again) == ["a,c.png", "a.png", "b.png"]
    assert all(np.array_equal(again[frame], table[frame]) for frame in table)
