"""The twins as Caffe layers: options, refusals and gradients, on stand-ins for Caffe's blobs."""

import inspect
import itertools
import json
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest
from twin_inputs import array, positive, random

from layers.attention_distance import attention_distance_layer as attention_distance
from layers.attention_pooling import attention_pooling_layer as attention_pooling
from layers.consistency_loss import consistency_loss_layer as consistency_loss
from layers.heat_maps import heat_maps_layer as heat_maps
from layers.l1_normalize import l1_normalize_layer as l1_normalize
from layers.pairwise_distance import pairwise_distance_layer as pairwise_distance
from layers.part_boxes import part_boxes_layer as part_boxes
from layers.pose_input import pose_input_layer as pose_input
from layers.roi_align import roi_align_layer as roi_align
from layers.roi_pooling import roi_pooling_layer as roi_pooling
from layers.spatial_soft_arg_max import (
    spatial_soft_arg_max_layer as spatial_soft_arg_max,
)
from layers.triplet_loss import triplet_loss_layer as triplet_loss
from layers.twin import REQUIRED, read_options
from stal.errors import InputError

MODULES = (attention_distance, attention_pooling, consistency_loss, heat_maps, l1_normalize, pairwise_distance,
           part_boxes, pose_input, roi_align, roi_pooling, spatial_soft_arg_max, triplet_loss)
NAMES = [module.NAME for module in MODULES]
OF_TWIN_ONLY = {"normalization"}  # the C++ layers read it from Caffe's loss_param


class Blob:
    """What a twin uses of a Caffe blob."""

    def __init__(self, data=0.0):
        self.data = np.array(data, np.float32)
        self.diff = np.full_like(self.data, 7)

    @property
    def shape(self):
        return self.data.shape

    def reshape(self, *shape):
        if shape != self.data.shape:
            self.data, self.diff = np.zeros(shape, np.float32), np.zeros(shape, np.float32)


class Parameters(list):
    def add_blob(self, *shape):
        self.append(Blob(np.zeros(shape)))


def set_up(module, bottoms, tops, **options):
    """A twin's layer after Caffe's setup and reshape, its bottoms and tops."""
    bare = type(module.NAME, (getattr(module, module.NAME),), {"blobs": Parameters()})
    layer = bare.__new__(bare)  # only Caffe can call a layer's __init__
    layer.param_str = json.dumps(options)
    bottom, top = [Blob(bottom) for bottom in bottoms], [Blob() for _ in range(tops)]
    layer.setup(bottom, top)
    layer.reshape(bottom, top)
    return layer, bottom, top


RUNS = [
    (attention_distance, [random(3, 2, 4), positive(3, 2)], 1, {"norm": "L2"}),
    (attention_pooling, [positive(6, 2), *random(2, 6, 3)], 2, {"frames": 3}),
    (heat_maps, [random(2, 3, 3)], 1, {"height": 4, "width": 5, "channel": [2, 0, 1]}),
    (l1_normalize, [positive(6, 2)], 1, {"frames": 2, "eps": 0.5}),
    (pairwise_distance, [random(3, 4)], 1, {"squared": True}),
    (part_boxes, [random(2, 14, 3)], 6, {"grow": 0.25}),
    (pose_input, [random(2, 3, 4, 3)], 1, {"new_height": 6, "new_width": 5, "mean_value": [9, 8, 7]}),
    (roi_align, [random(2, 2, 4, 5), array([1, 1.3, 2.1, 3.2, 3.7])], 1, {"pooled_h": 2, "pooled_w": 3}),
    (roi_pooling, [random(2, 2, 4, 5), array([1, 1.3, 2.1, 3.2, 3.7])], 1, {"pooled_h": 2, "pooled_w": 3}),
    (spatial_soft_arg_max, [random(2, 3, 4, 5)], 1, {"mode": "SOFT", "channel": [2, 1]}),
    (triplet_loss, [random(3, 3), array(1, 1, 2)], 1, {"margin": 0.5}),
]


