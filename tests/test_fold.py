"""Folding BatchNorm and Scale: the same outputs, what is kept, what is left, what is refused."""

import itertools
import os
import re

import caffe
import numpy as np
import pytest
from caffe import layers as L
from caffe.proto import caffe_pb2
from google.protobuf import text_format

from prototxt import generate
from stal.caffe_net import FrameNet, read_prototxt, read_weights
from stal.errors import InputError
from stal.fold import fold
from tools import fold_bn

DEMO = os.path.join(generate.HERE, "deploy_demo.prototxt")
TRAIN = os.path.join(generate.HERE, "train_demo.prototxt")


def write(folder, net, name="net.prototxt"):
    """Writes a net, a message or its text; returns the path."""
    path = folder / name
    path.write_text(net if isinstance(net, str) else str(net))
    return path


def some_inputs(net, batch, seed):
    """Normal numbers for each input of a net, and joints that make boxes."""
    generator = np.random.default_rng(seed)
    result = {}
    for name in net.inputs:
        shape = (batch, *net.blobs[name].shape[1:])
        values = generator.normal(size=shape)
        if name == "joints":
            values = generator.uniform(2, 30, shape)
        result[name] = values.astype(np.float32)
    return result


def forward(net, inputs):
    """Runs a net on inputs of any batch; returns copies of its outputs."""
    for name, values in inputs.items():
        net.blobs[name].reshape(*values.shape)
    net.reshape()
    return {name: values.copy() for name, values in net.forward(**inputs).items()}


def random_weights(path, seed=1, count=999.3):
    """Writes weights beside a net, with statistics near those of its own activations; returns the path.

    Near them, so that no blob dies out on the way and the outputs depend on the inputs.

    Args:
        count: BatchNorm's third blob, by which its statistics are divided.
    """
    caffe.set_random_seed(seed)
    generator = np.random.default_rng(seed)
    net = caffe.Net(str(path), caffe.TRAIN)
    kinds = {layer.name: layer.type for layer in read_prototxt(path).layer}
    for name, blobs in net.params.items():
        if kinds[name] == "Scale":
            blobs[0].data[...] = generator.uniform(0.5, 1.5, blobs[0].data.shape)
        elif kinds[name] == "InnerProduct":  # stan_fc begins near 0
            blobs[0].data[...] = generator.normal(0, blobs[0].data.shape[1] ** -0.5, blobs[0].data.shape)
        for blob in list(blobs)[1:] if kinds[name] != "BatchNorm" else ():
            blob.data[...] = generator.normal(0, 0.2, blob.data.shape)
    forward(net, some_inputs(net, 2, seed))  # BatchNorm takes the batch's statistics
    for name, blobs in net.params.items():
        if kinds[name] == "BatchNorm":
            mean, variance, total = (blob.data for blob in blobs)
            if total[0] == 0:  # one that never looks at the batch
                variance[...] = 1
            deviation = np.sqrt(variance)
            mean[...] = (mean + deviation * generator.normal(0, 0.2, mean.shape)) * (count or 1)
            variance[...] *= generator.uniform(0.7, 1.4, variance.shape) * (count or 1)
            total[...] = count
    weights = path.with_suffix(".caffemodel")
    net.save(str(weights))
    return weights


def fold_files(net, weights):
    """Folds by the program; returns the paths it wrote."""
    folder = net.parent / "out"
    out = folder / "folded.prototxt", folder / "folded.caffemodel"
    fold_bn.main(["--net", str(net), "--weights", str(weights), "--out-net", str(out[0]), "--out-weights", str(out[1])])
    return out


def check_same(net, weights, folded_net, folded_weights, batch=2):
    """Every output blob of both nets, within 1e-4 of its largest value; returns those before folding."""
    before, after = (caffe.Net(str(path), caffe.TEST, weights=str(file))
                     for path, file in ((net, weights), (folded_net, folded_weights)))
    inputs = some_inputs(before, batch, seed=7)
    wanted, found = forward(before, inputs), forward(after, inputs)
    assert wanted.keys() == found.keys()
    for name, values in wanted.items():
        assert np.isfinite(values).all() and np.abs(values).max() > 0
        assert np.abs(found[name] - values).max() <= 1e-4 * np.abs(values).max(), name
    return wanted


def types(path):
    return [layer.type for layer in read_prototxt(path).layer]


# Small nets.

