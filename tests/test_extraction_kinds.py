"""Every kind of deploy net, from its prototxt through extraction to the evaluation: what it lacks is left out."""

import json
import os
import subprocess
import sys

import caffe
import cv2
import numpy as np
import pytest
from caffe.proto import caffe_pb2
from google.protobuf import text_format

from stal.caffe_net import FrameNet
from stal.errors import InputError
from stal.features import read_features, read_frames
from stal.images import prepare_frame, read_image
from stal.tracklets import Tracklet, write_joints, write_list
from tools import eval as evaluation
from tools import extract

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
HEIGHT, WIDTH = 8, 4


class PoseInput(caffe.Layer):
    """Stands in for a net's PoseInput layer: what is read is its options."""

    def setup(self, bottom, top):
        pass

    def reshape(self, bottom, top):
        top[0].reshape(*bottom[0].shape)

    def forward(self, bottom, top):
        top[0].data[...] = bottom[0].data


def blob(name, *shape):
    dims = " ".join(f"dim: {size}" for size in shape)
    return f'layer {{ name: "{name}" type: "Input" top: "{name}" input_param {{ shape {{ {dims} }} }} }}\n'


def dense(top, outputs, bottom="data"):
    return (f'layer {{ name: "fc_{top}" type: "InnerProduct" bottom: "{bottom}" top: "{top}" inner_product_param {{ '
            f'num_output: {outputs} weight_filler {{ type: "gaussian" std: 0.01 }} bias_filler {{ type: "constant" '
            f'value: 1 }} }} }}\n')


def scored(count):
    return dense("stan_fc", count) + 'layer { name: "scores" type: "Sigmoid" bottom: "stan_fc" top: "scores" }\n'


DATA = blob("data", 1, 3, HEIGHT, WIDTH)
JOINTS = blob("joints", 1, 14, 3)
# The parts depend on the joints, so that a test sees whether these reach the net.
PARTS = dense("part1", 4, "joints") + dense("part2", 4, "joints")
POSE = ('layer { name: "pose_input" type: "Python" bottom: "data" top: "pose_data" python_param { module: '
        '"test_extraction_kinds" layer: "PoseInput" param_str: \'{"mean_value": [1, 2, 3], "scale": 0.5}\' } }\n'
        + dense("joint_values", 42, "pose_data")
        + 'layer { name: "joints" type: "Reshape" bottom: "joint_values" top: "joints" reshape_param { shape { '
        'dim: -1 dim: 14 dim: 3 } } }\n')
NETS = {
    "full": DATA + JOINTS + dense("global", 5) + PARTS + scored(2),
    "pose inside": DATA + POSE + dense("global", 5) + PARTS + scored(2),
    "global": DATA + dense("global", 5),
    "local": DATA + JOINTS + PARTS + scored(2),
    "QAN": DATA + dense("global", 5) + 'layer { name: "part1" type: "Power" bottom: "global" top: "part1" }\n' + scored(1),
    "pose": DATA + POSE,
}
# R, width of the global feature, of the parts.
SIZES = {"full": (2, 5, 4), "pose inside": (2, 5, 4), "global": (0, 5, 0), "local": (2, 0, 4), "QAN": (1, 5, 5)}
TRAINED = 'layer { name: "data" type: "VideoTripletData" video_triplet_data_param { mean_value: 1 mean_value: 2 ' \
          'mean_value: 3 scale: 0.5 } }\n'
PAIRWISE = 'layer { name: "d" type: "PairwiseDistance" pairwise_distance_param { feature_norm: L2_UNIT } }\n'
LOCAL = 'layer { name: "l" type: "AttentionDistance" attention_distance_param { norm: L2 feature_norm: %s } }\n'


def python_layer(kind, **options):
    return (f'layer {{ name: "{kind}" type: "Python" python_param {{ module: "m" layer: "{kind}" '
            f"param_str: '{json.dumps(options)}' }} }}\n")


def write_net(folder, net, training=TRAINED + PAIRWISE):
    """Writes a net and random weights, with the layers of the net they were trained in beside them."""
    path, weights = str(folder / "net.prototxt"), str(folder / "net.caffemodel")
    (folder / "net.prototxt").write_text(net)
    caffe.set_random_seed(3)
    caffe.Net(path, caffe.TEST).save(weights)
    stored = caffe_pb2.NetParameter()
    with open(weights, "rb") as stream:
        stored.ParseFromString(stream.read())
    text_format.Merge(training, stored)
    with open(weights, "wb") as stream:
        stream.write(stored.SerializeToString())
    return path, weights


