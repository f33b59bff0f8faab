"""data_prep/pretrained/state_dicts.py: PyTorch's arithmetic, written out here, against Caffe's layers with the blobs."""

from pathlib import Path

import caffe
import numpy as np
import pytest

from data_prep import weights
from data_prep.pretrained import caffemodel, net_shapes, state_dicts
from stal.errors import InputError

ROOT = Path(__file__).parents[1]
RNG = np.random.default_rng(3)


def batch_norm(name, channels):
    return {f"{name}.weight": RNG.uniform(0.5, 2, channels), f"{name}.bias": RNG.normal(size=channels),
            f"{name}.running_mean": RNG.normal(size=channels), f"{name}.running_var": RNG.uniform(0.5, 2, channels),
            f"{name}.num_batches_tracked": np.array(5)}


def resnet50():
    """A state dict with torchvision's names and a sixteenth of its widths."""
    state = {"conv1.weight": RNG.normal(size=(4, 3, 7, 7)), **batch_norm("bn1", 4),
             "fc.weight": RNG.normal(size=(10, 128)), "fc.bias": RNG.normal(size=10)}
    bottom = 4
    for stage, (blocks, width) in enumerate(zip((3, 4, 6, 3), (4, 8, 16, 32)), start=1):
        for block in range(blocks):
            name = f"layer{stage}.{block}"
            shapes = [(width, bottom, 1, 1), (width, width, 3, 3), (4 * width, width, 1, 1)]
            for number, shape in enumerate(shapes, start=1):
                state[f"{name}.conv{number}.weight"] = RNG.normal(size=shape)
                state.update(batch_norm(f"{name}.bn{number}", shape[0]))
            if block == 0:
                state[f"{name}.downsample.0.weight"] = RNG.normal(size=(4 * width, bottom, 1, 1))
                state.update(batch_norm(f"{name}.downsample.1", 4 * width))
            bottom = 4 * width
    return state


BRANCHES = ("1x1", "3x3_reduce", "3x3", "double_3x3_reduce", "double_3x3_1", "double_3x3_2", "pool_proj")


def bninception():
    """A state dict with the names of PyTorch's bninception and two channels everywhere."""
    names = ["conv1_7x7_s2", "conv2_3x3_reduce", "conv2_3x3"]
    names += [f"inception_{block}_{branch}" for block in ("3a", "3b", "3c", "4a", "4b", "4c", "4d", "4e", "5a", "5b")
              for branch in BRANCHES if block not in ("3c", "4e") or branch not in ("1x1", "pool_proj")]
    state = {"last_linear.weight": RNG.normal(size=(10, 2)), "last_linear.bias": RNG.normal(size=10)}
    for name in names:
        size = 7 if "7x7" in name else 1
        state[f"{name}.weight"], state[f"{name}.bias"] = RNG.normal(size=(2, 3, size, size)), RNG.normal(size=2)
        state.update(batch_norm(f"{name}_bn", 2))
    return state


def torch_conv_bn(x, state, conv, bn):
    """A convolution at one place, ``x`` of the kernel's size, and batch_norm with eps 1e-5."""
    y = np.einsum("ncij,ocij->no", x, state[f"{conv}.weight"]) + state.get(f"{conv}.bias", 0)
    y = (y - state[f"{bn}.running_mean"].ravel()) / np.sqrt(state[f"{bn}.running_var"].ravel() + 1e-5)
    return y * state[f"{bn}.weight"].ravel() + state[f"{bn}.bias"].ravel()


def caffe_conv_bn(tmp_path, x, layers, names, bias):
    """The same by Caffe: the layers ``names`` (Convolution, BatchNorm, Scale) with converted blobs."""
    channels, kernel = len(layers[names[0]][1][0]), x.shape[-1]
    (tmp_path / "net.prototxt").write_text(f"""
        layer {{ name: "data" type: "Input" top: "x"
          input_param {{ shape {{ dim: {len(x)} dim: {x.shape[1]} dim: {kernel} dim: {kernel} }} }} }}
        layer {{ name: "{names[0]}" type: "Convolution" bottom: "x" top: "y"
          convolution_param {{ num_output: {channels} kernel_size: {kernel} bias_term: {bias} }} }}
        layer {{ name: "{names[1]}" type: "BatchNorm" bottom: "y" top: "y" }}
        layer {{ name: "{names[2]}" type: "Scale" bottom: "y" top: "y" scale_param {{ bias_term: true }} }}""")
    caffemodel.write(tmp_path / "w.caffemodel", "some", layers)
    net = caffe.Net(str(tmp_path / "net.prototxt"), caffe.TEST)
    net.copy_from(str(tmp_path / "w.caffemodel"))
    net.blobs["x"].data[...] = x
    return net.forward()["y"].reshape(len(x), channels)


def colours(*values):
    return np.reshape(values, (3, 1, 1))


def close(a, b):
    return np.abs(a - b).max() < 1e-4 * np.abs(b).max()


def test_resnet50_conv1_takes_bgr_less_the_mean(tmp_path):
    state = resnet50()
    layers, left = state_dicts.convert("torchvision-resnet50", state, "x.npz")
    frame = RNG.integers(0, 256, (2, 3, 7, 7)).astype(np.float64)  # B, G, R
    rgb = (frame[:, ::-1] / 255 - colours(0.485, 0.456, 0.406)) / colours(0.229, 0.224, 0.225)
    mean = state_dicts.KINDS["torchvision-resnet50"].mean
    found = caffe_conv_bn(tmp_path, frame - colours(*mean), layers, ["conv1", "bn_conv1", "scale_conv1"], "true")
    assert close(found, torch_conv_bn(rgb, state, "conv1", "bn1"))
    assert mean == (103.53, 116.28, 123.675)
    assert [key for key in left if "num_batches" not in key] == ["fc.bias", "fc.weight"]