def small(kind="Convolution", group=1, bias=False, in_place=True, scale=True, scale_in_place=False):
    """Input, convolution, BatchNorm, Scale (with bias, without, or None: none at all), ReLU and a second convolution."""
    net = caffe.NetSpec()
    net.data = L.Input(shape=dict(dim=[2, 4, 6, 5]))
    net.conv = getattr(L, kind)(net.data, convolution_param=dict(
        num_output=6, kernel_size=3, group=group, bias_term=bias, weight_filler=dict(type="xavier")))
    net.bn = L.BatchNorm(net.conv, in_place=in_place, eps=1e-3)
    if scale is not None:
        net.sc = L.Scale(net.bn, bias_term=scale, in_place=scale_in_place)
    net.relu = L.ReLU(net.bn if scale is None else net.sc, in_place=True)
    net.out = L.Convolution(net.relu, num_output=3, kernel_size=1, weight_filler=dict(type="xavier"))
    return net.to_proto()


@pytest.mark.parametrize("kind, group, bias, in_place, scale", list(itertools.product(
    ("Convolution", "Deconvolution"), (1, 2), (False, True), (False, True), (None, False, True))))
def test_small_nets_give_the_same(tmp_path, kind, group, bias, in_place, scale):
    net = write(tmp_path, small(kind, group, bias, in_place, scale))
    weights = random_weights(net)
    folded, folded_weights = fold_files(net, weights)
    assert types(folded) == ["Input", kind, "ReLU", "Convolution"]
    conv, relu = list(read_prototxt(folded).layer)[1:3]
    assert list(conv.top) == list(relu.bottom) == list(read_prototxt(net).layer[-2].bottom)
    assert conv.convolution_param.bias_term
    check_same(net, weights, folded, folded_weights)


@pytest.mark.parametrize("count", [0, 1, 999.3])
def test_statistics_are_divided_by_the_third_blob(tmp_path, count):
    net = write(tmp_path, small())
    weights = random_weights(net, count=count)
    check_same(net, weights, *fold_files(net, weights))


def test_all_in_place_and_depthwise(tmp_path):
    proto = small(in_place=True, scale_in_place=True)
    proto.layer[1].convolution_param.num_output = proto.layer[1].convolution_param.group = 4
    net = write(tmp_path, proto)
    weights = random_weights(net)
    folded, folded_weights = fold_files(net, weights)
    assert types(folded) == ["Input", "Convolution", "ReLU", "Convolution"]
    check_same(net, weights, folded, folded_weights)


RESNET = """
name: "ResNet" input: "data" input_dim: 2 input_dim: 3 input_dim: 9 input_dim: 9
layer { bottom: "data" top: "conv1" name: "conv1" type: "Convolution"
  convolution_param { num_output: 8 kernel_size: 3 pad: 1 stride: 2 weight_filler { type: "xavier" } } }
layer { bottom: "conv1" top: "conv1" name: "bn_conv1" type: "BatchNorm" batch_norm_param { use_global_stats: true } }
layer { bottom: "conv1" top: "conv1" name: "scale_conv1" type: "Scale" scale_param { bias_term: true } }
layer { bottom: "conv1" top: "conv1" name: "conv1_relu" type: "ReLU" }
layer { bottom: "conv1" top: "res2a_branch1" name: "res2a_branch1" type: "Convolution"
  convolution_param { num_output: 8 kernel_size: 1 bias_term: false weight_filler { type: "xavier" } } }
layer { bottom: "res2a_branch1" top: "res2a_branch1" name: "bn2a_branch1" type: "BatchNorm"
  batch_norm_param { use_global_stats: true } }
layer { bottom: "res2a_branch1" top: "res2a_branch1" name: "scale2a_branch1" type: "Scale" scale_param { bias_term: true } }
layer { bottom: "res2a_branch1" bottom: "conv1" top: "res2a" name: "res2a" type: "Eltwise" }
layer { bottom: "res2a" top: "res2a" name: "res2a_relu" type: "ReLU" }
"""


def test_resnet(tmp_path):
    net = write(tmp_path, RESNET)
    weights = random_weights(net)
    folded, folded_weights = fold_files(net, weights)
    assert [layer.name for layer in read_prototxt(folded).layer] == [
        "conv1", "conv1_relu", "res2a_branch1", "res2a", "res2a_relu"]
    check_same(net, weights, folded, folded_weights)


