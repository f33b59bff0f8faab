"""The pose net (SpindleNet's three stages, reference [28] of the paper), alone for training and inside the STAL net."""

from dataclasses import dataclass

from caffe import NetSpec
from caffe import layers as L
from caffe import params as P

from prototxt.nets.data import data_layer
from prototxt.nets.layers import changed, method_layer, move_joints, named

# Map of each joint J1..J14: CPM's order, which SpindleNet's weights have, puts the right leg before the left.
CHANNELS = (0, 1, 2, 3, 4, 5, 6, 7, 11, 12, 13, 8, 9, 10)


@dataclass(frozen=True)
class PoseNet:
    """Sizes of a pose net; the defaults are SpindleNet's (RPN/model/pose_deploy.prototxt)."""

    size: int = 256                  # input pixels, square
    strides: tuple = (2, 2, 2, 2)    # of conv1, pool1, new_conv2, pool3
    width: int = 128                 # channels of the 5x5 and 1x1 convolutions
    narrow: int = 32                 # channels of conv4_stage1 and conv1_stage3
    centre_sigma: float = 21         # of the centre map, input pixels
    heat_sigma: float = 16           # of the targets, input pixels: one cell (ours; the prior published no training net)

    @property
    def stride(self):
        """Input pixels per cell of the maps."""
        product = 1
        for stride in self.strides:
            product *= stride
        return product


SPINDLE = PoseNet()

# For frames of 64 x 32: a quarter of the widths and of the stride, so that the maps have 16 x 16 cells too.
DEMO = PoseNet(size=64, strides=(2, 2, 1, 1), width=32, narrow=16, centre_sigma=5.25, heat_sigma=4)


def heat_maps(net, options, bottom="data"):
    """The three stages on the frames ``bottom``; returns the names of the second and third stage's maps (F, 15, h, w)."""
    sizes, rate = options.pose_net, options.pose_lr_mult
    method_layer(net, options.twins, "PoseInput", "pose_input", [bottom], ["pose_input"], new_height=sizes.size,
                 new_width=sizes.size, aspect=options.aspect, mean_value=list(options.mean), scale=options.scale,
                 sigma=sizes.centre_sigma)
    for top, blob in zip(("image", "center_map"), L.Slice(net["pose_input"], name="image", axis=1, slice_point=3, ntop=2)):
        net[top] = blob
    stride = sizes.stride
    net["pool_center_lower"] = L.Pooling(net["center_map"], pool=P.Pooling.AVE, kernel_size=stride + 1, stride=stride)

    def conv(name, relu, below, channels, kernel=5, step=1):
        # The published deploy net starts from a gaussian of 0.01, with which the signal dies within a few layers.
        net[name] = L.Convolution(net[below], num_output=channels, kernel_size=kernel, stride=step, pad=kernel // 2,
                                  weight_filler=dict(type="msra"),
                                  param=[dict(lr_mult=rate, decay_mult=1), dict(lr_mult=2 * rate, decay_mult=0)])
        if relu:
            net[relu] = L.ReLU(net[name], in_place=True)
        return relu or name

    def pool(name, below, step):
        net[name] = L.Pooling(net[below], pool=P.Pooling.MAX, kernel_size=3, stride=step, pad=0 if step > 1 else 1)
        return name

    first, second, third, fourth = sizes.strides
    top = conv("conv1_stage1", "relu1_stage1", "image", sizes.width, step=first)
    top = pool("pool1_stage1", top, second)
    top = conv("new_conv2_stage1", "relu2_stage1", top, sizes.width, step=third)
    top = conv("conv3_stage1", "relu3_stage1", top, sizes.width)
    trunk = pool("pool3_stage1", top, fourth)
    top = conv("conv4_stage1", "relu4_stage1", trunk, sizes.narrow)
    net["concat_stage2"] = L.Concat(net[top], net["pool_center_lower"])
    maps = []
    for stage in (2, 3):
        if stage == 3:
            top = conv("conv1_stage3", "relu1_stage3", trunk, sizes.narrow)
            net["concat_stage3"] = L.Concat(net[top], net[maps[0]], net["pool_center_lower"])
        top = f"concat_stage{stage}"
        for number in (1, 2, 3):
            top = conv(f"Mconv{number}_stage{stage}", f"Mrelu{number}_stage{stage}", top, sizes.width)
        top = conv(f"Mconv4_stage{stage}", f"Mrelu4_stage{stage}", top, sizes.width, 1)
        maps.append(conv(f"Mconv5_stage{stage}", "", top, len(CHANNELS) + 1, 1))
    return maps


def joints(net, options):
    """Joints of the frames in the blob ``data``: adds ``joints`` (F, 14, 3) in the pixels of the squashed frame."""
    mode = options.pose or "ARG_MAX"
    method_layer(net, options.twins, "SpatialSoftArgMax", "pose_joints", [heat_maps(net, options)[-1]], ["pose_joints"],
                 stride=options.pose_net.stride, channel=list(CHANNELS),
                 **changed(mode=mode), **(dict(beta=options.pose_beta) if mode == "SOFT" else {}))
    x, y = _from_square(options)
    return move_joints(net, "joints", "pose_joints", x, y)


def train_net(options):
    """Heat maps against CPM's Gaussian targets, at the second and the third stage (EuclideanLoss, as CPM's nets)."""
    net = NetSpec()
    data_layer(net, options, "given_joints")
    net["silence"] = L.Silence(net["label"], ntop=0)
    maps = heat_maps(net, options)
    x, y = [(1 / scale, -shift / scale) for scale, shift in _from_square(options)]
    move_joints(net, "target_joints", "given_joints", x, y)
    cells = options.pose_net.size // options.pose_net.stride
    method_layer(net, options.twins, "HeatMaps", "targets", ["target_joints"], ["targets"], height=cells, width=cells,
                 stride=options.pose_net.stride, sigma=options.pose_net.heat_sigma, channel=list(CHANNELS))
    for stage, blob in zip((2, 3), maps):
        net[f"loss_stage{stage}"] = L.EuclideanLoss(net[blob], net["targets"], loss_weight=1)
    return named(net, options.name)


def deploy_net(options):
    """data (F, 3, H, W) -> joints (F, 14, 3)."""
    net = NetSpec()
    net["data"] = L.Input(shape=dict(dim=[1, 3, options.height, options.width]))
    joints(net, options)
    return named(net, f"{options.name}_deploy")


def _from_square(options):
    """(scale, shift) of x and of y from the pose net's square to the squashed frame; PoseInput's geometry, inverted.

    Pixel centres lie at halves: x' = ((x + 1/2 - left) / w') W - 1/2.
    """
    size, aspect = options.pose_net.size, options.aspect
    box = (aspect * size, size) if aspect <= 1 else (size, size / aspect)
    result = []
    for side, length in zip(box, (options.width, options.height)):
        scale = length / side
        result.append((scale, (0.5 - (size - side) / 2) * scale - 0.5))
    return result
