"""The one module of stal/ that imports caffe: deploy nets with weights, run on frames.

Caffe ends the process when a file is wrong. What can be checked before it sees the files is checked here; a net that does
not fit together is left to Caffe's own message.
"""

import json
import os
import re
from typing import NamedTuple

import numpy as np
from google.protobuf import text_format
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import DecodeError

os.environ.setdefault("GLOG_minloglevel", "2")  # before caffe: a net's construction logs thousands of lines

import caffe  # noqa: E402
from caffe.proto import caffe_pb2  # noqa: E402

from stal.errors import InputError  # noqa: E402
from stal.tracklets import JOINTS  # noqa: E402

_DEPLOY = "give a deploy net, prototxt/deploy*.prototxt"
_POSE = "give a pose net, prototxt/deploy*_pose*.prototxt"
# Layers whose options say how frames were prepared and features compared, and where a LayerParameter has the options.
_RECIPE_LAYERS = {"VideoTripletData": "video_triplet_data_param", "PoseInput": "pose_input_param",
                  "AttentionDistance": "attention_distance_param", "PairwiseDistance": "pairwise_distance_param"}


class Recipe(NamedTuple):
    """How the weights were trained, as far as whoever uses them must do the same. Defaults: the paper's nets."""

    mean: tuple = (104.0, 117.0, 123.0)   # B, G, R
    scale: float = 1.0
    attention_norm: str = "L1"            # of Eq. 8
    feature_norm: str = "UNNORMALIZED"


class DeployNet:
    """A deploy net with its weights: what the nets below share. It takes frames and, some of them, joints."""

    def __init__(self, net_path, weights_path):
        """Reads both files.

        Raises:
            InputError: one is missing, damaged, no deploy net, or they do not belong together.
        """
        prototxt = read_prototxt(net_path)
        weights = read_weights(weights_path)
        inputs = [top for layer in prototxt.layer if layer.type == "Input" for top in layer.top]
        if "data" not in inputs:
            raise InputError(f"{net_path} has no input data: {_DEPLOY}")
        other = sorted(set(inputs) - {"data", "joints"})
        if other:
            raise InputError(f"{net_path} has an input {other[0]}, and only data and joints can be given: {_DEPLOY}")
        self.takes_joints = "joints" in inputs
        self.recipe = _recipe(_options(weights))
        self._pose_pixels = _pixels(_options(prototxt).get("PoseInput"))
        self._net = caffe.Net(os.fspath(net_path), caffe.TEST)
        _check_weights(self._net, net_path, weights, weights_path)
        self._net.copy_from(os.fspath(weights_path))
        self.size = self._net.blobs["data"].data.shape[2:]  # height, width

    def _forward(self, **inputs):
        """Runs the net on its inputs; returns its blobs, which the next run overwrites."""
        blobs = self._net.blobs
        for name, values in inputs.items():
            blobs[name].reshape(*values.shape)
            blobs[name].data[...] = values
        self._net.forward()
        return blobs


class FrameNet(DeployNet):
    """Frames in, features out. A branch that the net lacks has width 0: R = 0, or C = 0."""

    def __init__(self, net_path, weights_path):
        """Reads both files.

        Raises:
            InputError: as :class:`DeployNet`; the net gives no features, or its parts and scores do not go together.
        """
        super().__init__(net_path, weights_path)
        blobs = self._net.blobs
        self.global_width = blobs["global"].data.shape[1] if "global" in blobs else 0  # C
        self.parts = blobs["scores"].data.shape[1] if "scores" in blobs else 0         # R
        self._parts = [f"part{r}" for r in range(1, self.parts + 1)]
        found = [name for name in blobs if re.fullmatch(r"part\d+", name)]
        if sorted(found) != sorted(self._parts):
            raise InputError(f"{net_path} has {len(found)} part blobs and {self.parts} scores a frame, where every part1 .. "
                             f"partR has its column of the blob scores: {_DEPLOY}")
        self.part_width = blobs["part1"].data.shape[1] if found else 0
        if not self.global_width and not self.parts:
            if "joints" in blobs and not self.takes_joints:
                raise InputError(f"{net_path} is a pose net, it gives joints and no features: run tools/pose.py with it, "
                                 "or give another deploy net here")
            raise InputError(f"{net_path} has neither a blob global nor a blob part1: {_DEPLOY}")
        if self._pose_pixels not in (None, (self.recipe.mean, self.recipe.scale)):
            raise InputError(f"{net_path} is not for {weights_path}: its PoseInput layer expects frames of (mean, scale) "
                             f"{self._pose_pixels}, and the weights were trained on {self.recipe[:2]}")

    def run(self, data, joints=None):
        """Runs F frames.

        Args:
            data: (F, 3, H, W) float32; joints: (F, 14, 3) float32, in pixels of the squashed frames, for a net that
                takes them, else None.
        Returns:
            global (F, C), parts (F, R, C), raw scores (F, R), float32.
        """
        blobs = self._forward(data=data, **({"joints": joints} if self.takes_joints else {}))
        parts = np.empty((len(data), self.parts, self.part_width), np.float32)
        for r, name in enumerate(self._parts):
            parts[:, r] = blobs[name].data
        none = np.empty((len(data), 0), np.float32)
        return (blobs["global"].data.copy() if self.global_width else none, parts,
                blobs["scores"].data.copy() if self.parts else none)


