"""The mathematics of the Python twins from heat maps to part features: joints, boxes, ROI pooling; no Caffe needed."""


import numpy as np
import pytest
from twin_inputs import array, check_gradient, random

from layers.part_boxes import part_boxes_layer as part_boxes
from layers.roi_align import roi_align_layer as roi_align
from layers.roi_pooling import roi_pooling_layer as roi_pooling
from layers.spatial_soft_arg_max import (
    spatial_soft_arg_max_layer as spatial_soft_arg_max,
)


class TestPartBoxes:
    def test_the_papers_parts(self):
        joints = np.zeros((2, 14, 3))
        joints[1, :, 0], joints[1, :, 1] = np.arange(1, 15), 100 - 2 * np.arange(1, 15)
        boxes = part_boxes.forward(joints)
        spans = [(1, 6), (2, 12), (3, 5), (6, 8), (12, 14), (9, 11)]  # lowest and highest joint of each part
        for box, (low, high) in zip(boxes, spans, strict=True):
            assert box.tolist() == [[0, 0, 0, 0, 0], [1, low, 100 - 2 * high, high, 100 - 2 * low]]

    def box(self, low, high, **options):
        joints = array([[low, 0, 1], [high, 0, 1]])
        ends = part_boxes.forward(joints, part=((1, 2),), **options)[0][0, [1, 3]]
        slopes = []
        for top in (1, 3):
            diff = np.zeros((1, 5))
            diff[0, top] = 1
            (gradient,) = part_boxes.backward([diff], joints, part=((1, 2),), **options)
            slopes.append(tuple(gradient[0, :, 0]))
            assert not gradient[:, :, 1:].any()
        return tuple(ends), slopes

    def test_grow_then_widen_then_clip(self):
        assert self.box(10, 20) == ((10, 20), [(1, 0), (0, 1)])
        assert self.box(10, 20, grow=0.25) == ((7.5, 22.5), [(1.25, -0.25), (-0.25, 1.25)])
        assert self.box(10, 20, grow=0.25, min_side=15) == ((7.5, 22.5), [(1.25, -0.25), (-0.25, 1.25)])
        assert self.box(10, 20, grow=0.25, min_side=20) == ((5, 25), [(0.5, 0.5), (0.5, 0.5)])
        assert self.box(10, 20, grow=0.25, min_side=20, clip_width=20) == ((5, 19), [(0.5, 0.5), (0, 0)])
        assert self.box(10, 20, clip_width=21) == ((10, 20), [(1, 0), (0, 1)])
        assert self.box(10, 20, clip_height=5) == ((10, 20), [(1, 0), (0, 1)])

    def test_joints_off_the_image(self):
        assert self.box(-9, -3, clip_width=20) == ((0, 0), [(0, 0), (0, 0)])
        assert self.box(30, 40, clip_width=20) == ((19, 19), [(0, 0), (0, 0)])

    def test_ties_go_to_the_first_joint_of_the_part(self):
        joints, diff = np.zeros((1, 3, 3)), array([0, 1, 2, 3, 4])
        (gradient,) = part_boxes.backward([diff], joints, part=((3, 1, 2),))
        assert gradient.tolist() == [[[0, 0, 0], [0, 0, 0], [4, 6, 0]]]

    @pytest.mark.parametrize("options", [{}, {"grow": 0.2}, {"min_side": 1.5},
                                         {"grow": 0.1, "min_side": 1, "clip_width": 2, "clip_height": 2}])
    def test_gradient(self, options):
        check_gradient(part_boxes, [random(2, 14, 3)], (0,), **options)


