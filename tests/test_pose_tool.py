"""tools/pose.py with nets whose joints are known."""

import json
import os
import subprocess
import sys

import caffe
import cv2
import numpy as np
import pytest
from test_extraction_kinds import DATA, HEIGHT, JOINTS, NETS, WIDTH, dense, write_net

from data_prep.joints import read_joints_table
from stal.caffe_net import PoseNet
from stal.errors import InputError
from stal.extraction import published_joints
from stal.images import prepare_frame
from stal.tracklets import Tracklet, write_joints, write_list
from tools import pose

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SHAPES = [(20, 10), (33, 17), (HEIGHT, WIDTH)]  # height, width of the three images
PLACES = np.random.default_rng(4).random((14, 3), np.float32) * (WIDTH, HEIGHT, 1)  # what the net says of every frame


@pytest.fixture
def footage(tmp_path):
    """A list of three frames of different sizes, one of them in both tracklets, and a net that says PLACES of each."""
    for n, shape in enumerate(SHAPES):
        cv2.imwrite(str(tmp_path / f"{n}.png"), np.full((*shape, 3), 50 * n, np.uint8))
    write_list(tmp_path / "list.csv", [Tracklet("a", 1, 0, True, ("0.png", "1.png")),
                                       Tracklet("b", 1, 1, False, ("1.png", "2.png"))])
    write_net(tmp_path, NETS["pose"])
    net = caffe.Net(str(tmp_path / "net.prototxt"), str(tmp_path / "net.caffemodel"), caffe.TEST)
    net.params["fc_joint_values"][0].data[...] = 0
    net.params["fc_joint_values"][1].data[...] = PLACES.ravel()
    net.save(str(tmp_path / "net.caffemodel"))
    return tmp_path


def arguments(footage, *more):
    return ["--net", str(footage / "net.prototxt"), "--weights", str(footage / "net.caffemodel"), "--list",
            str(footage / "list.csv"), "--root", str(footage), "--batch", "3", *map(str, more)]


def places():
    """PLACES in pixels of the list's four images."""
    joints = np.stack([PLACES] * 4).astype(np.float64)
    for row, (height, width) in zip(joints, [SHAPES[0], SHAPES[1], SHAPES[1], SHAPES[2]]):
        row[:, 0] = (row[:, 0] + 0.5) * width / WIDTH - 0.5
        row[:, 1] = (row[:, 1] + 0.5) * height / HEIGHT - 0.5
    return joints


def test_the_mapping_is_the_inverse_of_the_preparation():
    joints = np.random.default_rng(0).random((14, 3), np.float32) * 100 - 20
    image = np.zeros((33, 17, 3), np.uint8)
    _, moved = prepare_frame(image, joints, HEIGHT, WIDTH, (0, 0, 0), 1)
    assert np.abs(moved - joints).max() > 10
    np.testing.assert_allclose(published_joints(moved, (33, 17), (HEIGHT, WIDTH)), joints, atol=1e-4)
    # The centre of the first of two squashed pixels is the border between the first two of four.
    assert published_joints(np.zeros((14, 3)), (4, 4), (2, 2))[0].tolist() == [0.5, 0.5, 0]


def test_the_table_is_in_pixels_of_the_published_images(footage, capsys):
    pose.main(arguments(footage, "--out", footage / "new" / "joints.csv"))
    table = read_joints_table(footage / "new" / "joints.csv")
    assert list(table) == ["0.png", "1.png", "2.png"]
    for frame, row in zip(table, (0, 1, 3)):
        np.testing.assert_allclose(table[frame], places()[row], atol=0.0051)
    first = (footage / "new" / "joints.csv").read_bytes()
    pose.main(arguments(footage, "--out", footage / "new" / "joints.csv", "--batch", "1"))
    assert (footage / "new" / "joints.csv").read_bytes() == first
    assert capsys.readouterr().out == f"Done, joints are in {footage}/new/joints.csv\n" * 2


def test_frames_reach_the_net_as_its_own_pose_input_expects(footage):
    """Not as the weights were trained: the layer undoes mean and scale."""
    training = 'layer { name: "data" type: "VideoTripletData" video_triplet_data_param { mean_value: 7 } }'
    net = PoseNet(*write_net(footage, NETS["pose"], training))
    assert (net.recipe.mean, net.recipe.scale) == ((1, 2, 3), 0.5)
    plain = DATA + dense("joint_values", 42) + NETS["pose"][NETS["pose"].index('layer { name: "joints"'):]
    assert PoseNet(*write_net(footage, plain, training)).recipe.mean == (7, 7, 7)