@pytest.mark.parametrize("theirs, ours", [("layer1.0.conv1 layer1.0.bn1", "2a_branch2a"),
                                          ("layer3.5.conv2 layer3.5.bn2", "4f_branch2b"),
                                          ("layer4.0.downsample.0 layer4.0.downsample.1", "5a_branch1"),
                                          ("layer2.3.conv3 layer2.3.bn3", "3d_branch2c")])
def test_resnet50_blocks(tmp_path, theirs, ours):
    state = resnet50()
    layers, _ = state_dicts.convert("torchvision-resnet50", state, "x.npz")
    conv, bn = theirs.split()
    x = RNG.normal(size=(2, *state[f"{conv}.weight"].shape[1:]))
    found = caffe_conv_bn(tmp_path, x, layers, [f"{kind}{ours}" for kind in ("res", "bn", "scale")], "false")
    assert close(found, torch_conv_bn(x, state, conv, bn))


@pytest.mark.parametrize("theirs, ours", [("conv1_7x7_s2", "conv1/7x7_s2"), ("conv2_3x3_reduce", "conv2/3x3_reduce"),
                                          ("inception_4c_pool_proj", "inception_4c/pool_proj"),
                                          ("inception_3c_double_3x3_1", "inception_3c/double3x3a"),
                                          ("inception_5b_double_3x3_2", "inception_5b/double3x3b"),
                                          ("inception_4e_double_3x3_reduce", "inception_4e/double3x3_reduce")])
def test_bninception_layers_with_the_bias_in_the_mean(tmp_path, theirs, ours):
    state = bninception()
    layers, left = state_dicts.convert("pytorch-bninception", state, "x.npz")
    x = RNG.normal(size=(2, *state[f"{theirs}.weight"].shape[1:]))
    found = caffe_conv_bn(tmp_path, x, layers, [ours, f"{ours}/bn", f"{ours}/bn/sc"], "false")
    assert close(found, torch_conv_bn(x, state, theirs, f"{theirs}_bn"))
    assert [key for key in left if "num_batches" not in key] == ["last_linear.bias", "last_linear.weight"]


def test_rows_are_taken_for_vectors():
    """As in the file that temporal segment networks' authors gave out."""
    state = bninception()
    wanted, _ = state_dicts.convert("pytorch-bninception", state, "x.npz")
    rows = {key: array.reshape(1, -1) if "_bn." in key and array.size > 1 else array for key, array in state.items()}
    found, _ = state_dicts.convert("pytorch-bninception", rows, "x.npz")
    assert all(np.array_equal(a, b) for name in wanted for a, b in zip(wanted[name][1], found[name][1], strict=True))


def test_the_names_are_those_of_the_nets():
    """All of the trunk's layers in the net for training, no more and no less."""
    net = net_shapes.read(ROOT / "prototxt/train_demo.prototxt")
    layers, _ = state_dicts.convert("pytorch-bninception", bninception(), "x.npz")
    kept = {name: kind for name, kind in net.types.items()
            if name in net.params and (name.startswith(("conv1/", "conv2/", "inception_")) and "_part" not in name)}
    assert kept and {name: layers[name][0] for name in kept} == kept
    layers, _ = state_dicts.convert("torchvision-resnet50", resnet50(), "x.npz")
    convolutions = [name for name, (kind, _) in layers.items() if kind == "Convolution"]
    assert len(convolutions) == 53 and len(layers) == 3 * 53


@pytest.mark.parametrize("kind, state", [("torchvision-resnet50", resnet50()), ("pytorch-bninception", bninception())])
def test_wrong_state_dicts_are_refused(kind, state):
    def refused(sentence, **changes):
        changed = {key: array for key, array in {**state, **changes}.items() if array is not None}
        with pytest.raises(InputError, match=sentence):
            state_dicts.convert(kind, changed, "x.npz")

    conv = next(key for key in state if key.endswith(".weight") and state[key].ndim == 4)
    mean = next(key for key in state if key.endswith("running_mean"))
    refused(f"x.npz has no array {mean}", **{mean: None})
    refused(f"x.npz is no {kind}: it also has 1 arrays that such a net has not, layer3.6.conv1.weight",
            **{"layer3.6.conv1.weight": np.zeros((1, 1, 1, 1))})
    refused(f"x.npz has 9 numbers in {mean}", **{mean: np.zeros(9)})
    refused("no convolution's", **{conv: np.zeros(9)})


def test_the_command_says_for_which_net_and_frames(tmp_path, capsys):
    np.savez(tmp_path / "s.npz", **resnet50())
    weights.main(["convert", "--from", "torchvision-resnet50", str(tmp_path / "s.npz"), str(tmp_path / "w")])
    out = capsys.readouterr().out
    assert "159 layers; left out: fc.bias, fc.weight\nFor the net resnet50_torchvision (" in out
    assert "less the mean 103.53 116.28 123.675, scale 1" in out and "num_batches" not in out
    assert caffemodel.read(tmp_path / "w")["conv1"].blobs[1].tolist() == [0] * 4


def test_another_number_of_colours_is_refused():
    with pytest.raises(InputError, match="a network for 1 colours"):
        state_dicts.convert("torchvision-resnet50", {**resnet50(), "conv1.weight": np.zeros((4, 1, 7, 7))}, "x.npz")
