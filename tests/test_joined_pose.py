"""The pose net inside the STAL net: its gradient is the loss's slope, and the joints it gives are those of the pose net."""

import caffe
import numpy as np
import pytest

from prototxt.experiments import demo
from prototxt.nets import pose, stal
from tests.test_experiments import fed_by_hand

VIDEOS, LABEL = 4, [0, 0, 1, 1]
RISE = 3e-4  # of the loss: small against ReLUs' and poolings' kinks, large against single precision


class Joined:
    """The demo's joined net on noise that is the same in every pass."""

    def __init__(self, variant, folder):
        caffe.set_random_seed(3)
        self.options = demo(variant, identities=2, batch_identities=2, frames=1).options
        proto = fed_by_hand(stal.train_net(self.options), VIDEOS)
        (folder / f"{variant}.prototxt").write_text(str(proto))
        self.net = caffe.Net(str(folder / f"{variant}.prototxt"), caffe.TRAIN)
        self.loss_weights = {layer.top[0]: layer.loss_weight[0] for layer in proto.layer if layer.loss_weight}
        rng = np.random.default_rng(0)
        self.net.blobs["data"].data[...] = rng.normal(size=self.net.blobs["data"].data.shape)
        self.net.blobs["label"].data[...] = LABEL

    def loss(self):
        """What the solver lowers."""
        self.net.forward()
        return sum(weight * float(self.net.blobs[name].data) for name, weight in self.loss_weights.items())


@pytest.fixture(scope="module")
def joined(tmp_path_factory):
    return Joined("pose_soft", tmp_path_factory.mktemp("joined"))


@pytest.mark.parametrize("layer", ["Mconv5_stage3", "Mconv4_stage3", "Mconv5_stage2", "conv1_stage1"])
def test_the_gradient_of_the_pose_net_is_the_slope_of_the_reid_loss(joined, layer):
    """Along the gradient the loss rises by the gradient's length. Single precision, ReLUs and max poolings leave some
    per cent."""
    joined.net.clear_param_diffs()
    joined.loss()
    joined.net.backward()
    weights = joined.net.params[layer][0]
    gradient, before = weights.diff.copy(), weights.data.copy()
    length = np.linalg.norm(gradient)
    step = RISE / length
    values = []
    for sign in (1, -1):
        weights.data[...] = before + sign * step * gradient / length
        values.append(joined.loss())
    weights.data[...] = before
    assert (values[0] - values[1]) / (2 * step) == pytest.approx(length, rel=0.05)


def test_as_printed_the_pose_net_gets_no_gradient(tmp_path):
    printed = Joined("pose_argmax", tmp_path)
    printed.net.clear_param_diffs()
    printed.loss()
    printed.net.backward()
    assert printed.net.params["inception_4c/1x1"][0].diff.any()
    assert not any(blob.diff.any() for name, blobs in printed.net.params.items() if "_stage" in name for blob in blobs)


def test_the_joints_are_the_means_of_the_maps_in_pixels_of_the_frame(joined):
    """Cells of the 64 x 64 square, in which the frame of aspect 1 : 2 fills the columns 16 to 48, to 64 x 32 pixels."""
    joined.loss()
    maps = joined.net.blobs["Mconv5_stage3"].data[:, list(pose.CHANNELS)].astype(np.float64)
    p = np.exp(joined.options.pose_beta * (maps - maps.max((2, 3), keepdims=True)))
    p /= p.sum((2, 3), keepdims=True)
    centres = np.arange(16) * 4 + 2.0  # of the cells of 4 pixels, from the square's edge
    x, y = (p.sum(2) * centres).sum(-1) - 16, (p.sum(3) * centres).sum(-1)
    found = joined.net.blobs["joints"].data
    np.testing.assert_allclose(found[..., 0], x - 0.5, atol=1e-3)
    np.testing.assert_allclose(found[..., 1], y - 0.5, atol=1e-3)
    np.testing.assert_allclose(found[..., 2], maps.max((2, 3)), rtol=1e-5)
    assert np.ptp(found[..., 0]) > 4
