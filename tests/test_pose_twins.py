"""The mathematics of the twins before and behind a pose net, as in test_twins.py; no Caffe needed."""

import numpy as np
import pytest
from twin_inputs import array, check_gradient, random

from layers.heat_maps import heat_maps_layer as heat_maps
from layers.pose_input import pose_input_layer as pose_input
from layers.spatial_soft_arg_max import (
    spatial_soft_arg_max_layer as spatial_soft_arg_max,
)


def frame(values, channels=3):
    """One frame whose channels are all ``values`` (H, W)."""
    values = np.array(values, float)
    return np.broadcast_to(values, (1, channels, *values.shape)).copy()


def slow_pose_input(data, h, w, aspect, mean_value, scale, fill, sigma):
    """The definition, one value at a time; a source's weight of a cell falls linearly to 0 at its neighbours."""
    frames, _, height, width = data.shape
    box_w, box_h = (aspect * h, h) if aspect <= w / h else (w, w / aspect)
    left, top = (w - box_w) / 2, (h - box_h) / 2
    tops = np.zeros((frames, 4, h, w))
    for n, c, y, x in np.ndindex(tops.shape):
        if c == 3:
            tops[n, c, y, x] = np.exp(-((x - w / 2) ** 2 + (y - h / 2) ** 2) / (2 * sigma ** 2))
            continue
        pixel = fill
        if left <= x + 0.5 < left + box_w and top <= y + 0.5 < top + box_h:
            sx = np.clip((x + 0.5 - left) / box_w * width - 0.5, 0, width - 1)
            sy = np.clip((y + 0.5 - top) / box_h * height - 0.5, 0, height - 1)
            value = sum(data[n, c, i, j] * max(0, 1 - abs(sy - i)) * max(0, 1 - abs(sx - j))
                        for i, j in np.ndindex(height, width))
            pixel = value / scale + mean_value[c]
        tops[n, c, y, x] = pixel / 256 - 0.5
    return tops