def slow_roi_pooling(maps, rois, pooled_h, pooled_w, spatial_scale):
    """Fast R-CNN's definition, one value at a time; the ends here are no halves."""
    top = np.zeros((len(rois), maps.shape[1], pooled_h, pooled_w))
    for m, c, ph, pw in np.ndindex(top.shape):
        x1, y1, x2, y2 = (round(float(x)) for x in rois[m, 1:] * spatial_scale)
        bin_h, bin_w = max(y2 - y1 + 1, 1) / pooled_h, max(x2 - x1 + 1, 1) / pooled_w
        values = [maps[int(rois[m, 0]), c, y, x]
                  for y in range(int(np.floor(ph * bin_h)) + y1, int(np.ceil((ph + 1) * bin_h)) + y1)
                  for x in range(int(np.floor(pw * bin_w)) + x1, int(np.ceil((pw + 1) * bin_w)) + x1)
                  if 0 <= y < maps.shape[2] and 0 <= x < maps.shape[3]]
        top[m, c, ph, pw] = max(values, default=0)
    return top


class TestROIPooling:
    maps = np.arange(16.0).reshape(1, 1, 4, 4)

    def test_by_hand(self):
        roi = array([0, 0, 0, 3, 3])
        (top,) = roi_pooling.forward(self.maps, roi, 2, 2)
        assert top.tolist() == [[[[5, 7], [13, 15]]]]
        dmaps, drois = roi_pooling.backward([array([[[1, 2], [3, 4]]])], self.maps, roi, 2, 2)
        assert drois is None
        assert dmaps[0, 0].tolist() == [[0, 0, 0, 0], [0, 1, 0, 2], [0, 0, 0, 0], [0, 3, 0, 4]]

    @pytest.mark.parametrize("x, cell", [(0.5, 1), (1.5, 2), (2.5, 3), (0.49, 0), (-0.49, 0)])
    def test_halves_round_away_from_zero(self, x, cell):
        assert roi_pooling.forward(self.maps, array([0, x, 0, x, 0]), 1, 1)[0] == cell

    def test_minus_a_half_is_off_the_map(self):
        (top,) = roi_pooling.forward(self.maps + 1, array([0, -0.5, 0, -0.5, 0]), 1, 1)
        assert top == 0

    def test_bins_outside_the_map_are_empty(self):
        roi = array([0, 2, 0, 5, 0])
        assert roi_pooling.forward(self.maps, roi, 1, 2)[0].tolist() == [[[[3, 0]]]]
        dmaps, _ = roi_pooling.backward([np.ones((1, 1, 1, 2))], self.maps, roi, 1, 2)
        assert dmaps.sum() == 1

    def test_a_box_turned_round_is_one_cell(self):
        assert roi_pooling.forward(self.maps, array([0, 2, 2, 0, 0]), 1, 1)[0] == 10

    def test_the_first_of_equals_gets_the_gradient(self):
        dmaps, _ = roi_pooling.backward([np.ones((1, 1, 1, 1))], np.zeros((1, 1, 3, 3)),
                                        array([0, 1, 1, 2, 2]), 1, 1)
        assert dmaps[0, 0].tolist() == [[0, 0, 0], [0, 1, 0], [0, 0, 0]]

    def test_bin_ends_are_float32s(self):
        """7 cells in 13 bins: 13 * float32(7 / 13) is above 7, so the last bin takes in an eighth cell."""
        (top,) = roi_pooling.forward(np.arange(9.0).reshape(1, 1, 1, 9), array([0, 0, 0, 6, 0]), 1, 13)
        assert top[0, 0, 0].tolist() == [0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 7]

    def test_slow_definition(self):
        rng = np.random.default_rng(0)
        maps = rng.normal(size=(3, 2, 7, 5))
        corners = rng.uniform(-10, 40, (12, 4))
        rois = np.column_stack([rng.integers(0, 3, 12), corners])
        for pooled_h, pooled_w in ((1, 1), (2, 3), (8, 8)):
            (top,) = roi_pooling.forward(maps, rois, pooled_h, pooled_w, spatial_scale=0.25)
            np.testing.assert_array_equal(top, slow_roi_pooling(maps, rois, pooled_h, pooled_w, 0.25))

    def test_gradient(self):
        rois = array([1, 0, 0, 16, 9], [0, 4, 8, 40, 24], [1, 0, 0, 16, 9])
        check_gradient(roi_pooling, [random(2, 2, 5, 6), rois], (0,), pooled_h=2, pooled_w=3,
                       spatial_scale=0.25)


