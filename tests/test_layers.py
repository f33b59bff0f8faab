"""Each layer in C++ against its Python twin: a net of either, the same tops and gradients.

test_twins.py and test_pose_twins.py compare the twins with cases worked by hand and with numeric gradients.
"""

import itertools

import caffe
import numpy as np
import pytest
from caffe import layers as L

from prototxt.nets.layers import method_layer

LOSSES = "TripletLoss", "ConsistencyLoss"
TOPS = {"AttentionPooling": 2, "PartBoxes": 6}  # others have one


def random(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def positive(*shape, seed=0):
    return np.random.default_rng(seed).uniform(0.2, 1, shape)


def net_of(tmp_path, twins, layer, bottoms, wanted=None, **options):
    """A net of one layer.

    Args:
        bottoms: {name: array}.
        wanted: {name: bool}, which bottoms get a gradient; None: all that may.
        options: of the layer, and ``tops``, their number.
    """
    tops = [f"top{i}" for i in range(options.pop("tops", TOPS.get(layer, 1)))]
    spec = caffe.NetSpec()
    for name, array in bottoms.items():
        given = f"{name}_given" if wanted and wanted.get(name) else name
        spec[given] = L.Input(shape=dict(dim=list(np.shape(array))))
        if given != name:
            spec[name] = L.Scale(spec[given])  # times 1: a blob that wants a gradient, for its parameter
    loss = dict(loss_weight=0.7) if layer in LOSSES else {}
    method_layer(spec, twins, layer, "layer", list(bottoms), tops, **loss, **options)
    proto = spec.to_proto()
    proto.force_backward = wanted is None
    if wanted is not None and not loss:  # only what a loss is made of has a backward pass
        proto.layer[-1].loss_weight.extend([1] * len(tops))
    path = tmp_path / f"{'twin' if twins else 'layer'}.prototxt"
    path.write_text(str(proto))
    return caffe.Net(str(path), caffe.TRAIN)


def run(tmp_path, twins, layer, bottoms, wanted=None, made_for=None, **options):
    """Two passes, of a net that was made for bottoms of other shapes if ``made_for`` gives some.

    Returns:
        {name: array} of every top, and of the gradient of every bottom but the labels and of the parameter.
    """
    net = net_of(tmp_path, twins, layer, made_for or bottoms, wanted, **options)
    if made_for:
        for name, array in bottoms.items():
            net.blobs[name].reshape(*np.shape(array))
        net.reshape()
    tops = [name for name in net.blobs if name.startswith("top")]
    gradients = [name for name in bottoms if name != "label"]
    for name, array in bottoms.items():
        net.blobs[name if name in net.inputs else f"{name}_given"].data[...] = array
    parameters = net.params.get("layer", [])
    for blob in parameters:
        blob.data[...] = random(*blob.data.shape, seed=1)
        blob.diff[...] = 3  # added to, as an iteration may hold several passes
    for _ in range(2):
        net.forward()
        for name in gradients:
            net.blobs[name].diff[...] = 5  # overwritten
        for i, name in enumerate(tops if layer not in LOSSES else ()):
            net.blobs[name].diff[...] = random(*net.blobs[name].data.shape, seed=2 + i)
        net.backward()
    return {**{name: net.blobs[name].data.copy() for name in tops},
            **{f"gradient of {name}": net.blobs[name].diff.copy() for name in gradients},
            **{f"gradient of parameter {i}": blob.diff.copy() for i, blob in enumerate(parameters)}}


def compare(found, expected):
    """Float precision: differences of up to 1e-5 of an array's greatest value, and 3e-6 where it is zero."""
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert found[name].shape == array.shape and np.isfinite(array).all(), name
        limit = max(3e-6, 1e-5 * np.abs(array).max())
        np.testing.assert_allclose(found[name], array, rtol=0, atol=limit, err_msg=name)


def features(parts, frames, channels, scale=1):
    return {f"features{r}": scale * random(frames, channels, seed=r) for r in range(parts)}


def pooling(parts, frames, channels, scores=None):
    scores = positive(frames, parts) if scores is None else scores
    return {"scores": scores, **features(parts, frames, channels)}


def distance(parts, channels, weights=None, f=None):
    """Three videos."""
    f = random(3, parts, channels) if f is None else f
    return {"parts": f, "weights": positive(len(f), parts) if weights is None else weights}


def labelled(bottoms, *label, scores=None):
    return {**bottoms, "label": np.array(label, float), **({} if scores is None else {"scores": scores})}


def triplets(*label, d=None):
    return labelled({"distances": positive(len(label), len(label)) if d is None else d}, *label)


def maps(height, width, rois, m=None):
    return {"maps": random(2, 3, height, width) if m is None else m, "rois": np.array(rois, float)}


FIRST_SCORELESS = np.concatenate([np.zeros((3, 2)), positive(3, 2)])   # of two videos of three frames
PART_SCORELESS = positive(6, 2) * [0, 1]
SIGNED = positive(3, 4) * [[1, -1, 1, 1], [-1, 1, -1, -1], [1, 1, 1, 1]]
EVERY_NORM = [dict(norm=norm, feature_norm=feature_norm, gradient=gradient) for norm, feature_norm, gradient
              in itertools.product(("L1", "L2"), ("UNNORMALIZED", "L2_UNIT"), ("EXACT", "PAPER"))]
INPUTS = {
    "FRAMES": labelled(features(2, 6, 5), 1, 3),
    "WEIGHTED_FRAMES": labelled(features(2, 6, 5), 1, 3, scores=positive(6, 2)),
    "AGGREGATED": labelled({"parts": random(2, 2, 5)}, 1, 3),
}
# Inside; the whole map; off to the left, to the right; partly off; no area; rounding from halves; reversed.
ROIS = ([0, 3.2, 5.1, 40.7, 60.3], [1, 0, 0, 79.2, 95.3], [1, -200, -150, -90, -60], [0, 300, 301, 400, 500],
        [0, -20.3, -9.1, 37.7, 130.9], [1, 33.3, 20.2, 33.3, 20.2], [0, -8, 8, 24, 40],
        [1, 50.3, 60.2, 20.1, 30.9])
JOINTS = 40 * random(3, 14, 3)
POSE = dict(new_height=9, new_width=8, mean_value=[104, 117, 123], scale=0.017)  # the frame from 1.75 to 6.25
MAPS = dict(height=6, width=5)

CASES = {
    "AttentionPooling": [
        (pooling(2, 6, 5), dict(frames=3)),
        (pooling(2, 6, 5), dict(frames=1)),
        (pooling(2, 6, 5), dict(frames=6)),
        (pooling(1, 4, 1), dict(frames=2)),
        (pooling(6, 16, 33), {}),
        (pooling(2, 6, 5), dict(frames=3, temporal=False)),
        (pooling(2, 6, 5), dict(frames=3, gradient="PAPER")),
        (pooling(2, 6, 5), dict(frames=3, gradient="PAPER", temporal=False)),
        (pooling(2, 6, 5, FIRST_SCORELESS), dict(frames=3)),
        (pooling(2, 6, 5, PART_SCORELESS), dict(frames=3, gradient="PAPER")),
    ],
    "AttentionDistance": [
        *[(distance(4, 5, SIGNED), options) for options in EVERY_NORM],
        *[(distance(4, 5), dict(spatial=False, **options)) for options in EVERY_NORM],
        *[(distance(2, 5, FIRST_SCORELESS[2:5]), options) for options in EVERY_NORM],
        *[(distance(2, 5, f=np.ones((3, 2, 5))), options) for options in EVERY_NORM],
        *[(distance(2, 5, f=random(3, 2, 5) * [[[0]], [[1]], [[1]]]), options) for options in EVERY_NORM],
        (distance(1, 1), {}),
        (distance(6, 33), {}),
        (distance(2, 5, f=random(1, 2, 5)), {}),
    ],
    "ConsistencyLoss": [
        *[(INPUTS[name], dict(input=name, normalization=normalization, num_output=4, frames=3))
          for name in INPUTS for normalization in ("VALID", "NONE")],
        *[(labelled(features(2, 6, 5), 1, 3, scores=scores),
           dict(input="WEIGHTED_FRAMES", num_output=4, frames=3))
          for scores in (FIRST_SCORELESS, PART_SCORELESS)],
        (labelled(features(1, 2, 1), 0, 1), dict(num_output=2, frames=1)),
        (labelled(features(6, 16, 33), 0, 9), dict(num_output=10)),
        (labelled(features(2, 6, 5, scale=100), 1, 3), dict(num_output=4, frames=3)),
        (labelled(features(2, 6, 5), 0, 0), dict(num_output=1, frames=3)),
    ],
    "HeatMaps": [
        (dict(joints=JOINTS), dict(stride=8, sigma=21, **MAPS)),
        (dict(joints=3 * random(3, 4, 3)), MAPS),
        (dict(joints=3 * random(3, 4, 3)), dict(channel=[2, 0, 3, 1], sigma=0.7, stride=1.5, **MAPS)),
        (dict(joints=np.abs(random(2, 3, 3)) * [1, 1, 0]), MAPS),  # none is annotated
        (dict(joints=random(2, 3, 3) + [0, 1e4, 9]), MAPS),        # off the image
        (dict(joints=np.ones((1, 1, 3))), dict(height=1, width=1)),
    ],
    "L1Normalize": [
        (dict(scores=random(6, 5)), dict(frames=3)),
        (dict(scores=positive(6, 5)), dict(frames=1)),
        (dict(scores=positive(6, 1)), dict(frames=6, eps=0.5)),
        (dict(scores=FIRST_SCORELESS), dict(frames=3)),
        (dict(scores=positive(16, 6)), {}),
    ],
    "PairwiseDistance": [
        *[(dict(g=g), dict(feature_norm=norm, squared=squared)) for norm in ("UNNORMALIZED", "L2_UNIT")
          for squared in (False, True) for g in (random(3, 5), random(1, 5), random(6, 1), random(4, 1024), np.ones((3, 5)),
                    random(3, 5) * [[0], [1], [1]])],
        (dict(g=random(3, 5)), {}),
    ],
    "PartBoxes": [
        (dict(joints=JOINTS), {}),
        (dict(joints=JOINTS), dict(grow=0.2)),
        (dict(joints=JOINTS), dict(min_side=40)),
        (dict(joints=JOINTS), dict(clip_width=32, clip_height=20)),
        (dict(joints=JOINTS), dict(clip_width=32)),
        (dict(joints=JOINTS), dict(grow=0.3, min_side=50, clip_width=32, clip_height=20)),
        (dict(joints=np.full((2, 14, 3), 7)), {}),
        (dict(joints=np.full((2, 14, 3), 7)), dict(min_side=4)),
        (dict(joints=JOINTS[:1]), dict(part=[dict(joint=[14])], tops=1)),
        (dict(joints=JOINTS[:, :5]), dict(part=[dict(joint=[1, 5, 5]), dict(joint=[5, 2])], tops=2)),
    ],
    "PoseInput": [
        *[(dict(data=random(2, 3, *size)), dict(POSE, **options)) for size in ((12, 13), (5, 3), (1, 1))
          for options in ({}, dict(aspect=2.3), dict(aspect=0.03), dict(fill=0, sigma=2.5))],
        (dict(data=random(1, 3, 5, 4)), dict(new_height=4, new_width=6, aspect=0.75)),  # an end on a pixel's centre
        (dict(data=random(1, 3, 5, 4)), dict(new_height=1, new_width=1, mean_value=[7], aspect=3)),
        (dict(data=50 * random(1, 3, 224, 224)), {}),
    ],
    "ROIAlign": [
        *[(maps(6, 5, ROIS), dict(pooled_h=h, pooled_w=w, spatial_scale=1 / 16, **options))
          for h, w in ((2, 3), (1, 1), (8, 8))
          for options in ({}, dict(sampling_ratio=1), dict(sampling_ratio=3))],
        (maps(6, 5, [[1, 0.7, 1.3, 3.9, 4.2]]), dict(pooled_h=2, pooled_w=2)),
        (maps(1, 1, ROIS), dict(pooled_h=2, pooled_w=2, spatial_scale=1 / 16)),
    ],
    "ROIPooling": [
        *[(maps(6, 5, ROIS), dict(pooled_h=h, pooled_w=w, spatial_scale=1 / 16))
          for h, w in ((2, 3), (1, 1), (8, 8))],
        (maps(6, 5, [[1, 0.7, 1.3, 3.9, 4.2]]), dict(pooled_h=2, pooled_w=2)),
        (maps(1, 1, ROIS), dict(pooled_h=2, pooled_w=2, spatial_scale=1 / 16)),
        (maps(6, 5, ROIS, np.full((2, 3, 6, 5), -1)), dict(pooled_h=2, pooled_w=2, spatial_scale=1 / 16)),
    ],
    "SpatialSoftArgMax": [
        *[(dict(maps=random(2, 14, 5, 3)), dict(mode=mode, **options)) for mode in ("ARG_MAX", "SOFT")
          for options in ({}, dict(stride=8), dict(joints=2), dict(channel=[13, 0, 13]),
                          dict(beta=20, stride=4))],
        *[(dict(maps=np.zeros((1, 2, 3, 4))), dict(mode=mode, joints=2)) for mode in ("ARG_MAX", "SOFT")],
        (dict(maps=random(1, 1, 1, 1)), dict(mode="SOFT", joints=1)),
        (dict(maps=1e4 * random(1, 1, 3, 4)), dict(mode="SOFT", joints=1)),
    ],
    "TripletLoss": [
        *[(triplets(*label), dict(margin=0.3, triplets=kind, normalization=normalization))
          for kind, label in (("ORDERED", (1, 1, 0, 4, 4, 1)), ("ALL", (1, 0, 1, 1, 0, 5)),
                              ("HARD", (1, 0, 1, 1, 0, 5)))
          for normalization in ("VALID", "NONE")],
        *[(triplets(*label), dict(margin=0.3, triplets=kind)) for kind in ("ALL", "HARD")
          for label in ((2, 2, 2), (0, 1, 2), (1,))],
        *[(triplets(1, 1, 0, 0, d=np.ones((4, 4))), dict(margin=margin, triplets=kind))
          for kind in ("ALL", "HARD") for margin in (0, 0.5)],
        (triplets(1, 1, 0), dict(margin=1.2)),
    ],
}


@pytest.mark.parametrize("layer, case", [(layer, i) for layer in CASES for i in range(len(CASES[layer]))])
def test_the_layer_is_its_twin(tmp_path, layer, case):
    bottoms, options = CASES[layer][case]
    compare(*(run(tmp_path, twins, layer, bottoms, **options) for twins in (False, True)))


@pytest.mark.parametrize("twins", [False, True])
@pytest.mark.parametrize("layer", CASES)
def test_a_net_made_for_twice_as_much_gives_the_same(tmp_path, layer, twins):
    bottoms, options = CASES[layer][0]
    twice = {name: np.tile(array, (2, 2) if name == "distances" else (2, *[1] * (array.ndim - 1)))
             for name, array in bottoms.items()}
    compare(run(tmp_path, twins, layer, bottoms, made_for=twice, **options),
            run(tmp_path, twins, layer, bottoms, **options))


@pytest.mark.parametrize("twins", [False, True])
@pytest.mark.parametrize("layer, case", [("AttentionPooling", 0), ("AttentionDistance", 0), ("ROIAlign", 0),
                                         ("ROIPooling", 0), ("ConsistencyLoss", 2)])
def test_only_the_bottoms_that_want_a_gradient_get_one(tmp_path, layer, case, twins):
    bottoms, options = CASES[layer][case]
    every = run(tmp_path, twins, layer, bottoms, **options)
    names = [name for name in bottoms if name != "label"]
    for wanted in itertools.product((False, True), repeat=len(names)):
        wanted = dict(zip(names, wanted))
        if not any(wanted.values()):
            continue
        some = run(tmp_path, twins, layer, bottoms, wanted=wanted, **options)
        for name in names:
            expected = every[f"gradient of {name}"] if wanted[name] else 5
            np.testing.assert_array_equal(some[f"gradient of {name}"], np.broadcast_to(
                expected, bottoms[name].shape), err_msg=f"{name} of {wanted}")


NAN = np.where(np.arange(42).reshape(1, 14, 3) == 4, np.nan, 1)
BIN = dict(pooled_h=1, pooled_w=1)


@pytest.mark.parametrize("layer, bottoms, options, sentence", [
    ("AttentionPooling", pooling(2, 6, 5), dict(frames=4), "6 rows"),
    ("AttentionPooling", pooling(1, 6, 5, positive(6, 2)), dict(frames=3), "feature"),
    ("AttentionPooling", {**pooling(1, 6, 5), "features0": random(5, 5)}, dict(frames=3), "features 1|rows"),
    ("AttentionDistance", dict(parts=random(3, 2, 4), weights=positive(3, 3)), {}, "weights must"),
    ("AttentionDistance", dict(parts=random(3, 2), weights=positive(3, 2)), {}, "parts must"),
    ("ConsistencyLoss", labelled(features(1, 6, 5), 1, 3), dict(frames=3), "num_output"),
    ("ConsistencyLoss", labelled(features(1, 6, 5), 1, 3), dict(num_output=4, frames=4), "6 rows"),
    ("ConsistencyLoss", labelled(features(1, 6, 5), 1), dict(num_output=4, frames=3), "label"),
    ("ConsistencyLoss", labelled(features(1, 6, 5), 1, 4), dict(num_output=4, frames=3), "label 4 .*none"),
    ("ConsistencyLoss", labelled(features(1, 6, 5), 1, 0.5), dict(num_output=4, frames=3), "label 0.5"),
    ("ConsistencyLoss", labelled(features(1, 6, 5), 1, 3, scores=positive(6, 2)),
     dict(num_output=4, frames=3, input="WEIGHTED_FRAMES"), "scores"),
    ("ConsistencyLoss", labelled(dict(parts=random(2, 5)), 0, 1),
     dict(num_output=4, input="AGGREGATED"), "V.* R.* C"),
    ("L1Normalize", dict(scores=random(6, 5)), dict(frames=4), "6 rows"),
    ("L1Normalize", dict(scores=random(6, 5)), dict(frames=3, eps=0), "eps must be .*above 0"),
    ("PairwiseDistance", dict(g=random(3)), {}, "features must be|features must have"),
    ("HeatMaps", dict(joints=JOINTS[..., :2]), MAPS, "joints must"),
    *[("HeatMaps", dict(joints=JOINTS[:, :3]), dict(MAPS, channel=channel), "channel")
      for channel in ([0, 1], [0, 1, 1], [1, 2, 3])],
    *[("HeatMaps", dict(joints=JOINTS), dict(MAPS, **{name: 0}), name)
      for name in ("height", "width", "stride", "sigma")],
    ("HeatMaps", dict(joints=JOINTS), dict(height=4), "width"),
    ("PartBoxes", dict(joints=JOINTS[..., :2]), {}, "joints must"),
    ("PartBoxes", dict(joints=JOINTS[:, :13]), {}, "part 5"),
    ("PartBoxes", dict(joints=JOINTS), dict(tops=5), "6"),
    ("PartBoxes", dict(joints=JOINTS), dict(grow=-1), "grow"),
    ("PartBoxes", dict(joints=NAN), {}, "joint"),
    ("PoseInput", dict(data=random(2, 1, 4, 4)), {}, "data must|frames must"),
    ("PoseInput", dict(data=random(3, 4, 4)), {}, "data must|frames must"),
    *[("PoseInput", dict(data=random(2, 3, 4, 4)), {name: 0}, name)
      for name in ("new_height", "new_width", "aspect", "scale", "sigma")],
    ("PoseInput", dict(data=random(2, 3, 4, 4)), dict(mean_value=[1, 2]), "mean_value"),
    *[(layer, *case) for layer in ("ROIPooling", "ROIAlign") for case in (
        (maps(6, 5, [[0, 1, 1, 2]]), BIN, "M.*5"),
        (dict(maps=random(2, 6, 5), rois=np.zeros((1, 5))), BIN, "maps must"),
        (maps(6, 5, [[2, 1, 1, 2, 2]]), BIN, "map 2, but there are"),
        (maps(6, 5, [[0, 1, 1, 2, 2], [0.5, 1, 1, 2, 2]]), BIN, "1 is o[nf] map 0.5"),
        (maps(6, 5, [[0, 1, np.nan, 2, 2]]), BIN, "nan"),
        (maps(6, 5, [[0, 1, 1, 2, 2]]), dict(pooled_h=1), "pooled_w"),
        (maps(6, 5, [[0, 1, 1, 2, 2]]), dict(spatial_scale=0, **BIN), "spatial_scale must be .*above 0"))],
    ("SpatialSoftArgMax", dict(maps=random(1, 13, 4, 4)), {}, "map 13"),
    ("TripletLoss", triplets(1, 1, 0), {}, "margin"),
    ("TripletLoss", triplets(1, 1, 0, d=random(3, 4)), dict(margin=1), "distances must"),
    ("TripletLoss", triplets(1, 1, 0, 0), dict(margin=1), "ORDERED|anchor"),
    ("TripletLoss", triplets(1, 0, 0), dict(margin=1), "videos 0, 1, 2 .*1, 0, 0"),
])
def test_both_refuse_wrong_input_in_a_sentence(tmp_path, layer, bottoms, options, sentence):
    for twins, start in ((False, rf"^layer 'layer' \({layer}\): "), (True, f"^{layer}")):
        with pytest.raises(ValueError, match=f"{start}.*({sentence})"):
            run(tmp_path, twins, layer, bottoms, **options)
