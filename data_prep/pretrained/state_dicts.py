"""PyTorch state dicts turned into blobs for the nets of prototxt/: He's ResNet-50 names, lim0606's Inception-BN names."""

import re
from typing import NamedTuple

import numpy as np

from stal.errors import InputError


class Kind(NamedTuple):
    """A kind of state dict."""

    convert: object   # state dict, path -> {layer: (type, blobs)}
    mean: tuple       # B, G, R of the frames 0..255, subtracted before the net
    net: str          # a key of registry.NETS
    note: str


# The inputs of torchvision's models: RGB, 0..1, normalised by these.
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def convert(kind, state, path):
    """Converts a state dict.

    Args:
        kind: a key of :data:`KINDS`.
        state: {key: array}; ``path`` names its file in sentences.
    Returns:
        {layer: (type, [arrays])} for caffemodel.write, and the keys that were left out (the classifier, counters).
    Raises:
        InputError: a key is missing, one of the trunk is left over, or arrays do not belong together.
    """
    taker = _Taker(state, path)
    layers = KINDS[kind].convert(taker)
    left = sorted(set(state) - taker.taken)
    odd = [key for key in left if not re.match(r"(fc|last_linear|fc_action)\.|.*\.num_batches_tracked$", key)]
    if odd:
        raise InputError(f"{path} is no {kind}: it also has {len(odd)} arrays that such a net has not, {odd[0]} for one")
    return layers, left


class _Taker:
    """Looks arrays up and remembers which."""

    def __init__(self, state, path):
        self.state, self.path, self.taken = state, path, set()

    def kernels(self, key):
        """A convolution's weights, (channels, channels of the input, height, width)."""
        array = self._take(key)
        if array.ndim != 4:
            raise InputError(f"{self.path} has an array of shape {array.shape} in {key}, which is no convolution's: dump it "
                             "again")
        return array

    def vector(self, key, size):
        """A number for each channel; some dumps have them as 1 x size."""
        array = self._take(key)
        if array.size != size:
            raise InputError(f"{self.path} has {array.size} numbers in {key} where its convolution has {size} channels: "
                             "dump it again")
        return array.reshape(size)

    def _take(self, key):
        if key not in self.state:
            raise InputError(f"{self.path} has no array {key}: give the state dict of the whole network")
        self.taken.add(key)
        return self.state[key].astype(np.float32)


def _bn_scale(take, bn, layer_bn, layer_scale, channels, bias=0.0):
    """BatchNorm's and Scale's blobs of a batch_norm; the convolution's ``bias`` moves into the mean.

    Both take 1e-5 as eps. BatchNorm's third blob divides the other two: 1.
    """
    mean = take.vector(f"{bn}.running_mean", channels) - bias
    return {layer_bn: ("BatchNorm", [mean, take.vector(f"{bn}.running_var", channels), np.ones(1, np.float32)]),
            layer_scale: ("Scale", [take.vector(f"{bn}.weight", channels), take.vector(f"{bn}.bias", channels)])}


def _resnet50(take):
    """torchvision's resnet50 (its layerS.B is He's stage S + 1, block B as a letter)."""
    weight = take.kernels("conv1.weight")
    if weight.shape[1] != 3:
        raise InputError(f"{take.path} is of a network for {weight.shape[1]} colours: give one for three")
    # ((rgb / 255 - mean) / std) * w = (bgr - 255 mean) * (w / (255 std)); a pad is 0 on both sides.
    weight = weight / (255 * np.array(_STD, np.float32)).reshape(1, 3, 1, 1)
    channels = len(weight)
    layers = {"conv1": ("Convolution", [weight[:, ::-1], np.zeros(channels, np.float32)]),  # He's conv1 has a bias
              **_bn_scale(take, "bn1", "bn_conv1", "scale_conv1", channels)}
    for stage, blocks in enumerate((3, 4, 6, 3), start=1):
        for block in range(blocks):
            pairs = [(f"conv{n}", f"bn{n}", f"branch2{letter}") for n, letter in ((1, "a"), (2, "b"), (3, "c"))]
            if block == 0:
                pairs.insert(0, ("downsample.0", "downsample.1", "branch1"))
            for conv, bn, branch in pairs:
                name, prefix = f"{stage + 1}{'abcdef'[block]}_{branch}", f"layer{stage}.{block}"
                weight = take.kernels(f"{prefix}.{conv}.weight")
                layers[f"res{name}"] = ("Convolution", [weight])
                layers.update(_bn_scale(take, f"{prefix}.{bn}", f"bn{name}", f"scale{name}", len(weight)))
    return layers


# A branch's name in the state dict -> in lim0606's net. 3c and 4e have no 1x1 and no pool_proj.
_BRANCHES = {"1x1": "1x1", "3x3_reduce": "3x3_reduce", "3x3": "3x3", "double_3x3_reduce": "double3x3_reduce",
             "double_3x3_1": "double3x3a", "double_3x3_2": "double3x3b", "pool_proj": "pool_proj"}
_BLOCKS = ("3a", "3b", "3c", "4a", "4b", "4c", "4d", "4e", "5a", "5b")


def _bninception(take):
    """PyTorch's port of temporal segment networks' bn_inception."""
    names = {"conv1_7x7_s2": "conv1/7x7_s2", "conv2_3x3_reduce": "conv2/3x3_reduce", "conv2_3x3": "conv2/3x3"}
    for block in _BLOCKS:
        for theirs, ours in _BRANCHES.items():
            if block not in ("3c", "4e") or theirs not in ("1x1", "pool_proj"):
                names[f"inception_{block}_{theirs}"] = f"inception_{block}/{ours}"
    layers = {}
    for theirs, ours in names.items():
        weight = take.kernels(f"{theirs}.weight")
        layers[ours] = ("Convolution", [weight])
        layers.update(_bn_scale(take, f"{theirs}_bn", f"{ours}/bn", f"{ours}/bn/sc", len(weight),
                                take.vector(f"{theirs}.bias", len(weight))))
    return layers


KINDS = {
    "torchvision-resnet50": Kind(
        _resnet50, tuple(round(255 * mean, 3) for mean in reversed(_MEAN)), "resnet50_torchvision",
        "Not He's net: the stride is on the 3x3, and pool1 has pad 1 and rounds down."),
    "pytorch-bninception": Kind(
        _bninception, (104, 117, 128), "inception_bn_tsn",
        "Wider pooling branches in 4c and 4d than Table I's: 608, 608, 1056 channels."),
}
