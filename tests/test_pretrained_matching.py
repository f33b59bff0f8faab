"""data_prep/pretrained/matching.py, names.py, net_shapes.py: what caffe train -weights would do, told without doing it."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from data_prep.pretrained import caffemodel, matching, net_shapes
from data_prep.pretrained.caffemodel import Layer
from data_prep.pretrained.names import is_pose, is_trunk, trunk_of
from stal.errors import InputError

ROOT = Path(__file__).parents[1]
POSE = [f"{name}_stage{stage}" for stage, names in
        ((1, ("conv1", "new_conv2", "conv3", "conv4")), (2, [f"Mconv{n}" for n in range(1, 6)]),
         (3, ["conv1"] + [f"Mconv{n}" for n in range(1, 6)])) for name in names]


# Names.

@pytest.mark.parametrize("layer", ["conv1/7x7_s2", "conv2/3x3_reduce/bn/sc", "inception_4b/double3x3b", "inception_3a/5x5",
                                   "conv1", "bn_conv1", "scale_conv1", "res2a_branch1", "bn4f_branch2c", "scale5c_branch2a"])
def test_layers_of_the_trunk(layer):
    assert is_trunk(layer) and not is_pose(layer)


@pytest.mark.parametrize("layer", ["inception_4c_part3/1x1", "res4d_part3_branch2a", "bn4d_part1_branch2a", "ran_conv1/bn",
                                   "deconv", "conv3", "stan_conv1", "fc_part1", "fc_global", "classifier_global",
                                   "loss_consistency", "loss1/conv", "loss3/classifier_1", "conv1_s", "conv1_sss1",
                                   "fc1_s", *POSE])
def test_other_layers(layer):
    assert not is_trunk(layer) and is_pose(layer) == (layer in POSE)


@pytest.mark.parametrize("layer, source", [
    ("inception_4c_part3/1x1", "inception_4c/1x1"), ("inception_4e_part12/3x3/bn/sc", "inception_4e/3x3/bn/sc"),
    ("res4d_part3_branch2a", "res4d_branch2a"), ("bn4d_part3_branch2a", "bn4d_branch2a"),
    ("scale4d_part3_branch2a", "scale4d_branch2a"), ("fc_part1", None), ("inception_4c/1x1", None), ("conv1_part1", None)])
def test_part_nets_are_copies_of(layer, source):
    assert trunk_of(layer) == source


# The net of iLIDS-VID.

@pytest.fixture(scope="module")
def ilids():
    return net_shapes.read(ROOT / "prototxt/train_ilids.prototxt")


def stored(shapes, names):
    """Weights without memory: zeros of the net's shapes for the layers ``names``."""
    zero = np.float32(0)
    return {name: Layer("", [np.broadcast_to(zero, shape) for shape in shapes.params[name]], False) for name in names}


def test_the_trunk_of_the_ilids_net(ilids):
    """All that lim0606's model has for it: 69 convolutions with BatchNorm and Scale. The rest is the method's own."""
    trunk = [name for name in ilids.params if is_trunk(name)]
    assert len(trunk) == 3 * 69 and trunk[0] == "conv1/7x7_s2" and trunk[-1] == "inception_5b/pool_proj/bn/sc"
    own = {name.split("/")[0].rstrip("123456") for name in ilids.params if not is_trunk(name) and not trunk_of(name)}
    assert own == {"ran_conv", "deconv", "conv", "classifier_global", "fc_part", "stan_conv", "stan_fc", "loss_consistency"}
    copies = [name for name in ilids.params if trunk_of(name)]
    assert len(copies) == 6 * 3 * (7 + 7 + 5) and all(ilids.params[name] == ilids.params[trunk_of(name)] for name in copies)


