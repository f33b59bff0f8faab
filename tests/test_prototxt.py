"""The nets and solvers of prototxt/: current, Table I row by row, parameter counts, names, twins."""

import glob
import os
import re
from dataclasses import replace

import caffe
import numpy as np
import pytest
from caffe.proto import caffe_pb2
from google.protobuf import text_format

from data_prep import ilids_vid, synthetic
from prototxt import generate
from prototxt.experiments import COMMITTED, demo, experiment
from prototxt.nets import stal

NETS = {os.path.basename(path): text_format.Parse(open(path).read(), caffe_pb2.NetParameter())
        for path in glob.glob(os.path.join(generate.HERE, "*.prototxt")) if "solver" not in path}
PARTS = range(1, 7)


# Currentness.

@pytest.fixture(scope="module")
def written():
    """What the program writes: {file name: text}."""
    return generate.files()


def test_the_committed_files_are_what_the_program_writes():
    assert generate.check() == ""


def test_an_edited_a_missing_and_a_foreign_file_are_told(tmp_path, monkeypatch, written):
    monkeypatch.setattr(generate, "files", lambda: written)
    for name, text in written.items():
        (tmp_path / name).write_text(text)
    assert generate.check(tmp_path) == ""
    (tmp_path / "foreign.prototxt").write_text('name: "nobody"\n')
    assert re.search(r"^\S*foreign.prototxt is written by no experiment: remove it$", generate.check(tmp_path), re.M)
    (tmp_path / "foreign.prototxt").unlink()
    path = tmp_path / "solver_ilids.prototxt"
    path.write_text(path.read_text().replace("base_lr: 0.001", "base_lr: 0.01"))
    assert "-base_lr: 0.01\n+base_lr: 0.001\n" in generate.check(tmp_path)
    path.unlink()
    assert "+base_lr: 0.001\n" in generate.check(tmp_path)


def test_the_program_fails_on_a_difference(monkeypatch, written, capsys):
    for text, status in ((written["solver_mars.prototxt"], 0), ("max_iter: 1\n", 1)):
        monkeypatch.setattr(generate, "files", lambda: {**written, "solver_mars.prototxt": text})
        assert generate.main(["--check"]) == status
        assert ("+max_iter: 1\n" in capsys.readouterr().out) == bool(status)


def test_the_program_writes_what_it_is_asked_for(tmp_path, written):
    generate.main(["--only", "prid", "--identities", "7", "--out", str(tmp_path)])
    assert sorted(os.listdir(tmp_path)) == ["deploy.prototxt", "solver_prid.prototxt", "train_prid.prototxt"]
    net = (tmp_path / "train_prid.prototxt").read_text()
    assert "identities: 7\n" in net and net.count("num_output: 7\n") == 2
    assert f'"{tmp_path}/train_prid.prototxt"' in (tmp_path / "solver_prid.prototxt").read_text()
    assert (tmp_path / "deploy.prototxt").read_text() == written["deploy.prototxt"]


# Table I and what else is known of the full net.

class Shapes:
    """What Caffe makes of a net."""

    def __init__(self, net):
        self.blobs = {name: tuple(blob.data.shape) for name, blob in net.blobs.items()}
        self.params = {name: [tuple(blob.data.shape) for blob in blobs] for name, blobs in net.params.items()}

    def count(self, pattern=""):
        """Parameters of the layers whose names begin with the pattern."""
        return sum(int(np.prod(shape)) for name, shapes in self.params.items() if re.match(pattern, name)
                   for shape in shapes)


def load(proto, path):
    path.write_text(str(proto))
    return caffe.Net(str(path), caffe.TRAIN)


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    """Shapes of the net of iLIDS-VID, fed by hand instead of from a list of 150 persons."""
    proto = caffe_pb2.NetParameter()
    proto.CopyFrom(NETS["train_ilids.prototxt"])
    inputs = caffe_pb2.LayerParameter(name="data", type="Input", top=proto.layer[0].top)
    for shape in ((24, 3, 224, 224), (3,), (24, 14, 3)):
        inputs.input_param.shape.add(dim=shape)
    proto.layer[0].CopyFrom(inputs)
    return Shapes(load(proto, tmp_path_factory.mktemp("full") / "net.prototxt"))