def test_weights_of_other_forms(tmp_path):
    """Shapes in four fields, numbers in double, and layers that carry nothing but name and blobs."""
    net = write(tmp_path, small("Deconvolution", group=2, bias=True))
    weights = random_weights(net)
    old = read_weights(weights)
    for layer in old.layer:
        for field in ("type", "bottom", "top", "convolution_param", "scale_param", "batch_norm_param", "param"):
            layer.ClearField(field)
        for blob in layer.blobs:
            shape = [1] * 4
            shape[4 - len(blob.shape.dim):] = blob.shape.dim
            blob.ClearField("shape")
            blob.num, blob.channels, blob.height, blob.width = shape
            blob.double_data.extend(blob.data)
            blob.ClearField("data")
    path = tmp_path / "old.caffemodel"
    path.write_bytes(old.SerializeToString())
    check_same(net, weights, *fold_files(net, path))


# What is left as it is.

INPUT = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 4 dim: 6 dim: 6 } } }'
HEAD = INPUT + """
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 6 kernel_size: 1 weight_filler { type: "xavier" } } }
"""
BN = 'layer { name: "bn" type: "BatchNorm" bottom: "conv" top: "conv" %s }'
SCALE = 'layer { name: "sc" type: "Scale" bottom: "conv" top: "sc" scale_param { bias_term: true %s } }'
OTHER_BN = (BN % "").replace('top: "conv"', 'top: "bn"')
OTHER_SCALE = (SCALE % "").replace('bottom: "conv"', 'bottom: "bn"')
POOL = 'layer { name: "pool" type: "Pooling" bottom: "conv" top: "pool" pooling_param { kernel_size: 2 } }'
RELU = 'layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }'
SHARED = HEAD.replace('top: "conv"', 'top: "conv" param { name: "w" }') + """
layer { name: "conv_b" type: "Convolution" bottom: "data" top: "conv_b" param { name: "w" }
  convolution_param { num_output: 6 kernel_size: 1 } }"""


@pytest.mark.parametrize("text, left", [
    (INPUT + (BN % "").replace("conv", "data") + (SCALE % "").replace("conv", "data"),
     {"bn": "it reads data of the Input data, which is no convolution",
      "sc": "it reads data of the BatchNorm bn, which is left"}),
    (HEAD + RELU + BN % "" + SCALE % "", {"bn": "it reads conv of the ReLU relu, which is no convolution",
                                          "sc": "it reads conv of the BatchNorm bn, which is left"}),
    (HEAD + POOL + OTHER_BN + OTHER_SCALE, {"bn": "conv is read by pool too",
                                            "sc": "it reads bn of the BatchNorm bn, which is left"}),
    (HEAD + OTHER_BN + OTHER_SCALE + POOL, {"bn": "conv is read by pool too",
                                            "sc": "it reads bn of the BatchNorm bn, which is left"}),
    (HEAD + BN % "" + POOL + SCALE % "", {"sc": "conv is read by pool too"}),
    (HEAD + BN % "" + SCALE % "" + POOL, {"sc": "conv is read by pool too"}),
    (HEAD + BN % "batch_norm_param { use_global_stats: false }" + SCALE % "",
     {"bn": "its use_global_stats is false, so it uses the batch's statistics",
      "sc": "it reads conv of the BatchNorm bn, which is left"}),
    (HEAD + BN % "" + SCALE % "axis: 2", {"sc": "its axis 2 and num_axes 1 are not the channels' 1 and 1"}),
    (HEAD + BN % "" + SCALE % "num_axes: 2", {"sc": "its axis 1 and num_axes 2 are not the channels' 1 and 1"}),
    (HEAD + BN % "" + SCALE % "num_axes: 0", {"sc": "its axis 1 and num_axes 0 are not the channels' 1 and 1"}),
    (HEAD + BN % "" + SCALE % "axis: -3", {}),
    (HEAD + SCALE % "", {}),
    (HEAD + 'layer { name: "sc" type: "Scale" bottom: "conv" bottom: "conv" top: "sc" scale_param { axis: 0 } }',
     {"sc": "it has more than one bottom or top"}),
    (SHARED + BN % "" + SCALE % "",
     {"bn": "it reads conv of the Convolution conv, and of that one: its weights are shared with another layer",
      "sc": "it reads conv of the BatchNorm bn, which is left"}),
    (HEAD.replace("{ num_output", '{ axis: 2 num_output') + SCALE % "",
     {"sc": "it reads conv of the Convolution conv, and of that one: its channels are not on axis 1"}),
    ('input: "data" input_dim: 2 input_dim: 4 input_dim: 6 input_dim: 6 ' + (BN % "").replace("conv", "data"),
     {"bn": "it reads data, an input of the net"}),
], ids=lambda value: "left " + " ".join(value) if isinstance(value, dict) else "net")
def test_what_cannot_be_folded_is_listed_and_left(tmp_path, capsys, text, left):
    net = write(tmp_path, text)
    weights = random_weights(net)
    folded, folded_weights = fold_files(net, weights)
    assert dict(re.findall(r"^left: (\S+), (.*)$", capsys.readouterr().out, re.M)) == left
    kept = [layer.name for layer in read_prototxt(folded).layer if layer.type in ("BatchNorm", "Scale")]
    assert kept == list(left)
    check_same(net, weights, folded, folded_weights)