@pytest.fixture
def footage(tmp_path):
    """A list of four tracklets, of 1 to 4 frames of 20 x 10 pixels, without joints. Returns their root."""
    rng, tracklets = np.random.default_rng(0), []
    for n in range(4):
        frames = tuple(f"t{n}_{t}.png" for t in range(n + 1))
        for frame in frames:
            cv2.imwrite(str(tmp_path / frame), rng.integers(0, 256, (20, 10, 3), np.uint8))
        tracklets.append(Tracklet(f"t{n}", n // 2, n % 2, n % 2 == 0, frames))
    write_list(tmp_path / "list.csv", tracklets)
    return tmp_path


def write_true_joints(footage):
    joints = np.random.default_rng(1).random((10, 14, 3), np.float32) * 10
    write_joints(footage / "list.csv", joints)
    return joints


def arguments(footage, net, weights, *more):
    return ["--net", net, "--weights", weights, "--list", str(footage / "list.csv"), "--root", str(footage),
            "--out", str(footage / "out"), "--batch", "3", *more]


@pytest.mark.parametrize("kind", SIZES)
def test_each_kind_gives_the_features_it_has(footage, capsys, kind):
    net, weights = write_net(footage, NETS[kind])
    takes_joints = kind in ("full", "local")
    joints = write_true_joints(footage) if takes_joints else None
    extract.main(arguments(footage, net, weights, "--frames"))
    features = read_features(footage / "out")
    parts, width, part_width = SIZES[kind]
    assert features.global_mean.shape == (4, width) and features.attention.shape == (4, parts)
    assert features.parts.shape == features.parts_mean.shape == (4, parts, part_width)
    assert (features.meta["joints_sha256"] is not None) == takes_joints

    own = caffe.Net(net, caffe.TEST, weights=weights)
    frames = read_frames(features)
    order = [f"t{n}_{t}.png" for n in range(4) for t in range(n + 1)]
    for row, path in enumerate(order):
        data, moved = prepare_frame(read_image(footage / path), joints[row] if takes_joints else None, HEIGHT, WIDTH,
                                    (1, 2, 3), 0.5)
        own.blobs["data"].data[...] = data
        if takes_joints:
            own.blobs["joints"].data[...] = moved
        own.forward()
        if width:
            np.testing.assert_allclose(frames.global_[row], own.blobs["global"].data[0], rtol=1e-4)
        for r in range(parts):
            np.testing.assert_allclose(frames.parts[row, r], own.blobs[f"part{r + 1}"].data[0], rtol=1e-4)
            np.testing.assert_allclose(frames.attention[row, r], own.blobs["scores"].data[0, r], rtol=1e-4)
    if parts:
        a, f = frames.attention[6:], frames.parts[6:]
        np.testing.assert_allclose(features.parts[3], (a[..., None] * f).sum(0) / a.sum(0)[:, None], rtol=1e-5)
    if width:
        np.testing.assert_allclose(features.global_mean[3], frames.global_[6:].mean(0), rtol=1e-5)

    evaluation.main([str(footage / "out"), "--protocol", "ilids"])
    said = [line for line in capsys.readouterr().out.splitlines() if "holds only" in line]
    only = {"global": "only global", "local": "only part"}.get(kind)
    assert len(said) == bool(only) and (not only or only in said[0])


def test_a_killed_extraction_of_one_branch_goes_on(footage, monkeypatch):
    net, weights = write_net(footage, NETS["global"])
    run, calls = FrameNet.run, []

    def broken(self, data, joints=None):
        calls.append(len(data))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return run(self, data, joints)
    monkeypatch.setattr(FrameNet, "run", broken)
    with pytest.raises(KeyboardInterrupt):
        extract.main(arguments(footage, net, weights))
    extract.main(arguments(footage, net, weights))
    assert calls == [3, 3, 3, 3, 1]  # three tracklets were done after two batches
    assert read_features(footage / "out").global_mean.all()


@pytest.mark.parametrize("kind", ["full", "local"])
def test_a_net_that_takes_joints_needs_their_file(footage, kind):
    net, weights = write_net(footage, NETS[kind])
    with pytest.raises(InputError, match="no joints file .*list_joints.npy"):
        extract.main(arguments(footage, net, weights))


def test_joints_for_a_net_that_takes_none_are_refused(footage):
    net, weights = write_net(footage, NETS["global"])
    with pytest.raises(InputError, match="net.prototxt takes no joints: leave out --joints j.npy"):
        extract.main(arguments(footage, net, weights, "--joints", "j.npy"))


def test_a_pose_net_is_sent_to_the_other_program(footage):
    net, weights = write_net(footage, NETS["pose"])
    environment = {**os.environ, "PYTHONPATH": os.path.dirname(__file__)}  # of the stand-in above
    ended = subprocess.run([sys.executable, "tools/extract.py", *arguments(footage, net, weights)], cwd=ROOT,
                           capture_output=True, text=True, env=environment)
    assert ended.returncode == 1 and ended.stdout == ""
    assert ended.stderr == (f"error: {net} is a pose net, it gives joints and no features: run tools/pose.py with it, or "
                            "give another deploy net here\n")


@pytest.mark.parametrize("net, said", [
    (JOINTS + dense("global", 5, "joints"), "has no input data"),
    (DATA + blob("mask", 1, 3) + dense("global", 5), "has an input mask, and only data and joints"),
    (DATA + dense("features", 5), "neither a blob global nor a blob part1"),
    (DATA + JOINTS + dense("features", 5), "neither a blob global nor a blob part1"),
    (DATA + dense("part1", 4) + dense("part2", 4) + scored(3), "2 part blobs and 3 scores a frame"),
    (DATA + dense("part1", 4) + dense("part3", 4) + scored(2), "2 part blobs and 2 scores a frame"),
    (DATA + dense("part1", 4), "1 part blobs and 0 scores a frame"),
    (DATA + dense("global", 4) + scored(1), "0 part blobs and 1 scores a frame")],
    ids=["no data", "input", "no features", "joints, no features", "counts", "numbers", "no scores", "no parts"])
def test_other_nets_are_refused(tmp_path, net, said):
    with pytest.raises(InputError, match=f"net.prototxt.*{said}.*deploy") as caught:
        FrameNet(*write_net(tmp_path, net))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("training, recipe", [
    ("", ((104, 117, 123), 1, "L1", "UNNORMALIZED")),
    (TRAINED + PAIRWISE, ((1, 2, 3), 0.5, "L1", "L2_UNIT")),
    (TRAINED + PAIRWISE + LOCAL % "UNNORMALIZED", ((1, 2, 3), 0.5, "L2", "UNNORMALIZED")),
    (TRAINED + LOCAL % "L2_UNIT", ((1, 2, 3), 0.5, "L2", "L2_UNIT")),
    ('layer { name: "data" type: "VideoTripletData" } layer { name: "d" type: "PairwiseDistance" }',
     ((0, 0, 0), 1, "L1", "UNNORMALIZED")),
    (python_layer("VideoTripletData", mean_value=[9], scale=0.25), ((9, 9, 9), 0.25, "L1", "UNNORMALIZED")),
    (python_layer("PairwiseDistance", squared=True, feature_norm="L2_UNIT"),
     ((104, 117, 123), 1, "L1", "L2_UNIT")),
    (python_layer("PairwiseDistance", feature_norm="L2_UNIT") + python_layer("AttentionDistance", norm="L2"),
     ((104, 117, 123), 1, "L2", "UNNORMALIZED")),
    (python_layer("PoseInput", mean_value=[1, 2, 3], scale=2.0), ((1, 2, 3), 2, "L1", "UNNORMALIZED")),
    (TRAINED + python_layer("PoseInput", scale=2.0), ((1, 2, 3), 0.5, "L1", "UNNORMALIZED"))],
    ids=["none", "global", "both", "local", "defaults", "data twin", "QAN twins", "both twins", "pose", "pose and data"])
def test_the_recipe_is_the_training_nets_whatever_layers_it_has(tmp_path, training, recipe):
    assert FrameNet(*write_net(tmp_path, NETS["global"], training)).recipe == recipe


def test_a_pose_net_inside_must_expect_the_frames_of_the_training(tmp_path):
    FrameNet(*write_net(tmp_path, NETS["pose inside"], TRAINED))
    with pytest.raises(InputError, match=r"its PoseInput layer expects .*\(1.0, 2.0, 3.0\), 0.5.*trained on .*0.25"):
        FrameNet(*write_net(tmp_path, NETS["pose inside"], TRAINED.replace("0.5", "0.25")))