def test_published_weights_fill_the_trunk_and_start_the_parts(ilids):
    layers = stored(ilids, filter(is_trunk, ilids.params))
    layers["loss3/classifier"] = Layer("", [np.zeros((10, 4), np.float32)], False)
    layers["inception_3a/output"] = Layer("", [], False)
    rows = matching.match(ilids, {"w": layers})
    assert [row.layer for row in rows[:-1]] == list(ilids.params)
    assert {row.layer for row in rows if row.state == "copied"} == set(filter(is_trunk, ilids.params))
    assert (rows[-1].layer, rows[-1].state) == ("loss3/classifier", "ignored")
    matching.require(rows, "net", "w")
    matching.start_parts(rows, {"w": layers})
    assert all(row.source == trunk_of(row.layer) for row in rows if row.state == "from the trunk")
    counts = matching.table(rows, False).split("\n")[-1]
    assert counts == "Layers: 207 copied, 342 from the trunk, 22 random start, 1 ignored"


def test_a_trunk_that_is_not_filled_is_told(ilids):
    layers = stored(ilids, (name for name in ilids.params if is_trunk(name) and not name.startswith("inception_5b")))
    with pytest.raises(InputError, match="w leaves 21 of the 207 layers of the trunk of net .* inception_5b/1x1 for one"):
        matching.require(matching.match(ilids, {"w": layers}), "net", "w")


# A small net.

NET = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 4 dim: 4 } } }
layer { name: "conv1/7x7_s2" type: "Convolution" bottom: "data" top: "a"
  convolution_param { num_output: 2 kernel_size: 1 } }
layer { name: "inception_4c/1x1" type: "Convolution" bottom: "a" top: "b"
  convolution_param { num_output: 2 kernel_size: 1 bias_term: false } }
layer { name: "inception_4c_part1/1x1" type: "Convolution" bottom: "PART" top: "c"
  convolution_param { num_output: 2 kernel_size: 1 bias_term: false } }
layer { name: "relu" type: "ReLU" bottom: "c" top: "c" }
layer { name: "Mconv5_stage3" type: "Convolution" bottom: "c" top: "d"
  convolution_param { num_output: 1 kernel_size: 1 } }