def slow_roi_align(maps, rois, pooled_h, pooled_w, spatial_scale, sampling_ratio):
    """The definition, one sample at a time."""
    def sample(cells, y, x):
        height, width = cells.shape
        if y < -1 or y > height or x < -1 or x > width:
            return 0
        y, x = np.clip(y, 0, height - 1), np.clip(x, 0, width - 1)
        return sum(cells[i, j] * max(0, 1 - abs(y - i)) * max(0, 1 - abs(x - j))
                   for i, j in np.ndindex(height, width))

    top = np.zeros((len(rois), maps.shape[1], pooled_h, pooled_w))
    for m, c, ph, pw in np.ndindex(top.shape):
        x1, y1, x2, y2 = rois[m, 1:] * spatial_scale - 0.5
        offsets = (np.arange(sampling_ratio) + 0.5) / sampling_ratio
        top[m, c, ph, pw] = np.mean([sample(maps[int(rois[m, 0]), c], y1 + (y2 - y1) / pooled_h * (ph + dy),
                                            x1 + (x2 - x1) / pooled_w * (pw + dx))
                                     for dy in offsets for dx in offsets])
    return top


class TestROIAlign:
    ramp = np.broadcast_to(np.arange(6.0), (1, 1, 4, 6))  # a cell's value is its column

    def test_by_hand(self):
        # x from 1 to 3 in cells: bins of one cell, samples at 1.25, 1.75 and 2.25, 2.75
        (top,) = roi_align.forward(self.ramp, array([0, 6, 2, 14, 10]), 1, 2, spatial_scale=0.25)
        np.testing.assert_allclose(top, [[[[1.5, 2.5]]]])
        _, drois = roi_align.backward([array([[[1, 0]]])], self.ramp, array([0, 6, 2, 14, 10]), 1, 2,
                                      spatial_scale=0.25)
        np.testing.assert_allclose(drois, [[0, 0.75 * 0.25, 0, 0.25 * 0.25, 0]], atol=1e-15)

    def test_a_zero_area_box_samples_its_point(self):
        roi = array([0, 3.2, 2, 3.2, 2])
        np.testing.assert_allclose(roi_align.forward(self.ramp, roi, 2, 2)[0], 2.7)
        dmaps, drois = roi_align.backward([np.ones((1, 1, 2, 2))], self.ramp, roi, 2, 2)
        assert dmaps.sum() == pytest.approx(4) and drois[0, 1] + drois[0, 3] == pytest.approx(4)

    @pytest.mark.parametrize("x, value", [(-0.51, 0), (-0.49, 7), (0.3, 7), (6.2, 12), (6.49, 12), (6.51, 0)])
    def test_outside_the_map(self, x, value):
        """Cell coordinates x - 0.5: below -1 and above the size 6 samples 0, else the nearest cell."""
        roi = array([0, x, 2, x, 2])
        assert roi_align.forward(self.ramp + 7, roi, 1, 1)[0] == pytest.approx(value)
        dmaps, drois = roi_align.backward([np.ones((1, 1, 1, 1))], self.ramp, roi, 1, 1)
        assert dmaps.sum() == pytest.approx(float(value > 0)) and not drois.any()

    def test_a_box_off_the_image_is_zero(self):
        roi = array([0, 50, 50, 90, 90])
        dmaps, drois = roi_align.backward([np.ones((1, 1, 2, 2))], self.ramp, roi, 2, 2)
        assert not roi_align.forward(self.ramp, roi, 2, 2)[0].any() and not dmaps.any() and not drois.any()

    def test_slow_definition(self):
        rng = np.random.default_rng(0)
        maps = rng.normal(size=(3, 2, 4, 5))
        rois = np.column_stack([rng.integers(0, 3, 8), rng.uniform(-10, 30, (8, 4))])
        for sampling_ratio in (1, 2, 3):
            arguments = (maps, rois, 3, 2, 0.25, sampling_ratio)
            (top,) = roi_align.forward(*arguments)
            np.testing.assert_allclose(top, slow_roi_align(*arguments), atol=1e-12)

    @pytest.mark.parametrize("sampling_ratio", [1, 2])
    def test_gradient(self, sampling_ratio):
        rois = array([1, 1.3, 2.1, 18.2, 15.5], [0, 4.1, 8.3, 30.7, 14.9], [1, 15.2, 13.3, 6.1, 2.8])
        maps = random(2, 2, 4, 5)
        options = dict(pooled_h=2, pooled_w=3, spatial_scale=0.25, sampling_ratio=sampling_ratio)
        check_gradient(roi_align, [maps, rois], (0,), **options)
        coordinates = Coordinates(rois[:, 0], options)
        check_gradient(coordinates, [maps, rois[:, 1:]], (1,))