class TestPoseInput:
    def test_by_hand(self):
        # Columns 1 and 2 of 4 are the frame; its two rows are read at -0.25, 0.25, 0.75, 1.25, clamped to 0 .. 1.
        data = frame([[0], [256]])
        (top,) = pose_input.forward(data, 4, 4, fill=64, sigma=1)
        for c in range(3):
            np.testing.assert_allclose(top[0, c], [[-0.25, value, value, -0.25]
                                                   for value in (-0.5, -0.25, 0.25, 0.5)])
        a, b, c, d = np.exp([-2, -0.5, -1, -2.5])
        np.testing.assert_allclose(top[0, 3], [[np.exp(-4), d, a, d], [d, c, b, c], [a, b, 1, b], [d, c, b, c]])

    def test_backward_by_hand(self):
        diff = np.zeros((1, 4, 4, 4))
        diff[0, 1, 1, 1], diff[0, 1, 2, 0], diff[0, 3] = 256, 7, 9  # within, beside the frame, on the centre map
        (gradient,) = pose_input.backward([diff], frame([[0], [256]]), 4, 4, scale=0.5)
        assert gradient.tolist() == [[[[0], [0]], [[1.5], [0.5]], [[0], [0]]]]

    def test_the_defaults_are_the_priors(self):
        (top,) = pose_input.forward(frame([[0]]))
        assert top.shape == (1, 4, 256, 256)
        assert (top[0, :3, :, 64:192] == -0.5).all() and not top[0, :3, :, :64].any() and not top[0, :3, :, 192:].any()
        assert np.unravel_index(top[0, 3].argmax(), (256, 256)) == (128, 128) and top[0, 3, 128, 128] == 1
        assert top[0, 3, 128, 149] == top[0, 3, 107, 128] == pytest.approx(np.exp(-0.5))

    def test_scale_and_mean_are_taken_back_before_the_range(self):
        data = frame([[8]]) * array(1, 2, 3)[:, None, None]
        (top,) = pose_input.forward(data, 2, 2, aspect=1, mean_value=(10, 20, 30), scale=0.25)
        assert top[0, :3, 0, 0].tolist() == [(pixel - 128) / 256 for pixel in (42, 84, 126)]
        (one,) = pose_input.forward(data, 2, 2, aspect=1, mean_value=(10,), scale=0.25)
        assert one[0, :3, 0, 0].tolist() == [(pixel - 128) / 256 for pixel in (42, 74, 106)]

    @pytest.mark.parametrize("h, w, aspect, rows, columns", [
        (4, 4, 0.5, range(4), (1, 2)),
        (4, 4, 2, (1, 2), range(4)),           # above the square's
        (4, 4, 1, range(4), range(4)),
        (8, 4, 0.5, range(8), range(4)),       # a top of the frame's own aspect
        (8, 4, 1, (2, 3, 4, 5), range(4)),
        (4, 6, 0.75, range(4), (1, 2, 3)),     # from 1.5 to 4.5, a centre each: the first is in, the last is not
        (2, 4, 4, (0,), range(4)),             # the same for rows
        (4, 4, 0.125, range(4), ()),           # between two centres
        (3, 3, 0.125, range(3), (1,)),
        (1, 1, 0.5, (0,), (0,)),
    ])
    def test_where_the_frame_lies(self, h, w, aspect, rows, columns):
        (top,) = pose_input.forward(frame([[256]]), h, w, aspect=aspect, fill=0)
        inside = [[y in rows and x in columns for x in range(w)] for y in range(h)]
        for c in range(3):
            assert ((top[0, c] == 0.5) == inside).all() and ((top[0, c] == -0.5) == ~np.array(inside)).all()

    def test_a_bottom_of_one_pixel_takes_the_gradient_of_all(self):
        (gradient,) = pose_input.backward([np.ones((1, 4, 4, 4))], frame([[5]]), 4, 4, scale=0.25)
        np.testing.assert_allclose(gradient, np.full((1, 3, 1, 1), 8 / 64))

    @pytest.mark.parametrize("side, row", [
        (8, [9, 9, 0.25, 1.75, 3.25, 4.75, 9, 9]),  # from 2 to 6
        (6, [9, 0, 1.5, 3.5, 9, 9]),                # from 1.5 to 4.5: the first is read at -0.5, clamped
    ])
    def test_where_pixels_are_read(self, side, row):
        """A ramp over 6 columns."""
        (top,) = pose_input.forward(frame([range(6)] * 2), side, side, fill=9)
        np.testing.assert_allclose(256 * (top[0, :3] + 0.5), [[row] * side] * 3, atol=1e-12)

    @pytest.mark.parametrize("h, w, aspect", [(7, 6, 0.4), (5, 9, 2.3), (4, 4, 0.03), (6, 2, 0.5), (1, 1, 3)])
    def test_slow_definition(self, h, w, aspect):
        arguments = (h, w, aspect, (104, 117, 123), 0.017, 128, 1.7)
        for height, width in ((5, 4), (1, 3), (12, 13)):
            data = random(2, 3, height, width)
            (top,) = pose_input.forward(data, *arguments)
            np.testing.assert_allclose(top, slow_pose_input(data, *arguments), rtol=0, atol=1e-12)

    @pytest.mark.parametrize("h, w, aspect", [(6, 6, 0.4), (5, 9, 2.3), (3, 3, 1)])
    def test_gradient(self, h, w, aspect):
        check_gradient(pose_input, [random(2, 3, 4, 3)], (0,), new_height=h, new_width=w, aspect=aspect,
                       mean_value=(104, 117, 123), scale=0.017)


def slow_heat_maps(joints, height, width, stride, sigma, channel):
    """The definition, one value at a time."""
    frames, count, _ = joints.shape
    maps = np.zeros((frames, count + 1, height, width))
    for n, r, c in np.ndindex(frames, height, width):
        for j, (x, y, confidence) in enumerate(joints[n]):
            if confidence > 0:
                away = np.hypot(c * stride + (stride - 1) / 2 - x, r * stride + (stride - 1) / 2 - y)
                maps[n, channel[j], r, c] = np.exp(-away ** 2 / (2 * sigma ** 2))
        maps[n, count, r, c] = 1 - max(maps[n, :count, r, c])
    return maps