# Layer, kernel, stride, output. Table I prints the first six sizes twice as large, and a stride of 2 for 3a.
TABLE_1 = [
    ("conv1/7x7_s2", 7, 2, (64, 112, 112)),
    ("pool1/3x3_s2", 3, 2, (64, 56, 56)),
    ("conv2/3x3_reduce", 1, 1, (64, 56, 56)),
    ("conv2/3x3", 3, 1, (192, 56, 56)),
    ("pool2/3x3_s2", 3, 2, (192, 28, 28)),
    ("inception_3a", None, 1, (256, 28, 28)),
    ("inception_3b", None, 1, (320, 28, 28)),
    ("inception_3c", None, 2, (576, 14, 14)),
    ("inception_4a", None, 1, (576, 14, 14)),
    ("inception_4b", None, 1, (576, 14, 14)),
    ("inception_4c", None, 1, (576, 14, 14)),
    ("ran_conv1", 1, 1, (64, 14, 14)),
    ("ran_pool1", 3, 2, (64, 7, 7)),
    ("ran_conv2", 3, 1, (192, 7, 7)),
    ("deconv", 4, 2, (192, 14, 14)),
    ("conv3", 1, 1, (576, 14, 14)),
    ("inception_4d", None, 1, (576, 14, 14)),
    ("inception_4e", None, 2, (1024, 7, 7)),
    ("inception_5a", None, 1, (1024, 7, 7)),
    ("inception_5b", None, 1, (1024, 7, 7)),
    ("pool5/7x7_s1", "all", 1, (1024, 1, 1)),
    *[row for r in PARTS for row in ((f"inception_4c_part{r}", None, 1, (576, 8, 8)),
                                     (f"inception_4d_part{r}", None, 1, (576, 8, 8)),
                                     (f"inception_4e_part{r}", None, 2, (1024, 4, 4)))],
]


def layers(name="train_ilids.prototxt"):
    return {layer.name: layer for layer in NETS[name].layer}


def kernel_and_stride(layer):
    if layer.type == "Pooling":
        param = layer.pooling_param
        return "all" if param.global_pooling else param.kernel_size, param.stride
    param = layer.convolution_param
    return param.kernel_size[0], param.stride[0] if param.stride else 1


@pytest.mark.parametrize("name, kernel, stride, output", TABLE_1)
def test_table_1(full, name, kernel, stride, output):
    net = layers()
    if kernel is None:  # an inception block strides in the last 3x3 of both branches and in its pooling
        assert full.blobs[f"{name}/output"] == (24, *output)
        for last in ("3x3", "double3x3b", "pool"):
            assert kernel_and_stride(net[f"{name}/{last}"]) == (3, stride)
        for inner in ("3x3_reduce", "double3x3_reduce"):
            assert kernel_and_stride(net[f"{name}/{inner}"]) == (1, 1)
        assert kernel_and_stride(net[f"{name}/double3x3a"]) == (3, 1)
    else:
        assert full.blobs[name] == (24, *output)
        assert kernel_and_stride(net[name]) == (kernel, stride)


def test_what_follows_what():
    net = layers()
    source = {top: layer for layer in NETS["train_ilids.prototxt"].layer for top in layer.top
              if top not in layer.bottom}

    def reads(name, block):
        """Whether all that begins with the name reads the block's output, or nothing but itself."""
        read = {source[bottom].name for key, layer in net.items() if f"{key}/".startswith(f"{name}/")
                for bottom in layer.bottom}
        return {layer for layer in read if not layer.startswith(name)} == {block}

    for name, before in (("inception_4c", "inception_4b/output"), ("ran_conv1", "inception_4c/output"),
                         ("inception_4d", "ran_output"), ("pool5/7x7_s1", "inception_5b/output")):
        assert reads(name, before), name
    assert list(net["ran_product"].bottom) == ["inception_4c/output", "conv3"]
    assert list(net["ran_output"].bottom) == ["inception_4c/output", "ran_product"]
    assert [net[f"ran_{name}"].eltwise_param.operation for name in ("product", "output")] == [
        caffe_pb2.EltwiseParameter.PROD, caffe_pb2.EltwiseParameter.SUM]
    assert net["ran_mask"].type == "Sigmoid" and list(net["ran_mask"].top) == ["conv3"]
    for r in PARTS:
        assert list(net[f"roi{r}"].bottom) == ["inception_4b/output", f"boxes{r}"]
        assert reads(f"inception_4c_part{r}", f"roi{r}")
        assert reads(f"fc_part{r}", f"inception_4e_part{r}/output")
        pooling = net[f"roi{r}"].roi_pooling_param
        assert (pooling.pooled_h, pooling.pooled_w, pooling.spatial_scale) == (8, 8, 1 / 16)