class Coordinates:
    """ROIAlign as a function of the corners alone: a map index cannot be moved by a little."""

    def __init__(self, index, options):
        self.index, self.options = index, options

    def forward(self, maps, corners):
        return roi_align.forward(maps, np.column_stack([self.index, corners]), **self.options)

    def backward(self, diffs, maps, corners):
        dmaps, drois = roi_align.backward(diffs, maps, np.column_stack([self.index, corners]), **self.options)
        assert not drois[:, 0].any()
        return [dmaps, drois[:, 1:]]


class TestSpatialSoftArgMax:
    def test_arg_max(self):
        maps = np.zeros((1, 2, 3, 4))
        maps[0, 1, 2, 1] = 5
        (joints,) = spatial_soft_arg_max.forward(maps, joints=2, stride=8)
        assert joints.tolist() == [[[3.5, 3.5, 0], [11.5, 19.5, 5]]]  # the first cell of equals
        (gradient,) = spatial_soft_arg_max.backward([np.ones((1, 2, 3))], maps, joints=2)
        assert not gradient.any()

    def test_soft(self):
        maps = np.zeros((1, 1, 1, 2))
        maps[0, 0, 0, 1] = np.log(3)
        (joints,) = spatial_soft_arg_max.forward(maps, mode="SOFT", joints=1, stride=4)
        np.testing.assert_allclose(joints, [[[1.5 + 4 * 0.75, 1.5, np.log(3)]]])
        (joints,) = spatial_soft_arg_max.forward(maps, mode="SOFT", joints=1, beta=2)
        np.testing.assert_allclose(joints, [[[0.9, 0, np.log(3)]]])

    def test_equal_maps_give_the_centre_and_large_ones_the_highest_cell(self):
        maps = np.zeros((1, 1, 3, 5))
        assert spatial_soft_arg_max.forward(maps, mode="SOFT", joints=1)[0].tolist() == [[[2, 1, 0]]]
        maps[0, 0, 2, 4] = 1e4
        assert spatial_soft_arg_max.forward(maps, mode="SOFT", joints=1)[0].tolist() == [[[4, 2, 1e4]]]

    def test_channel_maps_joints_to_maps(self):
        maps = random(2, 4, 3, 3)
        (joints,) = spatial_soft_arg_max.forward(maps, channel=(3, 1))
        (every,) = spatial_soft_arg_max.forward(maps, joints=4)
        np.testing.assert_array_equal(joints, every[:, [3, 1]])

    def test_the_maximum_passes_no_gradient(self):
        diffs = np.zeros((1, 1, 3))
        diffs[..., 2] = 1
        assert not spatial_soft_arg_max.backward([diffs], random(1, 1, 3, 3), mode="SOFT", joints=1)[0].any()

    @pytest.mark.parametrize("channel", [(), (2, 0, 2)])
    def test_gradient(self, channel):
        places = Places(dict(mode="SOFT", beta=1.5, stride=4, channel=channel, joints=2))
        check_gradient(places, [random(2, 3, 3, 4)], (0,))


class Places:
    """SpatialSoftArgMax without its third value, which passes no gradient."""

    def __init__(self, options):
        self.options = options

    def forward(self, maps):
        return [spatial_soft_arg_max.forward(maps, **self.options)[0][..., :2]]

    def backward(self, diffs, maps):
        whole = np.concatenate([diffs[0], np.zeros((*diffs[0].shape[:2], 1))], axis=2)
        return spatial_soft_arg_max.backward([whole], maps, **self.options)
