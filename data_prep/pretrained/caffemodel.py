""".caffemodel files as NumPy arrays: reading old and new ones, writing, and the shapes that Caffe lets pass."""

from typing import NamedTuple

import numpy as np

from stal.caffe_net import caffe_pb2, parse_caffemodel
from stal.errors import InputError
from stal.files import replacing

_AXES = ("num", "channels", "height", "width")


class Layer(NamedTuple):
    """A layer of a weights file."""

    type: str       # "" where the file does not say
    blobs: list     # of arrays, float32
    legacy: bool    # shapes are the four numbers of files before 2015


def shape_equals(wanted, stored, legacy):
    """Blob::ShapeEquals: whether a blob of shape ``stored`` fits a net's blob of shape ``wanted``.

    A legacy shape has four numbers and counts from the last axis: a bias (64,) is (1, 1, 1, 64) there.
    """
    if not legacy:
        return tuple(stored) == tuple(wanted)
    return (1,) * (4 - len(wanted)) + tuple(wanted) == tuple(stored)


def read(path):
    """Reads a .caffemodel, also one of the time of V1LayerParameter.

    Returns:
        {layer: Layer} in the file's order, layers without blobs too: Caffe compares their number.
    Raises:
        InputError: no such file, no .caffemodel, blobs whose size is not their shape's, or no weights in it.
    """
    net = parse_caffemodel(path)
    layers = {}
    for layer in [*net.layers, *net.layer]:
        legacy = any(blob.HasField(axis) for blob in layer.blobs for axis in _AXES)
        kind = layer.type if isinstance(layer.type, str) else ""
        layers[layer.name] = Layer(kind, [_array(blob, path, layer.name) for blob in layer.blobs], legacy)
    if not any(layer.blobs for layer in layers.values()):
        raise InputError(f"{path} holds no weights: give a .caffemodel of caffe train, or a published one")
    return layers


def _array(blob, path, name):
    """A BlobProto's values, float32. Through its serialised bytes: sixteen million numbers in 0.1 s, not in 2."""
    legacy = any(blob.HasField(axis) for axis in _AXES)
    shape = tuple(getattr(blob, axis) for axis in _AXES) if legacy else tuple(blob.shape.dim)
    count = len(blob.double_data) or len(blob.data)
    if count != int(np.prod(shape)):
        raise InputError(f"{path} is damaged: the layer {name} has {count} numbers in the shape {shape}; copy it again")
    if blob.double_data:
        return np.array(blob.double_data, np.float32).reshape(shape)
    for field in ("shape", "diff", "double_diff", *_AXES):
        blob.ClearField(field)
    raw = blob.SerializeToString()
    return np.frombuffer(raw, "<f4", offset=len(raw) - 4 * count).reshape(shape)


def write(path, name, layers, around=None):
    """Writes a .caffemodel.

    Args:
        name: of the net.
        layers: {layer: (type, [arrays])}, written in this order with the arrays' shapes as float32.
        around: NetParameter of the net, whose layers are written as caffe train writes them, with or without arrays:
            extraction reads from them how frames were prepared and features compared.
    """
    net = caffe_pb2.NetParameter(name=name)
    if around is not None:
        net.CopyFrom(around)
    messages = {message.name: message for message in net.layer}
    for layer, (kind, blobs) in layers.items():
        message = messages[layer] if layer in messages else net.layer.add(name=layer, type=kind)
        for array in blobs:
            blob = message.blobs.add()
            blob.shape.dim.extend(array.shape)
            blob.data.extend(np.asarray(array, np.float32).ravel())
    try:
        with replacing(path, "wb") as stream:
            stream.write(net.SerializeToString())
    except OSError as error:
        raise InputError(f"cannot write {path} ({error.strerror}): name another file") from None