layer { name: "classifier_global" type: "InnerProduct" bottom: "d" top: "e" inner_product_param { num_output: 5 } }
"""
TRUNK = {"conv1/7x7_s2": [(2, 3, 1, 1), (2,)], "inception_4c/1x1": [(2, 2, 1, 1)]}


def small(tmp_path, part="a"):
    (tmp_path / "net.prototxt").write_text(NET.replace("PART", part))
    return net_shapes.read(tmp_path / "net.prototxt")


def weights(shapes, legacy=False, value=1.0):
    return {name: Layer("Convolution", [np.full(shape, value, np.float32) for shape in layer], legacy)
            for name, layer in shapes.items()}


def states(rows):
    return {row.layer: row.state for row in rows}


def test_states_of_layers(tmp_path):
    rows = matching.match(small(tmp_path), {"w": weights({**TRUNK, "foreign": [(1,)], "relu": [], "empty": []})})
    assert states(rows) == {"conv1/7x7_s2": "copied", "inception_4c/1x1": "copied", "inception_4c_part1/1x1": "random start",
                            "Mconv5_stage3": "random start", "classifier_global": "random start", "foreign": "ignored"}
    table = matching.table(rows, False).split("\n")
    assert table[0] == "copied          conv1/7x7_s2            2x3x1x1, 2"
    assert table[-1] == "Layers: 2 copied, 3 random start, 1 ignored"


@pytest.mark.parametrize("layer, shapes", [("conv1/7x7_s2", [(2, 3, 1, 1)]), ("conv1/7x7_s2", []), ("relu", [(1,)]),
                                           ("inception_4c/1x1", [(2, 2, 3, 3)]), ("classifier_global", [(7, 16), (7,)])])
def test_what_is_called_fatal_ends_caffe(tmp_path, layer, shapes):
    net = small(tmp_path)
    rows = matching.match(net, {"w": weights({**TRUNK, layer: shapes})})
    assert states(rows)[layer] == "FATAL" and "FATAL" in matching.table(rows, False)
    with pytest.raises(InputError, match=f"Caffe stops at w: its layer {layer} has the blobs"):
        matching.require(rows, "net", "w")
    caffemodel.write(tmp_path / "w", "w", {name: (kind, blobs) for name, (kind, blobs, _) in
                                           weights({**TRUNK, layer: shapes}).items()})
    code = (f"import caffe; net = caffe.Net({str(tmp_path / 'net.prototxt')!r}, caffe.TRAIN); "
            f"net.copy_from({str(tmp_path / 'w')!r}); print('survived')")
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode != 0 and "survived" not in ended.stdout
    assert f"Incompatible number of blobs for layer {layer}" in ended.stderr or "shape mismatch" in ended.stderr


def test_a_legacy_shape_fits(tmp_path):
    layers = weights({"conv1/7x7_s2": [(2, 3, 1, 1), (1, 1, 1, 2)], "inception_4c/1x1": [(2, 2, 1, 1)]}, legacy=True)
    matching.require(matching.match(small(tmp_path), {"w": layers}), "net", "w")
    layers["conv1/7x7_s2"].blobs[1] = layers["conv1/7x7_s2"].blobs[1].reshape(2, 1, 1, 1)
    assert states(matching.match(small(tmp_path), {"w": layers}))["conv1/7x7_s2"] == "FATAL"


def test_a_later_file_goes_over_an_earlier_one(tmp_path):
    second = weights({"conv1/7x7_s2": TRUNK["conv1/7x7_s2"]}, value=2.0)
    rows = matching.match(small(tmp_path), {"first": weights(TRUNK), "second": second})
    assert [(row.path, row.blobs[0].max()) for row in rows if row.state == "copied"] == [("second", 2), ("first", 1)]
    assert matching.table(rows, True).split("\n")[0].endswith("2x3x1x1, 2  second")
    broken = weights({"conv1/7x7_s2": [(9,)]})
    for files in ({"first": broken, "second": weights(TRUNK)}, {"first": weights(TRUNK), "second": broken}):
        assert states(matching.match(small(tmp_path), files))["conv1/7x7_s2"] == "FATAL"


def test_the_pose_net_must_be_filled_once_a_file_has_it(tmp_path):
    net = small(tmp_path)
    matching.require(matching.match(net, {"w": weights(TRUNK)}), "net", "w")
    net.params["conv1_stage1"] = [(1,)]
    net.types["conv1_stage1"] = "Convolution"
    pose = weights({"Mconv5_stage3": [(1, 2, 1, 1), (1,)]})
    with pytest.raises(InputError, match="1 of the 2 layers of the pose net of net .* conv1_stage1 for one"):
        matching.require(matching.match(net, {"w": weights(TRUNK), "pose": pose}), "net", "w,pose")
    with pytest.raises(InputError, match="pose leaves 2 of the 2 layers of the trunk"):
        matching.require(matching.match(net, {"pose": pose}), "net", "pose")


def test_a_net_without_published_names_is_refused(tmp_path):
    (tmp_path / "net.prototxt").write_text(NET.split('layer { name: "conv1')[0])
    with pytest.raises(InputError, match="no layer with a published model's name"):
        matching.require(matching.match(net_shapes.read(tmp_path / "net.prototxt"), {"w": weights(TRUNK)}), "net", "w")


def test_parts_start_from_the_trunk_only_where_the_shapes_agree(tmp_path):
    files = {"w": weights(TRUNK)}
    rows = matching.match(small(tmp_path), files)
    matching.start_parts(rows, files)
    part = {row.layer: row for row in rows}["inception_4c_part1/1x1"]
    assert (part.state, part.source, part.blobs[0].shape) == ("from the trunk", "inception_4c/1x1", (2, 2, 1, 1))
    rows = matching.match(small(tmp_path, part="data"), files)  # three channels come in
    matching.start_parts(rows, files)
    assert states(rows)["inception_4c_part1/1x1"] == "random start"


def test_parts_start_from_trunk_layers_that_the_net_has_not(tmp_path):
    """A net without a global branch; the later of two files."""
    net = small(tmp_path)
    net.params.pop("inception_4c/1x1")
    net.types.pop("inception_4c/1x1")
    files = {"first": weights(TRUNK), "second": weights(TRUNK, value=2.0), "third": weights({"inception_4c/1x1": [(9,)]})}
    rows = matching.match(net, files)
    matching.start_parts(rows, files)
    part = {row.layer: row for row in rows}["inception_4c_part1/1x1"]
    assert (part.state, part.path, part.blobs[0].max()) == ("from the trunk", "second", 2)


def test_a_part_that_the_file_has_keeps_its_own(tmp_path):
    own = weights({"inception_4c_part1/1x1": [(2, 2, 1, 1)]}, value=3.0)
    files = {"w": {**weights(TRUNK), **own}}
    rows = matching.match(small(tmp_path), files)
    matching.start_parts(rows, files)
    assert {row.layer: row for row in rows}["inception_4c_part1/1x1"].blobs[0].max() == 3


def test_other_shapes_are_left_out_outside_the_trunk_only(tmp_path):
    rows = matching.match(small(tmp_path), {"w": weights({**TRUNK, "classifier_global": [(7, 16), (7,)],
                                                          "inception_4c/1x1": [(3,)]})})
    matching.leave_out(rows)
    assert states(rows)["classifier_global"] == "left out" and states(rows)["inception_4c/1x1"] == "FATAL"
    assert "5x16, 5 in the net, 7x16, 7 in the file" in matching.table(rows, False)


# Data layers.

@pytest.mark.parametrize("net", ["train_demo.prototxt", "deploy_demo.prototxt"])
def test_shapes_need_no_data(net):
    shapes = net_shapes.read(ROOT / "prototxt" / net)
    assert {"conv1/7x7_s2", "fc_part6", "stan_fc"} <= shapes.params.keys()
    assert shapes.types["part_boxes"] == "PartBoxes" and "part_boxes" not in shapes.params


VIDEOS = """
layer { name: "data" DATA top: "data" top: "label" top: "joints" }
layer { name: "row" type: "Reshape" bottom: "label" top: "row" reshape_param { shape { dim: 1 dim: -1 } } }
layer { name: "labels" type: "InnerProduct" bottom: "row" top: "a" inner_product_param { num_output: 1 } }
layer { name: "frames" type: "InnerProduct" bottom: "data" top: "b" inner_product_param { num_output: 1 axis: 0 } }
layer { name: "points" type: "InnerProduct" bottom: "joints" top: "c" inner_product_param { num_output: 1 axis: 0 } }
"""


@pytest.mark.parametrize("batch, videos", [({}, 3), ({"batch_identities": 4}, 8),
                                           ({"batch_identities": 4, "videos": 3}, 12)])
@pytest.mark.parametrize("twin", [False, True])
def test_the_data_layer_gives_batches_of_its_size(tmp_path, batch, videos, twin):
    param = {"frames": 5, "new_height": 8, "new_width": 6, **batch}
    if twin:
        data = f"type: 'Python' python_param {{ layer: 'VideoTripletData' param_str: '{json.dumps(param)}' }}"
    else:
        fields = " ".join(f"{key}: {value}" for key, value in param.items())
        data = f"type: 'VideoTripletData' video_triplet_data_param {{ {fields} }}"
    (tmp_path / "net.prototxt").write_text(VIDEOS.replace("DATA", data))
    params = net_shapes.read(tmp_path / "net.prototxt").params
    assert [params[name][0][1] for name in ("labels", "frames", "points")] == \
        [videos, videos * 5 * 3 * 8 * 6, videos * 5 * 14 * 3]
