"""Our nets against the published nets that they start from, as golden/ has them: names, sizes, connections, shapes."""

import csv
import os
from typing import NamedTuple

import caffe
import numpy as np
import pytest
from caffe.proto import caffe_pb2

from prototxt import generate
from stal.caffe_net import read_prototxt

GOLDEN = os.path.join(os.path.dirname(__file__), "golden")
FOLLOWERS = ("BatchNorm", "Scale", "ReLU", "Dropout")  # keep the shape and have one bottom; in place or not


class Row(NamedTuple):
    """A layer as golden/README.md describes it; every field is text, bottom and extra are tuples of text."""

    layer: str
    type: str
    bottom: tuple
    num_output: str
    kernel: str
    stride: str
    pad: str
    bias: str
    extra: tuple


def published(name):
    """The rows of one of golden's tables: {layer: Row}."""
    with open(os.path.join(GOLDEN, name), newline="", encoding="utf-8") as stream:
        rows = [Row(**{**row, "bottom": tuple(row["bottom"].split(";")), "extra": tuple(row["extra"].split())})
                for row in csv.DictReader(stream)]
    return {row.layer: row for row in rows}


class Case(NamedTuple):
    """One of our nets, the tables it is held against, and every difference that is meant."""

    net: str
    tables: tuple
    data: tuple = (3, 224, 224)     # C, H, W of the published input
    left_out: tuple = ()            # published layers that ours has not: classifiers, heads
    feeds: dict = {}                # {layer: {published bottom: ours}}
    fields: dict = {}               # {layer: {field: ours}}


def ran(bottom, *layers):
    """RAN's output takes the place of the blob that it weights."""
    return {layer: {bottom: "ran_output"} for layer in layers}


# Pooling over the whole map, whatever its size; on the published 224 x 224 the same as 7 x 7.
GLOBAL_POOL = {"kernel": "", "extra": ("pool=AVE", "global")}
INCEPTION_RAN = ran("inception_4c/output", "inception_4d/1x1", "inception_4d/3x3_reduce",
                    "inception_4d/double3x3_reduce", "inception_4d/pool")
GOOGLENET_RAN = ran("inception_4c/output", "inception_4d/1x1", "inception_4d/3x3_reduce", "inception_4d/5x5_reduce",
                    "inception_4d/pool")
# One quality a frame instead of three, and no stripes; what follows the qualities is written with other layers.
QAN_LEFT_OUT = (
    "slice_data", "slice_data1", "slice_data2", "slice_data3",
    *(f"data{v}_p_{k}" for v in (1, 2, 3) for k in (1, 2, 3)),
    "score_reshape", "sig", "slice_score", "slice_score1", "slice_score2", "slice_score3",
    *(f"{name}{v}_{k}" for name in ("norm", "feature") for v in (1, 2, 3) for k in (1, 2, 3)),
    *(f"{name}{v}" for name in ("feature", "normfeature") for v in (1, 2, 3)),
    "triplet_loss", "contrastive_loss")
CASES = [
    *[Case(net, ("published_inception_bn.csv",), left_out=("loss3/classifier",), feeds=INCEPTION_RAN,
           fields={"pool5/7x7_s1": GLOBAL_POOL}) for net in ("train_ilids.prototxt", "deploy.prototxt")],
    Case("train_ilids_googlenet.prototxt", ("published_googlenet.csv",), left_out=("loss3/classifier",),
         feeds=GOOGLENET_RAN, fields={"pool5/7x7_s1": GLOBAL_POOL}),
    Case("train_mars_resnet50.prototxt", ("published_resnet50.csv",), left_out=("fc1000",),
         feeds=ran("res4d", "res4e_branch2a", "res4e"), fields={"pool5": GLOBAL_POOL}),
    Case("deploy_pose.prototxt", ("published_pose.csv",), data=(4, 256, 256), feeds={"image": {"data": "pose_input"}}),
    Case("train_ilids_qan.prototxt", ("published_inception_bn.csv", "published_qan.csv"),
         left_out=("loss3/classifier", *QAN_LEFT_OUT),
         fields={"pool5/7x7_s1": GLOBAL_POOL, "fc1_s": {"num_output": "1"},
                 **{f"loss{n}/classifier_1": {"num_output": "150"} for n in (1, 2, 3)}}),
]


def kept(case):
    """The published layers that ours must have: {layer: Row}."""
    return {name: row for table in case.tables for name, row in published(table).items() if name not in case.left_out}


def expected(case):
    """The same with the differences in their connections and numbers: {layer: Row}."""
    return {name: row._replace(bottom=tuple(case.feeds.get(name, {}).get(bottom, bottom) for bottom in row.bottom),
                               **case.fields.get(name, {}))
            for name, row in kept(case).items()}