class PoseNet(DeployNet):
    """Frames in, joints out: a pose net alone, or a net with one inside."""

    def __init__(self, net_path, weights_path):
        """Reads both files.

        Raises:
            InputError: as :class:`DeployNet`; or the net does not find joints.
        """
        super().__init__(net_path, weights_path)
        if self.takes_joints:
            raise InputError(f"{net_path} takes joints instead of finding them: {_POSE}")
        shape = self._net.blobs["joints"].data.shape[1:] if "joints" in self._net.blobs else None
        if shape != (JOINTS, 3):
            found = "no blob joints" if shape is None else f"joints (F, {', '.join(map(str, shape))})"
            raise InputError(f"{net_path} has {found} where a pose net gives joints (F, {JOINTS}, 3): {_POSE}")
        if self._pose_pixels:  # the layer undoes mean and scale, so its own count, whatever the weights were trained on
            self.recipe = self.recipe._replace(mean=self._pose_pixels[0], scale=self._pose_pixels[1])

    def run(self, data):
        """Finds the joints of F frames, data (F, 3, H, W) float32.

        Returns:
            (F, 14, 3) float32: x, y in pixels of the H x W frames, confidence.
        """
        return self._forward(data=data)["joints"].data.copy()


def read_prototxt(path):
    """Reads a net's text file as a NetParameter. Raises InputError."""
    net = caffe_pb2.NetParameter()
    try:
        with open(path, encoding="utf-8") as stream:
            text_format.Parse(stream.read(), net)
    except OSError as error:
        raise InputError(f"cannot read the net {path} ({error.strerror}): it is written by "
                         "python -m prototxt.generate") from None
    except (text_format.ParseError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is no net: {error}") from None
    return net


def parse_caffemodel(path):
    """Parses a .caffemodel of whatever age, with or without weights, as a NetParameter. Raises InputError."""
    net = caffe_pb2.NetParameter()
    try:
        with open(path, "rb") as stream:
            net.ParseFromString(stream.read())
    except OSError as error:
        raise InputError(f"cannot read the weights {path} ({error.strerror}): caffe train writes its own under snapshots/, "
                         "data_prep/weights.py fetch gets published ones") from None
    except DecodeError:
        raise InputError(f"{path} is no .caffemodel, or cut short: copy it again, or take an earlier snapshot") from None
    return net


def read_weights(path):
    """Reads a .caffemodel of caffe train as a NetParameter. Raises InputError."""
    net = parse_caffemodel(path)
    if not any(layer.blobs for layer in net.layer):
        raise InputError(f"{path} holds no weights: give a .caffemodel of caffe train")
    return net


def _check_weights(net, net_path, weights, weights_path):
    """Every layer with parameters must be in the file, with the same shapes."""
    stored = {layer.name: [tuple(blob.shape.dim) for blob in layer.blobs] for layer in weights.layer if layer.blobs}
    missing = [name for name in net.params if name not in stored]
    if missing:
        raise InputError(f"{weights_path} is not for the net {net_path}: it has no weights for {len(missing)} of its "
                         f"{len(net.params)} layers, {missing[0]} for one")
    for name, blobs in net.params.items():
        wanted = [tuple(blob.data.shape) for blob in blobs]
        if wanted != stored[name]:
            raise InputError(f"{weights_path} is not for the net {net_path}: layer {name} has parameters {stored[name]} "
                             f"in the file and {wanted} in the net")


def _options(net):
    """{type: {option: value}, as far as they are set} of the layers of layers/ in a net, in C++ or as Python twins."""
    found = {}
    for layer in net.layer:
        kind = layer.python_param.layer if layer.type == "Python" else layer.type
        if kind not in _RECIPE_LAYERS:
            continue
        if layer.type == "Python":
            found[kind] = json.loads(layer.python_param.param_str or "{}")
        else:
            found[kind] = MessageToDict(getattr(layer, _RECIPE_LAYERS[kind]), preserving_proto_field_name=True)
    return found


def _recipe(trained):
    """The recipe, from the :func:`_options` of the training net that caffe train stores beside the weights."""
    recipe = {}
    data = trained.get("VideoTripletData", trained.get("PoseInput"))
    if data is not None:
        recipe["mean"], recipe["scale"] = _pixels(data)
    if "AttentionDistance" in trained:
        recipe["attention_norm"] = trained["AttentionDistance"].get("norm", "L1")
    distance = trained.get("AttentionDistance", trained.get("PairwiseDistance"))  # no parts: the global one
    if distance is not None:
        recipe["feature_norm"] = distance.get("feature_norm", "UNNORMALIZED")
    return Recipe(**recipe)


def _pixels(options):
    """Mean and scale of a layer's options; None for no layer."""
    return None if options is None else (_three(options.get("mean_value", [])), float(options.get("scale", 1)))


def _three(values):
    """B, G, R from no mean value, one, or three."""
    values = [float(value) for value in values] or [0.0]
    return tuple(values * 3 if len(values) == 1 else values)
