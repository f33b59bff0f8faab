"""The global branches in OpenCV's DNN module, before and after folding: the same features as pycaffe's.

OpenCV 4.12 gives wrong numbers when a net with an unfolded Deconvolution sees another batch size than before (it folds
BatchNorm itself, and does so again each time), so here each batch size gets its own net before folding.
"""

import os

import caffe
import cv2
import numpy as np
import pytest
from test_fold import fold_files, forward, random_weights, some_inputs, write

from prototxt import generate
from stal.caffe_net import read_prototxt, read_weights

BATCHES = 1, 3, 1


def own_fields(layer):
    """How many messages of layers/ a layer holds."""
    return sum(field.number >= 5000 for field, _ in layer.ListFields())


@pytest.fixture(scope="module", params=["deploy_demo_global", "deploy_global", "deploy_googlenet_global",
                                        "deploy_resnet50_global"])
def files(request, tmp_path_factory):
    """Net, weights, folded net, folded weights."""
    text = open(os.path.join(generate.HERE, f"{request.param}.prototxt")).read()
    net = write(tmp_path_factory.mktemp("opencv"), text)
    weights = random_weights(net)
    # Weights of caffe train hold the whole training net, whose messages OpenCV's caffe.proto does not know.
    whole = read_weights(weights)
    names = {layer.name for layer in whole.layer}
    whole.layer.extend(layer for layer in read_prototxt(os.path.join(generate.HERE, "train_demo.prototxt")).layer
                       if layer.name not in names)
    assert sum(own_fields(layer) for layer in whole.layer) > 3
    weights.write_bytes(whole.SerializeToString())
    return net, weights, *fold_files(net, weights)


@pytest.fixture(scope="module")
def wanted(files):
    """Of pycaffe on the net as it was: [(data, global)] for each batch size."""
    net = caffe.Net(str(files[0]), caffe.TEST, weights=str(files[1]))
    result = []
    for seed, batch in enumerate(BATCHES):
        data = some_inputs(net, batch, seed)["data"]
        result.append((data, forward(net, {"data": data})["global"]))
    return result


def check(found, features):
    assert found.shape == features.shape
    assert np.abs(found - features).max() <= 1e-4 * np.abs(features).max()


def test_the_features_depend_on_the_frame(wanted):
    """Ten times as much as the comparisons below tolerate."""
    frames = np.concatenate([features for _, features in wanted])
    assert frames.std(axis=0).max() > 1e-3 * np.abs(frames).max()


def test_the_net_as_it_is(files, wanted):
    for data, features in wanted:
        net = cv2.dnn.readNetFromCaffe(*map(str, files[:2]))
        net.setInput(data)
        check(net.forward("global"), features)


def test_the_folded_net_takes_any_batch(files, wanted):
    net = cv2.dnn.readNetFromCaffe(*map(str, files[2:]))
    for data, features in wanted:
        net.setInput(data)
        check(net.forward("global"), features)


def test_only_stock_layers_are_needed(files):
    for path in files[::2]:
        for layer in read_prototxt(path).layer:
            assert not own_fields(layer)
    assert not {"BatchNorm", "Scale"} & {layer.type for layer in read_prototxt(files[2]).layer}