def followers(rows):
    """What stands between a layer's output and whoever reads it: {layer: (type, ...)}."""
    found = {}
    for row in rows.values():
        own = [other.type for other in rows.values()
               if other.type in ("BatchNorm", "Scale") and other.bottom == (row.layer,)]
        found[row.layer] = (*own, *(["ReLU"] if "relu" in row.extra else []))
    return found


class Feed(NamedTuple):
    """Where a bottom comes from."""

    layer: str      # as source() names it
    through: tuple  # types of the followers in between


def source(layer, n):
    """How the tables name the n-th top of a layer: inputs by their blob."""
    if not layer.bottom:
        return layer.top[n]
    return layer.name if len(layer.top) == 1 else f"{layer.name}:{n}"


def feeds(net):
    """Of every layer of a NetParameter: {layer: [Feed of each bottom]}."""
    made, found = {}, {}
    for layer in net.layer:
        found[layer.name] = [made[bottom] for bottom in layer.bottom]
        for n, top in enumerate(layer.top):
            if layer.type in FOLLOWERS:
                before = made[layer.bottom[0]]
                made[top] = Feed(before.layer, (*before.through, layer.type))
            else:
                made[top] = Feed(source(layer, n), ())
    return found


def one(values, default):
    """A value of Caffe's repeated kernel_size, stride and pad."""
    assert len(values) <= 1
    return str(values[0] if values else default)


def row_of(layer):
    """A LayerParameter as a Row without bottom and relu."""
    row = dict(layer=layer.name, type=layer.type, bottom=(), num_output="", kernel="", stride="", pad="", bias="", extra=())
    if layer.type == "Convolution":
        param = layer.convolution_param
        assert param.group == 1 and not param.dilation and not param.HasField("kernel_h")
        row.update(num_output=str(param.num_output), kernel=one(param.kernel_size, ""), stride=one(param.stride, 1),
                   pad=one(param.pad, 0), bias=str(int(param.bias_term)))
    elif layer.type == "Pooling":
        param = layer.pooling_param
        kernel = f"{param.kernel_h}x{param.kernel_w}" if param.kernel_h else str(param.kernel_size or "")
        kind = "pool=" + param.PoolMethod.Name(param.pool)
        row.update(kernel=kernel, stride=str(param.stride), pad=str(param.pad),
                   extra=(kind, "global") if param.global_pooling else (kind,))
    elif layer.type == "LRN":
        param = layer.lrn_param
        assert param.norm_region == param.ACROSS_CHANNELS and param.k == 1
        row.update(extra=(f"local_size={param.local_size}", f"alpha={param.alpha:g}", f"beta={param.beta:g}"))
    elif layer.type == "Eltwise":
        assert not layer.eltwise_param.coeff
        row.update(extra=("op=" + layer.eltwise_param.EltwiseOp.Name(layer.eltwise_param.operation),))
    elif layer.type == "InnerProduct":
        row.update(num_output=str(layer.inner_product_param.num_output),
                   bias=str(int(layer.inner_product_param.bias_term)))
    elif layer.type == "Scale":
        row.update(bias=str(int(layer.scale_param.bias_term)))
    elif layer.type == "Concat":
        assert layer.concat_param.axis == 1
    elif layer.type == "Slice":
        points = ",".join(str(point) for point in layer.slice_param.slice_point)
        row.update(extra=(f"axis={layer.slice_param.axis}", f"points={points}"))
    return Row(**row)


def net_of(case):
    return read_prototxt(os.path.join(generate.HERE, case.net))


each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.net)


@each_case
def test_every_published_layer_is_there_with_its_numbers(case):
    ours = {layer.name: layer for layer in net_of(case).layer}
    assert set(expected(case)) - set(ours) == set()
    for name, row in expected(case).items():
        # How BatchNorm averages is a matter of training, not of the net.
        extra = tuple(word for word in row.extra if word != "relu" and not word.startswith("use_global_stats"))
        assert row_of(ours[name]) == row._replace(bottom=(), extra=extra)


@each_case
def test_every_published_layer_is_fed_by_the_same_layers(case):
    ours, rows = feeds(net_of(case)), expected(case)
    after = followers(rows)
    for name, row in rows.items():
        assert [feed.layer for feed in ours[name]] == list(row.bottom), name
        for feed in ours[name]:
            through = after.get(feed.layer, ())
            if row.type in FOLLOWERS:
                through = through[:through.index(row.type)]
            assert feed.through == through, (name, feed)


@each_case
def test_the_differences_are_differences(case):
    rows = kept(case)
    everything = {name for table in case.tables for name in published(table)}
    assert set(case.left_out) <= everything
    assert not {layer.name for layer in net_of(case).layer} & set(case.left_out)
    for name, changes in case.feeds.items():
        assert set(changes) <= set(rows[name].bottom), name
    for name, changes in case.fields.items():
        assert rows[name]._replace(**changes) != rows[name]