def test_shapes_of_the_main_blobs(full):
    wanted = {"data": (24, 3, 224, 224), "label": (3,), "joints": (24, 14, 3), "global": (24, 1024),
              "video_global": (3, 1024), "classifier_global": (3, 150), "distance_global": (3, 3),
              "scores": (24, 6), "attention": (24, 6), "video_attention": (3, 6),
              "video_parts": (3, 6, 1024), "distance_local": (3, 3), "stan_conv1": (24, 64, 112, 112),
              "stan_pool1": (24, 64, 56, 56), "stan_conv3": (24, 64, 56, 56),
              **{f"boxes{r}": (24, 5) for r in PARTS}, **{f"roi{r}": (24, 576, 8, 8) for r in PARTS},
              **{f"part{r}": (24, 1024) for r in PARTS},
              **{f"loss_{name}": () for name in ("cls", "tri_global", "tri_local", "consistency")}}
    assert {name: full.blobs[name] for name in wanted} == wanted


BRANCHES = "1x1", "3x3_reduce", "3x3", "double3x3_reduce", "double3x3a", "double3x3b", "pool_proj"
# Inception-BN as lim0606's caffe-googlenet-bn has it: the widths of a block's branches, its pooling, and how
# many weights its convolutions have.
BLOCKS = {
    "3a": ((64, 64, 64, 64, 96, 96, 32), "AVE", 218112),
    "3b": ((64, 64, 96, 64, 96, 96, 64), "AVE", 259072),
    "3c": ((0, 128, 160, 64, 96, 96, 0), "MAX", 384000),
    "4a": ((224, 64, 96, 96, 128, 128, 128), "AVE", 608256),
    "4b": ((192, 96, 128, 96, 128, 128, 128), "AVE", 663552),
    "4c": ((160, 128, 160, 128, 160, 160, 96), "AVE", 893952),
    "4d": ((96, 128, 192, 160, 192, 192, 96), "AVE", 1105920),
    "4e": ((0, 128, 192, 192, 256, 256, 0), "MAX", 1437696),
    "5a": ((352, 192, 320, 160, 224, 224, 128), "AVE", 2179072),
    "5b": ((352, 192, 320, 192, 224, 224, 128), "MAX", 2276352),
}
TRUNK = r"(conv[12]|inception_..)/"


PART_BLOCKS = [f"{block}_part{r}" for block in ("4c", "4d", "4e") for r in PARTS]


@pytest.mark.parametrize("block", [*BLOCKS, *PART_BLOCKS])
def test_a_block_is_the_published_one(full, block):
    """Its convolutions under the published names, its pooling, its output."""
    widths, pool, count = BLOCKS[block[:2]]
    found = {name.split("/")[1]: shapes[0][0] for name, shapes in full.params.items()
             if re.fullmatch(rf"inception_{block}/[^/]*", name)}
    assert found == {name: width for name, width in zip(BRANCHES, widths) if width}
    assert full.count(rf"inception_{block}/[^/]*$") == count
    net = layers()
    pooling = net[f"inception_{block}/pool"].pooling_param
    assert caffe_pb2.PoolingParameter.PoolMethod.Name(pooling.pool) == pool
    last = [name for name in ("1x1", "3x3", "double3x3b", "pool_proj") if name in found]
    assert list(net[f"inception_{block}/output"].bottom) == [
        *(f"inception_{block}/{name}/bn/sc" for name in last),
        *(() if "pool_proj" in found else [f"inception_{block}/pool"])]


def test_every_convolution_of_the_trunk_has_batch_norm_scale_and_relu(full):
    convolutions = {name for name in full.params
                    if re.fullmatch(r"(conv[12]|inception_..(_part\d)?)/[^/]*", name)}
    assert {"conv1/7x7_s2", "conv2/3x3_reduce", "conv2/3x3"} < convolutions
    assert len(convolutions) == 3 + 8 * 7 + 2 * 5 + 6 * (2 * 7 + 5)
    for name in {*convolutions, "ran_conv1", "ran_conv2", "deconv"}:
        (weights,), bn, scale = full.params[name], full.params[f"{name}/bn"], full.params[f"{name}/bn/sc"]
        width = layers()[name].convolution_param.num_output
        assert len(weights) == 4 and bn == [(width,), (width,), (1,)] and scale == [(width,)] * 2
        assert layers()[f"{name}/bn/sc/relu"].type == "ReLU"