@pytest.mark.parametrize("module, bottoms, tops, options", RUNS, ids=[run[0].NAME for run in RUNS])
def test_the_layer_does_what_the_functions_do(module, bottoms, tops, options):
    layer, bottom, top = set_up(module, bottoms, tops, **options)
    layer.forward(bottom, top)
    options = {name: tuple(value) if isinstance(value, list) else value for name, value in options.items()}
    bottoms = [blob.data.astype(float) for blob in bottom]
    expected = module.forward(*bottoms, **options)
    for blob, value in zip(top, expected, strict=True):
        np.testing.assert_allclose(blob.data, value, rtol=1e-6, atol=1e-7)
        assert blob.shape == value.shape
    for seed, blob in enumerate(top):
        blob.diff[...] = random(*blob.shape, seed=seed)
    gradients = module.backward([blob.diff.astype(float) for blob in top], *bottoms, **options)
    for wanted in itertools.product((False, True), repeat=len(bottom)):
        for blob in bottom:
            blob.diff[...] = 7
        layer.backward(top, wanted, bottom)
        for blob, asked, gradient in zip(bottom, wanted, gradients, strict=True):
            value = 7 if not asked else 0 if gradient is None else gradient
            np.testing.assert_allclose(blob.diff, np.broadcast_to(value, blob.shape), rtol=1e-5, atol=1e-6)


