"""The one module of stal/ that imports caffe: a deploy net with weights, run on frames.

Caffe ends the process when a file is wrong; everything is checked here before Caffe sees it.
"""

import json
import os
from typing import NamedTuple

import numpy as np
from google.protobuf import text_format
from google.protobuf.message import DecodeError

os.environ.setdefault("GLOG_minloglevel", "2")  # before caffe: a net's construction logs thousands of lines

import caffe  # noqa: E402
from caffe.proto import caffe_pb2  # noqa: E402

from stal.errors import InputError  # noqa: E402


class Recipe(NamedTuple):
    """How the weights were trained, as far as whoever uses them must do the same. Defaults: the paper's nets."""

    mean: tuple = (104.0, 117.0, 123.0)   # B, G, R
    scale: float = 1.0
    attention_norm: str = "L1"            # of Eq. 8
    feature_norm: str = "UNNORMALIZED"


class FrameNet:
    """A deploy net: frames and joints in, per-frame features and scores out."""

    def __init__(self, net_path, weights_path):
        """Reads both files.

        Raises:
            InputError: one is missing, damaged, or they do not belong together.
        """
        prototxt = read_prototxt(net_path)
        weights = read_weights(weights_path)
        for blob in ("data", "joints"):
            if blob not in [top for layer in prototxt.layer if layer.type == "Input" for top in layer.top]:
                raise InputError(f"{net_path} has no input {blob}: give a deploy net, prototxt/deploy*.prototxt")
        self.recipe = _recipe(weights)
        self._net = caffe.Net(os.fspath(net_path), caffe.TEST)
        _check_weights(self._net, net_path, weights, weights_path)
        self._net.copy_from(os.fspath(weights_path))
        blobs = self._net.blobs
        for blob in ("global", "part1", "scores"):
            if blob not in blobs:
                raise InputError(f"{net_path} has no blob {blob}: give a deploy net, prototxt/deploy*.prototxt")
        self.size = blobs["data"].data.shape[2:]            # height, width
        self.parts = blobs["scores"].data.shape[1]          # R
        self.global_width = blobs["global"].data.shape[1]   # C
        self.part_width = blobs["part1"].data.shape[1]

    def run(self, data, joints):
        """Runs F frames.

        Args:
            data: (F, 3, H, W) float32; joints: (F, 14, 3) float32, in pixels of the squashed frames.
        Returns:
            global (F, C), parts (F, R, C), raw scores (F, R), float32.
        """
        self._net.blobs["data"].reshape(*data.shape)
        self._net.blobs["joints"].reshape(*joints.shape)
        self._net.blobs["data"].data[...] = data
        self._net.blobs["joints"].data[...] = joints
        self._net.forward()
        blobs = self._net.blobs
        parts = np.stack([blobs[f"part{r}"].data for r in range(1, self.parts + 1)], axis=1)
        return blobs["global"].data.copy(), parts, blobs["scores"].data.copy()


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


def read_weights(path):
    """Reads a .caffemodel as a NetParameter. Raises InputError."""
    net = caffe_pb2.NetParameter()
    try:
        with open(path, "rb") as stream:
            net.ParseFromString(stream.read())
    except OSError as error:
        raise InputError(f"cannot read the weights {path} ({error.strerror}): caffe train writes them under "
                         "snapshots/") from None
    except DecodeError:
        raise InputError(f"{path} is no .caffemodel, or cut short: copy it again, or take an earlier snapshot") from None
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


def _recipe(weights):
    """Reads the recipe from the training net that caffe train stores beside the weights."""
    recipe = {}
    for layer in weights.layer:
        if layer.type == "VideoTripletData":
            recipe["mean"] = _three(layer.video_triplet_data_param.mean_value)
            recipe["scale"] = layer.video_triplet_data_param.scale
        elif layer.type == "AttentionDistance":
            param = layer.attention_distance_param
            recipe["attention_norm"] = caffe_pb2.AttentionDistanceParameter.Norm.Name(param.norm)
            recipe["feature_norm"] = caffe_pb2.FeatureNorm.Name(param.feature_norm)
        elif layer.type == "Python":
            param = json.loads(layer.python_param.param_str or "{}")
            if layer.python_param.layer == "VideoTripletData":
                recipe["mean"] = _three(param.get("mean_value", []))
                recipe["scale"] = param.get("scale", 1.0)
            elif layer.python_param.layer == "AttentionDistance":
                recipe["attention_norm"] = param.get("norm", "L1")
                recipe["feature_norm"] = param.get("feature_norm", "UNNORMALIZED")
    return Recipe(**recipe)


def _three(values):
    """B, G, R from no mean value, one, or three."""
    values = [float(value) for value in values] or [0.0]
    return tuple(values * 3 if len(values) == 1 else values)