# Shapes: what the table implies by Caffe's arithmetic, and what Caffe makes of our net.

def out(size, kernel, stride, pad, pooling):
    """Caffe's output size: convolutions round down, pooling rounds up and starts no window in the padding."""
    steps = size + 2 * pad - kernel
    found = (-(-steps // stride) if pooling else steps // stride) + 1
    return found - 1 if pooling and pad and (found - 1) * stride >= size + pad else found


def implied(rows, given):
    """What the table implies: ({layer: (C, H, W)}, {layer: [shape of each parameter blob]}). Rows are in order."""
    outputs, params = dict(given), {}
    for row in rows.values():
        bottoms = [outputs[name] for name in row.bottom]
        channels, height, width = bottoms[0]
        if row.type == "Concat":
            channels = sum(bottom[0] for bottom in bottoms)
        elif row.type == "Convolution":
            kernel, stride, pad = int(row.kernel), int(row.stride), int(row.pad)
            params[row.layer] = [(int(row.num_output), channels, kernel, kernel)]
            channels = int(row.num_output)
            height, width = (out(size, kernel, stride, pad, False) for size in (height, width))
        elif row.type == "Pooling" and "global" in row.extra:
            height = width = 1
        elif row.type == "Pooling":
            sides = [int(side) for side in row.kernel.split("x")]
            height, width = (out(size, side, int(row.stride), int(row.pad), True)
                             for size, side in zip((height, width), (sides[0], sides[-1]), strict=True))
        elif row.type == "InnerProduct":
            params[row.layer] = [(int(row.num_output), channels * height * width)]
            channels, height, width = int(row.num_output), 1, 1
        elif row.type == "BatchNorm":
            params[row.layer] = [(channels,), (channels,), (1,)]
        elif row.type == "Scale":
            params[row.layer] = [(channels,)]
        elif row.type == "Eltwise":
            assert len(set(bottoms)) == 1, row.layer
        if row.bias == "1":
            params[row.layer].append((channels,))
        outputs[row.layer] = channels, height, width
        if row.type == "Slice":
            assert row.extra[0] == "axis=1"
            points = [0, *(int(point) for point in row.extra[1].removeprefix("points=").split(",")), channels]
            for n, (begin, end) in enumerate(zip(points, points[1:])):
                outputs[f"{row.layer}:{n}"] = end - begin, height, width
    return outputs, params


def count(params, rows, *types):
    """Parameters of the table's layers of these types."""
    return sum(int(np.prod(shape)) for name, shapes in params.items() if rows[name].type in types for shape in shapes)


def loaded(case, path):
    """Our net in Caffe, with inputs in place of a layer that reads lists."""
    proto = net_of(case)
    if proto.layer[0].type != "Input":
        inputs = caffe_pb2.LayerParameter(name="data", type="Input", top=proto.layer[0].top)
        shapes = {"data": (24, 3, 224, 224), "label": (3,), "joints": (24, 14, 3)}
        for top in inputs.top:
            inputs.input_param.shape.add(dim=shapes[top])
        proto.layer[0].CopyFrom(inputs)
    path.write_text(str(proto))
    return proto, caffe.Net(str(path), caffe.TRAIN)


@each_case
def test_caffe_gives_the_shapes_that_the_table_implies(case, tmp_path):
    proto, net = loaded(case, tmp_path / "net.prototxt")
    given = {"data": case.data}
    before = implied(kept(case), given)[0]
    given.update({ours: before[name] for changes in case.feeds.values() for name, ours in changes.items()})
    rows = expected(case)
    outputs, params = implied(rows, given)
    for name in rows:
        assert outputs[name] == before[name] or "num_output" in case.fields.get(name, {}), name
    for name, shapes in params.items():
        assert [tuple(blob.shape) for blob in net.params[name]] == shapes, name
    for layer in proto.layer:
        if layer.name in rows and layer.type not in FOLLOWERS:
            for n, top in enumerate(layer.top):
                shape = tuple(net.blobs[top].shape)[1:]
                assert shape == outputs[source(layer, n)][:len(shape)], top


@pytest.mark.parametrize("table, data, types, total", [
    # Convolutions with their biases; the classifier has 1,025,000 more.
    ("published_googlenet.csv", (3, 224, 224), ("Convolution",), 5_973_552),
    # The well-known 25,557,032 less the classifier's 2,049,000, and the 64 biases of conv1.
    ("published_resnet50.csv", (3, 224, 224), ("Convolution", "Scale"), 23_508_032 + 64),
    # By hand, stage by stage.
    ("published_pose.csv", (4, 256, 256), ("Convolution",), 931_616 + 943_631 + 1_094_063),
])
def test_the_totals_are_the_known_ones(table, data, types, total):
    rows = {name: row for name, row in published(table).items() if row.type != "InnerProduct"}
    assert count(implied(rows, {"data": data})[1], rows, *types) == total
