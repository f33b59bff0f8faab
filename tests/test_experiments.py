"""Every experiment that the program can write: it loads, trains one iteration, and its net for deployment takes the weights.

The full nets are checked against golden files of their parameters' shapes, the demo's of each variant are run.
"""

import json
import os
from dataclasses import replace

import caffe
import numpy as np
import pytest
from caffe.proto import caffe_pb2

from data_prep import ilids_vid, synthetic
from prototxt import experiments, generate
from prototxt.experiments import COMMITTED, DATASETS, POSE, VARIANTS, demo, experiment
from stal.errors import InputError

GOLDEN = os.path.join(os.path.dirname(__file__), "golden", "parameters.json")
FULL = [name for name in COMMITTED if "demo" not in name]


def fed_by_hand(proto, videos):
    """The net with Input layers instead of VideoTripletData, one frame a video."""
    proto = caffe_pb2.NetParameter.FromString(proto.SerializeToString())
    data = proto.layer[0]
    param = data.video_triplet_data_param
    shapes = {"data": (videos, 3, param.new_height, param.new_width), "label": (videos,)}
    inputs = caffe_pb2.LayerParameter(name="data", type="Input", top=data.top)
    for top in data.top:
        inputs.input_param.shape.add(dim=shapes.get(top, (videos, 14, 3)))
    data.CopyFrom(inputs)
    return proto


def parameters(name, path):
    """{layer: shapes} of an experiment's net for training, and under "" the number of parameters."""
    found = experiment(name)
    videos = found.options.batch_identities * found.options.videos or 3
    path.write_text(str(fed_by_hand(generate.KINDS[found.kind].train_net(replace(found.options, frames=1)), videos)))
    net = caffe.Net(str(path), caffe.TRAIN)
    shapes = {layer: [list(blob.data.shape) for blob in blobs] for layer, blobs in net.params.items()}
    return {"": sum(int(np.prod(shape)) for blobs in shapes.values() for shape in blobs), **shapes}


@pytest.mark.parametrize("name", FULL)
def test_parameters_are_those_of_the_golden_file(name, tmp_path):
    """Write tests/golden/parameters.json anew: ``GLOG_minloglevel=2 python -m tests.test_experiments``; read its diff."""
    with open(GOLDEN) as stream:
        golden = json.load(stream)
    assert sorted(golden) == sorted(FULL)
    assert parameters(name, tmp_path / "net.prototxt") == golden[name]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A prepared synthetic set of 8 persons, 4 of them for training."""
    root = tmp_path_factory.mktemp("data")
    synthetic.main(["--root", str(root), "--identities", "8", "--length", "3", "4", "--workers", "1"])
    ilids_vid.main(["--root", str(root)])
    return str(root)


SMALL = dict(identities=4, frames=2)


def demo_of(variant, data):
    """A variant of the demo for the set of 4 persons; with the prior's triplets where its losses need them."""
    return demo(variant, data=data, batch_identities=0 if variant == "qan" else 3,
                **(dict(triplets="ORDERED") if variant == "qan" else {}), **SMALL)


def run(proto, path):
    """The net after one forward and backward pass."""
    path.write_text(str(proto))
    net = caffe.Net(str(path), caffe.TRAIN)
    net.forward()
    net.clear_param_diffs()
    net.backward()
    return net


def check_losses_and_gradients(net, dead=()):
    """Every loss is finite and above 0, every parameter but BatchNorm's and those of ``dead`` layers gets a gradient."""
    for name in net.outputs:
        assert np.isfinite(net.blobs[name].data).all() and (net.blobs[name].data > 0).all(), name
    types = dict(zip(net._layer_names, (layer.type for layer in net.layers)))
    for name, blobs in net.params.items():
        for blob in blobs:
            assert np.isfinite(blob.diff).all(), name
        if types[name] != "BatchNorm":
            assert blobs[0].diff.any() == (not name.startswith(tuple(dead))), name