# The demo's net.

@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """deploy_demo.prototxt, its weights in a file as caffe train writes it, and what the program makes of them."""
    net = write(tmp_path_factory.mktemp("demo"), open(DEMO).read())
    weights = random_weights(net)
    whole, train = read_weights(weights), read_prototxt(TRAIN)
    whole.layer.add().CopyFrom(next(layer for layer in train.layer if layer.type == "VideoTripletData"))
    whole.layer.add(name="classifier_global", type="InnerProduct").blobs.add(data=[1, 2], shape=dict(dim=[1, 2]))
    weights.write_bytes(whole.SerializeToString())
    return net, weights, *fold_files(net, weights)


def test_the_demo_net_gives_the_same(demo):
    outputs = check_same(*demo, batch=3)
    assert sorted(outputs) == ["global", *(f"part{r}" for r in range(1, 7)), "scores"]
    for values in outputs.values():  # they depend on the frame
        assert np.abs(values[0] - values[1]).max() > 0.01 * np.abs(values).max()


def test_all_other_layers_stay_byte_for_byte(demo):
    net, weights, *folded = demo
    for read, old_path, new_path in ((read_prototxt, net, folded[0]), (read_weights, weights, folded[1])):
        before, after = read(old_path), read(new_path)
        wanted = [layer for layer in before.layer if layer.type not in ("BatchNorm", "Scale")
                  and layer.name != "classifier_global"]
        assert [layer.name for layer in after.layer] == [layer.name for layer in wanted]
        changed = [new for old, new in zip(wanted, after.layer) if old.SerializeToString() != new.SerializeToString()]
        assert [layer.name for layer in changed] == [
            layer.name for layer in wanted if not layer.convolution_param.bias_term]
        assert all(layer.convolution_param.bias_term and list(layer.top) == [f"{layer.name}/bn/sc"] for layer in changed)
        del before.layer[:], after.layer[:]
        assert before == after


def test_the_training_recipe_survives(demo):
    assert FrameNet(*demo[2:]).recipe == FrameNet(*demo[:2]).recipe != FrameNet(*demo[2:]).recipe._replace(scale=1.0)


def test_what_the_program_prints(demo, capsys):
    net, weights = demo[:2]
    count = sum(blob.data.size for blobs in caffe.Net(str(net), caffe.TEST).params.values() for blob in blobs)
    folded = fold_files(net, weights)[0]
    lines = capsys.readouterr().out.splitlines()
    after = sum(blob.data.size for blobs in caffe.Net(str(folded), caffe.TEST).params.values() for blob in blobs)
    assert lines[0] == "folded into conv1/7x7_s2: conv1/7x7_s2/bn, conv1/7x7_s2/bn/sc"
    assert "folded into deconv: deconv/bn, deconv/bn/sc" in lines
    assert lines[-3] == "left out of the weights: 1 layers that the net does not have, classifier_global for one"
    assert lines[-2] == f"116 layers folded into 58 convolutions, 0 left; {count} parameters before, {after} after"


def test_folding_twice_changes_nothing_and_is_repeatable(demo, tmp_path):
    again = tmp_path / "net.prototxt", tmp_path / "net.caffemodel"
    fold_bn.main([word for pair in zip(("--net", "--weights", "--out-net", "--out-weights"), map(str, (*demo[2:], *again)))
                  for word in pair])
    assert [path.read_bytes() for path in again] == [path.read_bytes() for path in demo[2:]]


# Refusals.

