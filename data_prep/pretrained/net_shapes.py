"""What parameters a net has: Caffe itself is asked, without the data that the net reads."""

import json
import os
import tempfile
from typing import NamedTuple

from stal.caffe_net import caffe, caffe_pb2, read_prototxt
from stal.tracklets import JOINTS


class NetShapes(NamedTuple):
    """A net's layers."""

    name: str
    types: dict     # layer -> type, all layers
    params: dict    # layer -> [shapes], layers with parameters, in the net's order


def read(path):
    """Builds the net of a prototxt in its training phase and returns its :class:`NetShapes`. Raises InputError."""
    net = read_prototxt(path)
    types = {layer.name: layer.type for layer in net.layer}
    for layer in net.layer:
        shapes = _data_shapes(layer)
        if shapes:
            feed = caffe_pb2.LayerParameter(name=layer.name, type="Input", top=layer.top)
            for shape in shapes[:len(layer.top)]:
                feed.input_param.shape.add(dim=shape)
            layer.CopyFrom(feed)
    with tempfile.TemporaryDirectory() as folder:
        fed = os.path.join(folder, "net.prototxt")
        with open(fed, "w", encoding="utf-8") as stream:
            stream.write(str(net))
        built = caffe.Net(fed, caffe.TRAIN)
    return NetShapes(net.name, types, {name: [tuple(blob.shape) for blob in blobs] for name, blobs in built.params.items()})


def _data_shapes(layer):
    """Shapes of the tops of a VideoTripletData layer, in C++ or as its twin; None for another layer."""
    if layer.type == "VideoTripletData":
        fields = ("frames", "new_height", "new_width", "batch_identities", "videos")
        given = {field: getattr(layer.video_triplet_data_param, field) for field in fields}
    elif layer.type == "Python" and layer.python_param.layer == "VideoTripletData":
        given = json.loads(layer.python_param.param_str or "{}")
    else:
        return None
    videos = given["batch_identities"] * given.get("videos", 2) if given.get("batch_identities") else 3
    frames = videos * given.get("frames", 8)
    return ((frames, 3, given.get("new_height", 224), given.get("new_width", 224)), (videos,), (frames, JOINTS, 3))