def test_the_consistency_layer_fills_its_weights_and_adds_to_their_gradient():
    bottoms, options = [*random(2, 4, 3), array(1, 0)], {"num_output": 5, "frames": 2}
    layer, bottom, top = set_up(consistency_loss, bottoms, 1, weight_filler={"type": "xavier"}, **options)
    weights = layer.blobs[0].data.astype(float)
    assert weights.shape == (2, 5, 3) and weights.std() > 0.3
    layer.forward(bottom, top)
    inputs = [blob.data.astype(float) for blob in bottom]
    assert top[0].data == pytest.approx(consistency_loss.forward(*inputs, weights=weights, frames=2)[0])
    top[0].diff[...] = 2
    layer.blobs[0].diff[...] = 0
    gradients, dweights = consistency_loss.backward([np.array(2.0)], *inputs, weights=weights, frames=2)
    for times in (1, 2):
        layer.backward(top, [True, False, False], bottom)
        np.testing.assert_allclose(layer.blobs[0].diff, times * dweights, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(bottom[0].diff, gradients[0], rtol=1e-5, atol=1e-6)
        assert (bottom[1].diff == 7).all()
    layer.setup(bottom, top)
    assert len(layer.blobs) == 1 and (layer.blobs[0].data == weights).all()


def test_modules_import_without_caffe_and_are_caffe_layers_with_it():
    code = """if True:
        import sys, types
        stub = types.ModuleType("caffe")
        stub.Layer = type("Layer", (), {})
        sys.modules["caffe"] = stub if sys.argv[1] == "with" else None
        from layers.twin import Layer
        from layers.triplet_loss.triplet_loss_layer import TripletLoss
        assert issubclass(TripletLoss, Layer) and Layer is (stub.Layer if sys.argv[1] == "with" else object)
        """
    for how in ("with", "without"):
        subprocess.run([sys.executable, "-c", code, how], check=True)


def test_no_layer_works_in_place():
    blob = Blob(positive(4, 2))
    layer, _, _ = set_up(l1_normalize, [positive(4, 2)], 1, frames=2)
    with pytest.raises(InputError, match="L1Normalize does not work in place"):
        layer.reshape([blob], [blob])


def proto_message(name):
    """{field: (type, default)} and {enum: names} of a message of layers.proto."""
    text = pathlib.Path(inspect.getfile(part_boxes)).parents[1].joinpath("layers.proto").read_text()
    text = re.sub("//.*", "", text)
    def enums(part):
        return {enum: re.findall(r"(\w+) =", values)
                for enum, values in re.findall(r"enum (\w+) \{(.*?)\}", part, re.S)}
    body = re.search(rf"^message {name}Parameter \{{(.*?)^\}}", text, re.S | re.M)[1]
    own = re.sub(r"(enum|message) \w+ \{.*?\}", "", body, flags=re.S)
    fields = re.findall(r"(?:optional|repeated) (\w+) (\w+) = \d+(?: \[default = (\S+)\])?;", own)
    return {field: (kind, default) for kind, field, default in fields}, {**enums(text), **enums(body)}


@pytest.mark.parametrize("module", MODULES, ids=NAMES)
def test_options_are_those_of_the_proto(module):
    fields, enums = proto_message(module.NAME)
    assert set(module.OPTIONS) - OF_TWIN_ONLY == set(fields)
    for name, (kind, default) in fields.items():
        read, own = module.OPTIONS[name]
        if kind in enums:
            with pytest.raises(ValueError) as error:
                read("UPSIDE_DOWN")
            assert sorted(str(error.value).removeprefix("one of ").split(", ")) == sorted(enums[kind])
            assert own == default and read(default) == default
        elif default:
            assert own == json.loads(default)
            assert type(read(own)) is {"uint32": int, "float": float, "bool": bool}[kind]
    for function in (module.shapes, module.forward, module.backward):
        for name, parameter in inspect.signature(function).parameters.items():
            if name in module.OPTIONS and name != "weight_filler":
                default = module.OPTIONS[name][1]
                assert parameter.default == (inspect.Parameter.empty if default is REQUIRED else default)


@pytest.mark.parametrize("module", MODULES, ids=NAMES)
def test_an_unknown_option_is_refused(module):
    with pytest.raises(InputError, match=f"{module.NAME} has no option 'colour'"):
        read_options(module.NAME, '{"colour": 1}', module.OPTIONS)


def text(module, **options):
    return module, json.dumps(options)


@pytest.mark.parametrize("module, param_str, sentence", [
    (*text(triplet_loss), "TripletLoss needs the option margin"),
    (*text(triplet_loss, margin=-1), "margin must be a finite number of at least 0, not -1"),
    (*text(triplet_loss, margin=True), "margin must be a finite number of at least 0, not true"),
    (triplet_loss, '{"margin": NaN}', "margin must be a finite number of at least 0, not NaN"),
    (*text(triplet_loss, margin=1, triplets="hard"), 'must be one of ORDERED, ALL, HARD, not "hard"'),
    (*text(triplet_loss, margin=1, normalization="FULL"), "normalization must be one of VALID, NONE"),
    (*text(attention_pooling, frames=0), "AttentionPooling: frames must be an integer of at least 1, not 0"),
    (*text(attention_pooling, frames=2.0), "frames must be an integer of at least 1, not 2.0"),
    (*text(attention_pooling, temporal=1), "temporal must be true or false, not 1"),
    (*text(l1_normalize, eps=0), "eps must be a finite number above 0, not 0"),
    (*text(roi_align, pooled_h=2), "ROIAlign needs the option pooled_w"),
    (*text(part_boxes, part=[{"joint": [1], "name": "head"}]), "^PartBoxes: part has no option 'name'"),
    (*text(part_boxes, part=[[1, 2]]), "part must be a list such as"),
    (*text(spatial_soft_arg_max, channel=[-1]), "channel must be a list of integers of at least 0"),
    (*text(pairwise_distance, squared=1), "squared must be true or false, not 1"),
    (*text(pose_input, new_width=0), "PoseInput: new_width must be an integer of at least 1, not 0"),
    (*text(pose_input, new_height=0), "new_height must be an integer of at least 1, not 0"),
    (*text(pose_input, aspect=0), "aspect must be a finite number above 0, not 0"),
    (*text(pose_input, sigma=-1), "sigma must be a finite number above 0, not -1"),
    (*text(pose_input, scale=0), "scale must be a finite number other than 0, not 0"),
    (*text(pose_input, scale=1e-50), "scale must be a finite number other than 0, not 1e-50"),  # 0 as a float32
    (*text(pose_input, mean_value=[1, 2]), r"mean_value must be a list of no number, one, or three .*\[1, 2\]"),
    (*text(heat_maps, width=5), "HeatMaps needs the option height"),
    (*text(heat_maps, height=5), "HeatMaps needs the option width"),
    (*text(heat_maps, height=5, width=0), "width must be an integer of at least 1, not 0"),
    (*text(heat_maps, height=0, width=5), "height must be an integer of at least 1, not 0"),
    (*text(heat_maps, height=5, width=5, stride=0), "stride must be a finite number above 0, not 0"),
    (*text(heat_maps, height=5, width=5, sigma=0), "sigma must be a finite number above 0, not 0"),
    (*text(consistency_loss, num_output=3, weight_filler={"type": "msra"}), "type must be one of constant"),
    (*text(consistency_loss, num_output=3, weight_filler="xavier"), "weight_filler must be an object"),
    (pairwise_distance, "{'feature_norm': 'L2_UNIT'}", "PairwiseDistance: param_str must be a JSON object"),
    (pairwise_distance, "[]", "PairwiseDistance: param_str must be a JSON object"),
    (l1_normalize, '{"eps": 1, "eps": 2}', "L1Normalize: param_str gives eps twice"),
])
def test_a_wrong_option_is_refused(module, param_str, sentence):
    with pytest.raises(InputError, match=sentence):
        read_options(module.NAME, param_str, module.OPTIONS)


def test_options_are_read():
    for given, mean in (("[]", (0, 0, 0)), ("[7]", (7, 7, 7)), ("[1, 2, 3]", (1, 2, 3))):
        assert read_options("PoseInput", f'{{"mean_value": {given}}}', pose_input.OPTIONS)["mean_value"] == mean
    assert read_options("PartBoxes", "", part_boxes.OPTIONS)["part"] == part_boxes.PAPER_PARTS
    assert read_options("PartBoxes", '{"part": []}', part_boxes.OPTIONS)["part"] == part_boxes.PAPER_PARTS
    options = read_options("PartBoxes", '{"part": [{"joint": [3, 1]}], "grow": 0.2}', part_boxes.OPTIONS)
    assert options["part"] == ((3, 1),) and options["grow"] == float(np.float32(0.2))


@pytest.mark.parametrize("module, shapes, tops, options, sentence", [
    (attention_pooling, [(6, 2), (6, 3)], 2, {"frames": 3}, r"of shape \(6, 2\) need 2 features, .* not 1"),
    (attention_pooling, [(6, 1), (6, 3)], 2, {"frames": 4}, "AttentionPooling: 6 rows are no .* of 4 frames"),
    (attention_pooling, [(6, 1), (5, 3)], 2, {"frames": 3}, r"features 1 must have the shape \(6, 3\)"),
    (attention_pooling, [(6, 1)], 2, {}, r"takes at least 2 bottoms \(scores, features...\), not 1"),
    (attention_pooling, [(6, 1), (6, 3)], 1, {"frames": 3}, r"takes 2 tops \(parts, weights\), not 1"),
    (attention_distance, [(3, 2, 4), (3, 3)], 1, {}, r"weights must have the shape \(3, 2\)"),
    (attention_distance, [(3, 2), (3, 2)], 1, {}, r"parts must have the shape \(V, R, C\), not \(3, 2\)"),
    (pairwise_distance, [(3, 2), (3, 2)], 1, {}, "PairwiseDistance takes 1 bottoms"),
    (pairwise_distance, [(3, 2, 1, 1)], 1, {}, r"features must have the shape \(V, C\), not \(3, 2, 1, 1\)"),
    (l1_normalize, [(6, 2)], 1, {}, "6 rows are no whole number of videos of 8 frames"),
    (triplet_loss, [(3, 4), (3,)], 1, {"margin": 1}, r"distances must be square, not \(3, 4\)"),
    (triplet_loss, [(3, 3), (4,)], 1, {"margin": 1}, r"label must have the shape \(3,\)"),
    (triplet_loss, [(4, 4), (4,)], 1, {"margin": 1}, "need a multiple of 3 videos, not 4"),
    (consistency_loss, [(6, 4), (5, 4), (2,)], 1, {"num_output": 3, "frames": 3}, "features 2 must have"),
    (consistency_loss, [(6, 4), (3,)], 1, {"num_output": 3, "frames": 3}, r"must have the shape \(2,\)"),
    (consistency_loss, [(6, 4), (2,), (6, 2)], 1, {"num_output": 3, "frames": 3, "input": "WEIGHTED_FRAMES"},
     r"scores must have the shape \(6, 1\)"),
    (consistency_loss, [(6, 2, 4), (6,), (6, 2)], 1, {"num_output": 3, "input": "AGGREGATED"},
     r"takes 2 bottoms \(parts, label\), not 3"),
    (part_boxes, [(2, 14, 2)], 6, {}, r"joints must have the shape \(F, J, 3\), not \(2, 14, 2\)"),
    (part_boxes, [(2, 10, 3)], 6, {}, "part 2 must list joints from 1 to 10"),
    (part_boxes, [(2, 10, 3)], 1, {"part": [{"joint": [0]}]}, "part 1 must list joints from 1 to 10"),
    (part_boxes, [(2, 10, 3)], 1, {"part": [{}]}, r"part 1 must list joints from 1 to 10, not \[\]"),
    (part_boxes, [(2, 14, 3)], 5, {}, "PartBoxes takes 6 tops"),
    (roi_pooling, [(1, 2, 3, 4), (2, 4)], 1, {"pooled_h": 1, "pooled_w": 1}, r"rois must have .* \(M, 5\)"),
    (roi_align, [(2, 3, 4), (2, 5)], 1, {"pooled_h": 1, "pooled_w": 1}, r"maps must have .* \(N, C, H, W\)"),
    (spatial_soft_arg_max, [(1, 13, 4, 4)], 1, {}, "reads map 13, but there are 13 maps"),
    (pose_input, [(2, 1, 4, 4)], 1, {}, r"data must have the shape \(F, 3, H, W\), not \(2, 1, 4, 4\)"),
    (pose_input, [(3, 4, 4)], 1, {}, r"data must have the shape \(F, 3, H, W\), not \(3, 4, 4\)"),
    (heat_maps, [(2, 3, 2)], 1, {"height": 4, "width": 5}, r"joints must have .* \(F, J, 3\), not \(2, 3, 2\)"),
    *[(heat_maps, [(2, 3, 3)], 1, {"height": 4, "width": 5, "channel": channel}, "channel must list each of 0 .. 2 once")
      for channel in ([0, 1], [0, 1, 1], [1, 2, 3], [0, 1, 2, 2])],
])
def test_wrong_blobs_are_refused(module, shapes, tops, options, sentence):
    with pytest.raises(InputError, match=sentence) as error:
        set_up(module, [np.zeros(shape) for shape in shapes], tops, **options)
    assert str(error.value).startswith(module.NAME)


@pytest.mark.parametrize("module, bottoms, options, sentence", [
    (triplet_loss, [np.zeros((3, 3)), array(1, 2, 3)], {"margin": 1}, "videos 0, 1, 2 must be .* 1, 2, 3"),
    (triplet_loss, [np.zeros((3, 3)), array(1, 1, 1)], {"margin": 1}, "videos 0, 1, 2 must be .* 1, 1, 1"),
    *[(consistency_loss, [np.zeros((2, 3)), array(0, y)], {"weights": np.zeros((1, 5, 3)), "frames": 1},
       f"label {y} of video 1 is none of 0 .. 4") for y in (5, -1, 0.5)],
    (part_boxes, [np.full((1, 14, 3), np.nan)], {}, "frame 0 has a joint that is not finite"),
    *[(module, [np.zeros((2, 1, 3, 3)), array(roi)], {"pooled_h": 1, "pooled_w": 1}, sentence)
      for module in (roi_pooling, roi_align)
      for roi, sentence in (([2, 0, 0, 1, 1], "roi 0 is of map 2, but there are 2 maps"),
                            ([-1, 0, 0, 1, 1], "roi 0 is of map -1"),
                            ([0.5, 0, 0, 1, 1], "roi 0 is of map 0.5"),
                            ([0, 0, 0, np.inf, 1], "roi 0 is not finite"),
                            ([0, np.nan, 0, 1, 1], "roi 0 is not finite"))],
])
def test_wrong_values_are_refused(module, bottoms, options, sentence):
    with pytest.raises(InputError, match=sentence) as error:
        module.forward(*bottoms, **options)
    assert str(error.value).startswith(module.NAME)