def messages():
    """A small net and its weights as messages."""
    weights = caffe_pb2.NetParameter()
    for name, shapes in (("conv", [(6, 4, 3, 3)]), ("bn", [(6,), (6,), (1,)]), ("sc", [(6,), (6,)]),
                         ("out", [(3, 6, 1, 1), (3,)])):
        layer = weights.layer.add(name=name)
        for shape in shapes:
            layer.blobs.add(shape=dict(dim=shape), data=[1] * int(np.prod(shape)))
    return small(), weights


def layer_of(message, name):
    return next(layer for layer in message.layer if layer.name == name)


def refused(net, weights, sentence):
    with pytest.raises(InputError, match=sentence):
        fold(net, weights, "net.prototxt", "net.caffemodel")


def test_the_messages_fold():
    assert fold(*messages(), "net.prototxt", "net.caffemodel").folded == [("conv", ["bn", "sc"])]


def test_weights_of_another_net_are_refused():
    net, weights = messages()
    layer_of(weights, "sc").name = "other"
    refused(net, weights, "^net.caffemodel is not for the net net.prototxt: it has no weights for 1 of its 4 layers, "
                          "sc for one$")
    for name, shapes in (("conv", [(5, 4, 3, 3)]), ("conv", [(6, 4, 3, 3), (6,)]), ("conv", [(6,)]), ("bn", [(6,), (6,)]),
                         ("bn", [(6,), (6,), (2,)]), ("bn", [(6,), (5,), (1,)]), ("sc", [(6,)]), ("out", [(3, 6, 1, 1)])):
        net, weights = messages()
        layer = layer_of(weights, name)
        del layer.blobs[:]
        for shape in shapes:
            layer.blobs.add(shape=dict(dim=shape), data=[1] * int(np.prod(shape)))
        refused(net, weights, f"^net.caffemodel is not for the net net.prototxt: layer {name} has parameters ")


def test_layers_for_other_channels_are_refused():
    for name, shape in (("bn", 5), ("sc", 7)):
        net, weights = messages()
        for blob in list(layer_of(weights, name).blobs)[:2]:
            blob.CopyFrom(caffe_pb2.BlobProto(shape=dict(dim=[shape]), data=[1] * shape))
        refused(net, weights, f"layer {name} has {shape} channels and conv in front of it 6; give the weights of this net$")


def test_damaged_weights_are_refused():
    for value in (-1, np.nan):
        net, weights = messages()
        layer_of(weights, "bn").blobs[1].data[3] = value
        refused(net, weights, "^net.caffemodel has a variance in layer bn that is negative or no number")
    net, weights = messages()
    layer_of(weights, "bn").blobs[1].data.pop()
    refused(net, weights, "^net.caffemodel is damaged in layer bn")


def test_nets_that_are_not_for_deployment_are_refused():
    refused(read_prototxt(TRAIN), messages()[1], "^net.prototxt has no input, so it is for training: give a deploy net")
    net, weights = messages()
    net.layer[-1].include.add(phase=caffe_pb2.TEST)
    refused(net, weights, "^net.prototxt is for training too, its layer out is not in every phase")
    net, weights = messages()
    net.layer[-1].name = "bn"
    refused(net, weights, "^net.prototxt has 2 layers bn, and weights are found by name")
    refused(text_format.Parse('input: "data" layers { name: "old" }', caffe_pb2.NetParameter()), weights,
            "^net.prototxt has no layers, or those of Caffe before 2014: upgrade_net_proto_text rewrites it$")


def test_nothing_is_written_on_a_refusal(tmp_path):
    net = write(tmp_path, small())
    weights = random_weights(write(tmp_path, small(scale=None), "other.prototxt"))
    for name, sentence in ((net, "is not for the net"), (tmp_path / "nothing.prototxt", "cannot read the net")):
        with pytest.raises(InputError, match=sentence):
            fold_files(name, weights)
    assert not (tmp_path / "out").exists()


def test_no_file_is_given_twice(tmp_path):
    net = write(tmp_path, small())
    weights = random_weights(net)
    before = weights.read_bytes()
    for outs, sentence in (((tmp_path / "a", weights), "net.caffemodel is given twice"),
                           ((net, tmp_path / "a"), "net.prototxt is given twice"),
                           ((tmp_path / "a", tmp_path / "a"), "a is given twice"),
                           ((tmp_path / "a", tmp_path), "is a folder: give the file to write")):
        with pytest.raises(InputError, match=sentence):
            fold_bn.main(["--net", str(net), "--weights", str(weights), "--out-net", str(outs[0]),
                          "--out-weights", str(outs[1])])
    assert weights.read_bytes() == before and not (tmp_path / "a").exists()
