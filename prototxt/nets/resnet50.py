"""ResNet-50 (He et al. 2016), the trunk of Table V's last row, under the layer names of He's Caffe model."""

from dataclasses import dataclass, replace

from caffe import layers as L
from caffe import params as P

from prototxt.nets.backbone import Backbone
from prototxt.nets.layers import batch_norm


@dataclass(frozen=True)
class Bottleneck:
    """One residual block: 1x1 ``width``, 3x3 ``width``, 1x1 ``output``, added to the input or to its projection."""

    width: int
    output: int
    stride: int = 1
    projected: bool = False  # branch1, a 1x1 convolution, on the shortcut

    def channels(self, bottom):
        """Channels of the block's output, whatever its input's."""
        return self.output

    def narrow(self, factor):
        """The block with its widths divided by ``factor``."""
        return replace(self, width=self.width // factor, output=self.output // factor)


@dataclass(frozen=True, kw_only=True)
class ResNet(Backbone):
    """He's ResNet, or torchvision's: the same parameters, but the stride on the 3x3 and another rounding of pool1."""

    blocks: dict               # name, e.g. "4a" -> Bottleneck
    conv1: int = 64            # channels
    torchvision: bool = False

    def stem_channels(self):
        return self.conv1

    def stem(self, net, options):
        net["conv1"] = L.Convolution(net["data"], num_output=self.conv1, kernel_size=7, stride=2, pad=3,
                                     weight_filler=dict(type="msra"))
        bottom = batch_norm(net, "bn_conv1", "scale_conv1", "conv1", options.bn_fraction)
        net["conv1_relu"] = L.ReLU(net[bottom], in_place=True)
        rounding = dict(pad=1, round_mode=P.Pooling.FLOOR) if self.torchvision else {}
        net["pool1"] = L.Pooling(net["conv1_relu"], pool=P.Pooling.MAX, kernel_size=3, stride=2, **rounding)
        return "pool1"

    def block(self, net, options, name, bottom, part=""):
        block, name = self.blocks[name], f"{name}{part}"
        fraction = options.bn_fraction
        strides = (1, block.stride) if self.torchvision else (block.stride, 1)
        shortcut = bottom
        if block.projected:
            shortcut = _conv_bn(net, name, "branch1", bottom, block.output, 1, block.stride, fraction)
        top = _conv_bn(net, name, "branch2a", bottom, block.width, 1, strides[0], fraction, relu=True)
        top = _conv_bn(net, name, "branch2b", top, block.width, 3, strides[1], fraction, relu=True)
        top = _conv_bn(net, name, "branch2c", top, block.output, 1, 1, fraction)
        net[f"res{name}"] = L.Eltwise(net[shortcut], net[top])
        net[f"res{name}_relu"] = L.ReLU(net[f"res{name}"], in_place=True)
        return f"res{name}_relu"


def _conv_bn(net, block, branch, bottom, channels, kernel, stride, fraction, relu=False):
    """resX_branch, bnX_branch, scaleX_branch, all on one blob, and by request its ReLU; returns the blob's name."""
    name = f"res{block}_{branch}"
    net[name] = L.Convolution(net[bottom], num_output=channels, kernel_size=kernel, stride=stride, pad=(kernel - 1) // 2,
                              bias_term=False, weight_filler=dict(type="msra"))
    top = batch_norm(net, f"bn{block}_{branch}", f"scale{block}_{branch}", name, fraction)
    if relu:
        net[f"{name}_relu"] = L.ReLU(net[top], in_place=True)
        top = f"{name}_relu"
    return top


def _stage(number, letters, width, stride):
    """The blocks of one stage; the first has the stride and the projection."""
    return {f"{number}{letter}": Bottleneck(width, 4 * width, stride if letter == "a" else 1, letter == "a")
            for letter in letters}


# The paper is silent on how STAL is put on ResNet-50. As in Table I the parts are pooled from 14 x 14 maps: 4b is the
# third of five such blocks there, 4c the third of six here. RAN follows the next block, the part nets are copies of the
# next three, and a MAX 3 x 3 / 2 takes 1024 x 8 x 8 to the 1024 x 4 x 4 that Table I has in front of fc_part.
HE = ResNet(
    blocks={**_stage(2, "abc", 64, 1), **_stage(3, "abcd", 128, 2), **_stage(4, "abcdef", 256, 2),
            **_stage(5, "abc", 512, 2)},
    split="4c", ran_input="4d", part_blocks=("4d", "4e", "4f"), stride=16, part_pool=True, pool5="pool5")
TORCHVISION = replace(HE, torchvision=True)

# For frames of 64 x 32, as inception_bn.DEMO.
DEMO = ResNet(
    conv1=16, blocks={"4c": replace(HE.blocks["4a"].narrow(16), stride=1), "4d": HE.blocks["4d"].narrow(16),
                      "4f": replace(HE.blocks["5a"].narrow(16), projected=True)},
    split="4c", ran_input="4d", ran=(16, 24), part_blocks=("4f",), fc_part=64, stride=4, pool5="pool5")
