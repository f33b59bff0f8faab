"""A Caffe net as plain files, which torch_net.py reads where there is neither Caffe nor protobuf.

    net.json    {"name": ..., "layers": [{"name", "type", "bottom", "top", "loss_weight", "param"}]}
                param: the options of the layer's own message, defaults filled in, and "loss_param"
    arrays.npz  "input:BLOB" is what an Input was fed with, "LAYER:N" is parameter blob N of a layer
"""

import json
import os

import numpy as np
from caffe.proto import caffe_pb2
from google.protobuf import json_format

from data_prep.joints import upright_template
from stal.errors import InputError
from stal.files import replacing, write_json

# Layers that read another layer's message.
_MESSAGE = {"Deconvolution": "Convolution"}


def with_inputs(net, frames):
    """A copy of a NetParameter for F = ``frames`` frames that come from Input layers.

    VideoTripletData becomes Inputs under its tops' names: frames (F, 3, H, W), labels (V) and, where it has a
    third top, joints (F, 14, 3), V = F / T; an Input that is there already gets F as its first axis.

    Raises:
        InputError: the frames do not make whole videos.
    """
    result = caffe_pb2.NetParameter()
    result.CopyFrom(net)
    del result.layer[:]
    for layer in net.layer:
        if layer.type != "VideoTripletData":
            result.layer.add().CopyFrom(layer)
            for shape in result.layer[-1].input_param.shape:
                shape.dim[0] = frames
            continue
        param = layer.video_triplet_data_param
        if frames % param.frames:
            raise InputError(f"{net.name} trains on videos of {param.frames} frames, and {frames} frames "
                             "make no whole number of them: give a multiple")
        shapes = ((frames, 3, param.new_height, param.new_width), (frames // param.frames,), (frames, 14, 3))
        for top, shape in zip(layer.top, shapes):
            made = result.layer.add(name=top, type="Input", top=[top])
            made.input_param.shape.add(dim=shape)
    return result


def random_inputs(net, seed, scale=1.0, noise=0.0):
    """What to feed a net of ``with_inputs`` with: {blob: float32 array}.

    data: normal, deviation 60 ``scale``, as of frames with values 0..255 less their mean, times scale; label: triplets
    0, 0, 1, 2, 2, 3, ...; joints, given_joints: the upright template, plus normal noise. ``noise`` is its deviation, in
    pixels; the confidences get it too, so that some joints are off the frame and some count as not annotated.

    Raises:
        InputError: a training net whose videos do not make whole triplets.
    """
    shapes = {layer.top[0]: tuple(layer.input_param.shape[0].dim)
              for layer in net.layer if layer.type == "Input"}
    random = np.random.default_rng(seed)
    height, width = shapes["data"][2:]
    result = {"data": random.normal(0, 60 * scale, shapes["data"])}
    for name in shapes.keys() & {"joints", "given_joints"}:
        result[name] = upright_template(width, height) + random.normal(0, noise, shapes[name])
    if "label" in shapes:
        video = np.arange(shapes["label"][0])
        if len(video) % 3:
            raise InputError(f"{len(video)} videos are no triplets: give three times as many frames")
        result["label"] = video // 3 * 2 + (video % 3 == 2)
    return {name: np.asarray(value, np.float32) for name, value in result.items()}


def write(folder, net, parameters, inputs):
    """Writes net.json and arrays.npz into ``folder``.

    Args:
        net: NetParameter without data layers.
        parameters: {layer: [array, ...]}; inputs: {blob: array}.
    """
    layers = [_plain(layer) for layer in net.layer]
    write_json(os.path.join(folder, "net.json"), {"name": net.name, "layers": layers})
    arrays = {f"input:{name}": value for name, value in inputs.items()}
    for layer, blobs in parameters.items():
        arrays.update({f"{layer}:{number}": blob for number, blob in enumerate(blobs)})
    with replacing(os.path.join(folder, "arrays.npz"), "wb") as stream:
        np.savez(stream, **arrays)


def _plain(layer):
    """A LayerParameter as a dict."""
    options = _options(layer)
    options["loss_param"] = _dict(layer.loss_param)
    return dict(name=layer.name, type=layer.type, bottom=list(layer.bottom), top=list(layer.top),
                loss_weight=list(layer.loss_weight), param=options)


def _options(layer):
    """The options of the layer's own message; none for a layer that has no message."""
    own = f"{_MESSAGE.get(layer.type, layer.type)}param".lower()
    for field in layer.DESCRIPTOR.fields:
        if field.name.replace("_", "") == own:
            return _dict(getattr(layer, field.name))
    return {}


def _dict(message):
    return json.loads(json_format.MessageToJson(message, including_default_value_fields=True,
                                                preserving_proto_field_name=True))