class TestHeatMaps:
    def test_by_hand(self):
        (maps,) = heat_maps.forward(array([[1, 0, 0.3]]), 2, 3)
        a, b, c = 1, np.exp(-0.5), np.exp(-1)
        np.testing.assert_allclose(maps, [[[[b, a, b], [c, b, c]], [[1 - b, 0, 1 - b], [1 - c, 1 - b, 1 - c]]]])

    def test_a_cell_is_the_pixels_it_stands_for(self):
        """Of stride 8 cells 0 and 1 lie at 3.5 and 11.5; sigma is in pixels, two of it lie between the cells."""
        (maps,) = heat_maps.forward(array([[11.5, 3.5, 1]]), 1, 3, stride=8, sigma=4)
        np.testing.assert_allclose(maps[0, 0, 0], [np.exp(-2), 1, np.exp(-2)])

    def test_the_background_is_what_the_nearest_joint_leaves(self):
        (maps,) = heat_maps.forward(array([[0, 0, 1], [3, 0, 1]]), 1, 4)
        e = np.exp([0, -0.5, -2, -4.5])
        np.testing.assert_allclose(maps[0, :, 0], [e, e[::-1], 1 - e[[0, 1, 1, 0]]], atol=1e-15)

    @pytest.mark.parametrize("confidence", [0, -1])
    def test_a_joint_that_is_not_annotated_has_no_map(self, confidence):
        joints = array([[1, 1, confidence], [0, 2, 1e-3]])
        (maps,) = heat_maps.forward(joints, 3, 3, sigma=2)
        (alone,) = heat_maps.forward(joints[:, 1:], 3, 3, sigma=2)
        assert not maps[0, 0].any()
        np.testing.assert_array_equal(maps[:, 1:], alone)

    def test_without_a_joint_all_is_background(self):
        (maps,) = heat_maps.forward(np.zeros((2, 3, 3)), 2, 2)
        assert not maps[:, :3].any() and (maps[:, 3] == 1).all()

    def test_joints_off_the_image(self):
        (maps,) = heat_maps.forward(array([[-2, 0, 1], [1e6, -1e6, 1]]), 1, 2)
        np.testing.assert_allclose(maps[0, :, 0], [np.exp([-2, -4.5]), [0, 0], 1 - np.exp([-2, -4.5])])

    def test_channel_places_the_joints(self):
        joints = 4 * np.abs(random(2, 4, 3))
        (maps,) = heat_maps.forward(joints, 5, 6, channel=(2, 0, 3, 1))
        (plain,) = heat_maps.forward(joints, 5, 6)
        np.testing.assert_array_equal(maps[:, [2, 0, 3, 1, 4]], plain)

    @pytest.mark.parametrize("stride", [1, 8])
    def test_spatial_soft_arg_max_finds_the_joints_back(self, stride):
        """With the same stride and channel, in the middle of cells."""
        cells, channel = np.array([[[2, 1], [0, 4], [6, 3]]]), (1, 2, 0)
        joints = np.concatenate([cells * stride + (stride - 1) / 2, np.ones((1, 3, 1))], axis=2)
        (maps,) = heat_maps.forward(joints, 5, 7, stride=stride, sigma=2 * stride, channel=channel)
        (found,) = spatial_soft_arg_max.forward(maps, stride=stride, channel=channel)
        np.testing.assert_array_equal(found, joints)

    @pytest.mark.parametrize("height, width, stride, sigma", [(5, 4, 1, 1), (3, 6, 8, 7), (1, 1, 2.5, 0.4)])
    def test_slow_definition(self, height, width, stride, sigma):
        rng = np.random.default_rng(0)
        joints = rng.uniform(-10, [stride * width + 10, stride * height + 10, 1], (3, 4, 3))
        joints[..., 2] = rng.choice([-1, 0, 0.2, 1], (3, 4), p=[0.1, 0.2, 0.3, 0.4])
        for channel in ((), (3, 1, 0, 2)):
            (maps,) = heat_maps.forward(joints, height, width, stride, sigma, channel)
            slow = slow_heat_maps(joints, height, width, stride, sigma, channel or range(4))
            np.testing.assert_allclose(maps, slow, rtol=0, atol=1e-12)
            assert maps.min() >= 0

    def test_the_joints_get_no_gradient(self):
        assert heat_maps.backward([np.ones((1, 2, 3, 3))], array([[1, 1, 1]]), 3, 3) == [None]