def test_parameter_counts(full):
    stem = 64 * 3 * 49 + 64 * 64 + 192 * 64 * 9
    assert full.count(TRUNK + r"[^/]*$") == stem + sum(count for _, _, count in BLOCKS.values()) == 10150080
    assert full.count(TRUNK) == 10189957
    assert full.count("ran_|deconv|conv3") == 850243
    assert full.count("inception_.*_part1/") == 3449875
    assert full.count("fc_part") == 6 * (16384 * 1024 + 1024)
    assert full.count("stan_") == 64 * 3 * 49 + 64 + 2 * (64 * 64 * 9 + 64) + 6 * (64 * 8 * 8 + 1)
    assert full.count("loss_consistency") == 6 * 150 * 1024
    assert full.count() == 133592000


def test_without_ran_only_ran_is_missing():
    names = {layer.name for layer in stal.train_net(experiment("ilids_no_ran").options).layer}
    assert {name.split("/")[0] for name in set(layers()) - names} == {
        "ran_conv1", "ran_pool1", "ran_conv2", "deconv", "conv3", "ran_mask", "ran_product", "ran_output"}


TYPES = "|".join(caffe.layer_type_list())


@pytest.mark.parametrize("name", NETS)
def test_names_are_given_and_unique(name):
    names = [layer.name for layer in NETS[name].layer]
    assert len(names) == len(set(names))
    for layer in NETS[name].layer:
        for given in (layer.name, *layer.top):
            assert not re.fullmatch(rf"({TYPES})\d+", given), f"{given} is a name that NetSpec made up"


LOCAL = {"scores", *(f"part{r}" for r in PARTS)}


def interface(name):
    """Inputs and outputs that a committed experiment's net for deployment must have."""
    if name.startswith("pose"):
        return {"data"}, {"joints"}
    if "qan" in name:
        return {"data"}, {"global", "part1", "scores"}
    if "plain" in name or "pgb" in name:
        return {"data"}, {"global"}
    if "plb" in name:
        return {"data", "joints"}, LOCAL
    return ({"data"}, {"joints", "global", *LOCAL}) if "pose" in name else ({"data", "joints"}, {"global", *LOCAL})


@pytest.mark.parametrize("name", COMMITTED)
def test_the_net_for_deployment_is_a_part_of_the_net_for_training(name):
    """But for the data, what only training needs, and the joints of a pose net that is trained."""
    deploy = NETS[f"{experiment(name).deploy}.prototxt"]
    trained, inputs = layers(f"train_{name}.prototxt"), []
    own = {"part1"} if "qan" in name else {"pose_joints", *(f"joints{end}" for end in ("", "_slice", "_x", "_y"))}
    for layer in deploy.layer:
        if layer.type == "Input":
            inputs += layer.top
        elif layer.name in trained:
            assert layer == trained[layer.name]
        else:
            assert layer.name in own
    wanted_inputs, outputs = interface(name)
    assert set(inputs) == wanted_inputs
    assert outputs <= {top for layer in deploy.layer for top in layer.top}


@pytest.mark.parametrize("name", [name for name in NETS if re.match(r"deploy.*_(global|plain)\.", name)
                                  or name in ("deploy_global.prototxt", "deploy_plain.prototxt")])
def test_global_branches_are_of_stock_layers_only(name):
    ours = {os.path.basename(path) for path in glob.glob(os.path.join(os.path.dirname(generate.HERE), "layers", "*"))}
    snake = {re.sub(r"[^a-z0-9]", "", folder) for folder in ours}
    assert "attentionpooling" in snake
    for layer in NETS[name].layer:
        assert layer.type != "Python" and layer.type.lower() not in snake


@pytest.mark.parametrize("name, identities", [("prid", 89), ("mars", 625)])
def test_the_papers_nets_differ_in_data_and_identities_only(name, identities):
    ours, ilids = (str(NETS[f"train_{data}.prototxt"]) for data in (name, "ilids"))
    assert f"identities: {identities}\n" in ours and ours.count(f"num_output: {identities}\n") == 2
    assert ours == ilids.replace("ilids", name).replace(" 150\n", f" {identities}\n")