def test_pckh_is_printed_and_written(footage, capsys):
    truth = places()
    truth[..., 2] = 1
    truth[:, 0, :2], truth[:, 1, :2] = (0, 0), (6, 8)  # heads of 10 pixels
    truth[:, 2, 0] += 4.9
    truth[:2, 3, 1] += 5.1
    truth[:3, 4, 2] = 0
    truth[3, 5, 1] += 5.1
    truth[:, 13, 2] = 0
    write_joints(footage / "list.csv", truth)
    pose.main(arguments(footage, "--score", "--json", footage / "r.json"))
    result = json.loads((footage / "r.json").read_text())
    assert result["alpha"] == 0.5 and result["head"] == "distance from J1 to J2"
    assert [result["joints"][name] for name in ("R shoulder", "R elbow", "R wrist", "L shoulder", "R ankle")] == [
        1, 0.5, 1, 0.75, None]
    assert result["annotated"]["R wrist"] == 1 and result["annotated"]["R ankle"] == 0
    assert result["frames_left_out"] == 0
    text = capsys.readouterr().out
    assert f"PCKh@0.5 against {footage}/list_joints.npy, head length: distance from J1 to J2\n" in text
    assert "  R elbow       50.0          4\n" in text and "  R ankle          -          0\n" in text
    assert f"  mean        {100 * result['mean']:6.1f}         49\n" in text

    np.save(footage / "list_heads.npy", np.float32([1000, 9, 9, 9]))
    pose.main(arguments(footage, "--score", "--json", footage / "r.json"))
    result = json.loads((footage / "r.json").read_text())
    assert result["head"] == f"{footage}/list_heads.npy"
    assert (result["joints"]["R shoulder"], result["joints"]["R elbow"]) == (0.25, 0.75)
    pose.main(arguments(footage, "--score", "--json", footage / "r.json", "--alpha", "1"))
    assert json.loads((footage / "r.json").read_text())["joints"]["R elbow"] == 1


def test_frames_without_a_head_are_counted(footage, capsys):
    truth = places()
    truth[..., 2] = 1
    truth[1:3, 0, 2] = 0
    write_joints(footage / "list.csv", truth)
    pose.main(arguments(footage, "--score"))
    assert "2 frames have no head length and were left out\n" in capsys.readouterr().out


def test_a_net_with_a_pose_net_inside_will_do(footage, capsys):
    net, weights = write_net(footage, NETS["pose inside"])
    pose.main(arguments(footage, "--out", footage / "joints.csv"))
    both = read_joints_table(footage / "joints.csv")
    (footage / "net.prototxt").write_text(NETS["pose"])  # its pose net alone takes the same weights
    pose.main(arguments(footage, "--out", footage / "joints.csv"))
    for frame, joints in read_joints_table(footage / "joints.csv").items():
        np.testing.assert_array_equal(joints, both[frame])


@pytest.mark.parametrize("net, said", [
    (NETS["full"], "net.prototxt takes joints instead of finding them: give a pose net"),
    (NETS["global"], r"net.prototxt has no blob joints where a pose net gives joints \(F, 14, 3\): give a pose net"),
    (DATA + dense("joints", 42), r"net.prototxt has joints \(F, 42\) where"),
    (JOINTS + dense("global", 5, "joints"), "net.prototxt has no input data")],
    ids=["full", "global", "shape", "no data"])
def test_other_nets_are_refused(footage, net, said):
    write_net(footage, net)
    with pytest.raises(InputError, match=said):
        pose.main(arguments(footage, "--out", footage / "joints.csv"))
    assert not (footage / "joints.csv").exists()


def test_a_net_gone_wrong_names_the_image(footage):
    net = caffe.Net(str(footage / "net.prototxt"), str(footage / "net.caffemodel"), caffe.TEST)
    net.params["fc_joint_values"][1].data[5] = np.nan
    net.save(str(footage / "net.caffemodel"))
    with pytest.raises(InputError, match="NaN or infinite joints for 0.png"):
        pose.main(arguments(footage, "--out", footage / "joints.csv"))
    assert not (footage / "joints.csv").exists()


@pytest.mark.parametrize("more, said", [
    ((), "nothing to do: name a table to write with --out"),
    (("--out", "x.csv", "--json", "r.json"), "--json r.json holds PCKh: give --score too"),
    (("--score",), "there is no joints file .*list_joints.npy"),
    (("--out", "x.csv", "--batch", "0"), "--batch 0"), (("--out", "x.csv", "--alpha", "0"), "--alpha 0 must"),
    (("--out", "x.csv", "--alpha", "nan"), "--alpha nan must"), (("--list", "absent.csv"), "absent.csv")])
def test_wrong_arguments_are_refused_before_the_work(footage, monkeypatch, more, said):
    monkeypatch.setattr("stal.extraction.find_joints", None)
    monkeypatch.chdir(footage)
    with pytest.raises(InputError, match=said):
        pose.main(arguments(footage, *more))


def test_wrong_input_ends_in_one_sentence(footage):
    os.remove(footage / "net.caffemodel")
    ended = subprocess.run([sys.executable, "tools/pose.py", *arguments(footage, "--out", footage / "x.csv")], cwd=ROOT,
                           capture_output=True, text=True)
    assert ended.returncode == 1 and ended.stdout == ""
    assert ended.stderr.startswith("error: cannot read the weights ") and ended.stderr.count("\n") == 1