def check_deployment(found, net, path):
    """The net for deployment finds all its parameters in the trained net and gives finite outputs."""
    net.save(str(path / "weights.caffemodel"))
    deploy = path / "deploy.prototxt"
    deploy.write_text(str(generate.KINDS[found.kind].deploy_net(found.options)))
    other = caffe.Net(str(deploy), caffe.TEST)
    assert set(other.params) <= set(net.params)
    other.copy_from(str(path / "weights.caffemodel"))
    for name, blob in other.blobs.items():
        if name == "joints" and "joints" in other.inputs:
            blob.data[...] = np.random.default_rng(0).uniform(0, 32, blob.data.shape)
    other.blobs["data"].data[...] = np.random.default_rng(0).normal(size=other.blobs["data"].data.shape)
    other.forward()
    for name in other.outputs:
        assert np.isfinite(other.blobs[name].data).all(), name
    return other


POSE_NET = ("conv", "new_conv", "Mconv")  # with _stage behind


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_variant_trains_one_iteration_and_deploys(variant, data, tmp_path):
    caffe.set_random_seed(1)
    found = demo_of(variant, data)
    net = run(generate.KINDS[found.kind].train_net(found.options), tmp_path / "train.prototxt")
    # Arg-max passes nothing on: as printed, the pose net stays what it was.
    dead = [name for name in net.params if "_stage" in name] if variant == "pose_argmax" else []
    assert bool(dead) == (variant == "pose_argmax")
    if variant == "pose_soft":
        assert [name for name in net.params if "_stage" in name]
    check_losses_and_gradients(net, dead)
    other = check_deployment(found, net, tmp_path)
    if found.options.global_embedding:
        assert other.blobs["global"].data.shape[1] == found.options.global_embedding
    if found.options.local_embedding:
        assert other.blobs["part6"].data.shape[1] == found.options.local_embedding


def test_the_pose_net_trains_one_iteration_and_deploys(data, tmp_path):
    caffe.set_random_seed(1)
    found = POSE["pose_demo"]
    found = replace(found, options=replace(found.options, data=data, identities=0, batch_identities=4))
    net = run(generate.KINDS["pose"].train_net(found.options), tmp_path / "train.prototxt")
    check_losses_and_gradients(net)
    assert check_deployment(found, net, tmp_path).blobs["joints"].data.shape == (1, 14, 3)


def test_the_table_of_experiments_is_in_the_readme(capsys):
    with open(os.path.join(generate.HERE, "README.md")) as stream:
        assert generate.table() in stream.read()
    generate.main(["--list"])
    assert generate.table() in capsys.readouterr().out


def test_names():
    assert len(set(experiments.names())) == len(experiments.names()) == len(DATASETS) * len(VARIANTS) + len(POSE)
    assert set(COMMITTED) <= set(experiments.names())
    for wrong in ("viper", "ilids_", "ilids_no_such", "_pgb", "pose", ""):
        with pytest.raises(InputError, match="there is no experiment"):
            experiment(wrong)


@pytest.mark.parametrize("variant", VARIANTS)
def test_variants_that_share_a_net_for_deployment_do_so_rightly(variant):
    """Each variant's net for deployment is the one its file is written from."""
    found = experiment("_".join(filter(None, ("ilids", variant))))
    sharing = [name for name in COMMITTED if experiment(name).deploy == found.deploy]
    for name in sharing:
        theirs = experiment(name)
        one, other = (str(generate.KINDS[each.kind].deploy_net(replace(each.options, name="")))
                      for each in (found, theirs))
        assert one == other


if __name__ == "__main__":
    import pathlib
    import tempfile
    with tempfile.TemporaryDirectory() as folder, open(GOLDEN, "w") as written:
        json.dump({name: parameters(name, pathlib.Path(folder) / "net.prototxt") for name in FULL}, written,
                  sort_keys=True, separators=(",", ":"))
        written.write("\n")