@pytest.mark.parametrize("name, iterations", [("ilids", 13500), ("prid", 6500), ("mars", 150000)])
def test_the_papers_solvers(name, iterations):
    path = os.path.join(generate.HERE, f"solver_{name}.prototxt")
    solver = text_format.Parse(open(path).read(), caffe_pb2.SolverParameter())
    assert solver.train_net == f"prototxt/train_{name}.prototxt" and solver.type == "SGD"
    assert [solver.max_iter, solver.lr_policy, list(solver.stepvalue)] == [
        iterations, "multistep", [round(iterations / 3), round(iterations * 2 / 3)]]
    found = [solver.base_lr, solver.momentum, solver.weight_decay, solver.gamma]
    assert found == np.float32([0.001, 0.9, 0.0002, 0.5]).tolist()
    assert 0 < solver.snapshot < iterations and solver.snapshot_prefix == f"snapshots/{name}"


def test_the_papers_losses():
    net = layers()
    weights = {layer.name: list(layer.loss_weight) for layer in net.values() if layer.loss_weight}
    assert weights == {"loss_cls": [1], "loss_tri_global": [1], "loss_tri_local": np.float32([0.3]).tolist(),
                       "loss_consistency": [1]}
    margins = [net[f"loss_tri_{name}"].triplet_loss_param.margin for name in ("global", "local")]
    assert margins == np.float32([1.2, 0.8]).tolist()
    data = net["data"].video_triplet_data_param
    assert [data.frames, data.new_height, data.new_width] == [8, 224, 224]
    assert [data.batch_identities, data.scale, *data.mean_value] == [0, 1, 104, 117, 123]


# The small net on data, in C++ and of twins.

@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A prepared synthetic set of 8 persons, 4 of them for training."""
    root = tmp_path_factory.mktemp("data")
    synthetic.main(["--root", str(root), "--identities", "8", "--length", "2", "4", "--workers", "1"])
    ilids_vid.main(["--root", str(root)])
    return str(root)


SMALL = dict(identities=4, frames=2, batch_identities=2)


def gradients(net):
    net.clear_param_diffs()
    net.backward()
    return {f"{name} {i}": blob.diff.copy() for name, blobs in net.params.items()
            for i, blob in enumerate(blobs)}


PAPERS = dict(batch_identities=0, triplets="ORDERED", attention_norm="L1", consistency_input="FRAMES")
OTHERS = dict(triplets="HARD", consistency_input="WEIGHTED_FRAMES", feature_norm="L2_UNIT", roi="ROIAlign",
              sums=True)


# The printed gradient lies nearly all along the scores, which L1Normalize takes away: few digits remain.
@pytest.mark.parametrize("changes, precision", [
    ({}, 1e-3), (PAPERS, 1e-3), (OTHERS, 1e-3), (dict(ran_input="4b", frames=1), 1e-3),
    (dict(ran=False, gradient="PAPER", stan_fc_std=0.1), 0.1)])
def test_the_twins_net_is_the_layers_net(tmp_path, data, changes, precision):
    caffe.set_random_seed(1)
    options = demo(data=data, **{**SMALL, **changes}).options
    net, other = (load(stal.train_net(replace(options, twins=twins)), tmp_path / f"{twins}.prototxt")
                  for twins in (False, True))
    assert "Python" not in {layer.type for layer in net.layers}
    assert "Python" in {layer.type for layer in other.layers}
    net.save(str(tmp_path / "weights.caffemodel"))
    other.copy_from(str(tmp_path / "weights.caffemodel"))
    net.forward()
    other.forward()
    for name in ("label", "joints"):
        np.testing.assert_allclose(other.blobs[name].data, net.blobs[name].data, atol=1e-4)
    # Two versions of OpenCV resize: from here on the same pixels.
    assert np.abs(other.blobs["data"].data - net.blobs["data"].data).max() <= 2 * options.scale
    other.blobs["data"].data[...] = net.blobs["data"].data
    other.forward(start=other._layer_names[1])
    for name in net.outputs:
        assert 0 < net.blobs[name].data < 100
        np.testing.assert_allclose(other.blobs[name].data, net.blobs[name].data, rtol=1e-5, err_msg=name)
    found, wanted = gradients(other), gradients(net)
    assert found.keys() == wanted.keys()
    for name, gradient in wanted.items():
        assert gradient.any() or "/bn " in name, name
        limit = precision * np.abs(gradient).max()
        np.testing.assert_allclose(found[name], gradient, rtol=0, atol=limit, err_msg=name)
