"""Inception-BN, Table I's trunk, under the layer names of lim0606's caffe-googlenet-bn."""

from dataclasses import dataclass, replace

from caffe import layers as L
from caffe import params as P

from prototxt.nets.backbone import Backbone
from prototxt.nets.layers import conv_bn_relu


@dataclass(frozen=True)
class Inception:
    """Widths of one block of Inception-BN (Ioffe and Szegedy 2015, Fig. 5). one = 0 and proj = 0: no such branch."""

    one: int            # 1x1
    three_reduce: int   # 1x1 before the 3x3
    three: int          # 3x3
    double_reduce: int  # 1x1 before the two 3x3
    double_a: int       # first 3x3
    double_b: int       # second 3x3
    pool: str           # AVE or MAX
    proj: int           # 1x1 behind the pooling; 0: the pooled input passes as it is
    stride: int = 1     # of the last 3x3 of both branches and of the pooling

    def channels(self, bottom):
        """Channels of the block's output for ``bottom`` channels of its input."""
        return self.one + self.three + self.double_b + (self.proj or bottom)

    def narrow(self, factor):
        """The block with its widths divided by ``factor``, at least 4 where there is a branch at all."""
        widths = ("one", "three_reduce", "three", "double_reduce", "double_a", "double_b", "proj")
        return replace(self, **{key: max(4, getattr(self, key) // factor) if getattr(self, key) else 0 for key in widths})


@dataclass(frozen=True, kw_only=True)
class InceptionBN(Backbone):
    """The trunk of Table I, or one of its construction."""

    blocks: dict                      # name -> Inception
    conv1: tuple = (7, 2, 64)         # kernel, stride, channels
    pools: tuple = ("pool1", "pool2")  # which of them there are
    conv2: tuple = (64, 192)          # channels of conv2/3x3_reduce and conv2/3x3

    def stem_channels(self):
        return self.conv2[1]

    def stem(self, net, options):
        fraction = options.bn_fraction
        kernel, stride, channels = self.conv1
        bottom = conv_bn_relu(net, "conv1/7x7_s2", "data", channels, kernel, stride, fraction=fraction)
        if "pool1" in self.pools:
            net["pool1/3x3_s2"] = L.Pooling(net[bottom], pool=P.Pooling.MAX, kernel_size=3, stride=2)
            bottom = "pool1/3x3_s2"
        bottom = conv_bn_relu(net, "conv2/3x3_reduce", bottom, self.conv2[0], 1, fraction=fraction)
        bottom = conv_bn_relu(net, "conv2/3x3", bottom, self.conv2[1], 3, fraction=fraction)
        if "pool2" in self.pools:
            net["pool2/3x3_s2"] = L.Pooling(net[bottom], pool=P.Pooling.MAX, kernel_size=3, stride=2)
            bottom = "pool2/3x3_s2"
        return bottom

    def block(self, net, options, name, bottom, part=""):
        widths, fraction = self.blocks[name], options.bn_fraction
        name = f"inception_{name}{part}"
        branches = []
        if widths.one:
            branches.append(conv_bn_relu(net, f"{name}/1x1", bottom, widths.one, 1, fraction=fraction))
        three = conv_bn_relu(net, f"{name}/3x3_reduce", bottom, widths.three_reduce, 1, fraction=fraction)
        branches.append(conv_bn_relu(net, f"{name}/3x3", three, widths.three, 3, widths.stride, fraction=fraction))
        double = conv_bn_relu(net, f"{name}/double3x3_reduce", bottom, widths.double_reduce, 1, fraction=fraction)
        double = conv_bn_relu(net, f"{name}/double3x3a", double, widths.double_a, 3, fraction=fraction)
        double = conv_bn_relu(net, f"{name}/double3x3b", double, widths.double_b, 3, widths.stride, fraction=fraction)
        branches.append(double)
        # At stride 2 there is no pad: Caffe rounds a pooling's size up and a convolution's down, and both must agree.
        net[f"{name}/pool"] = L.Pooling(net[bottom], pool=getattr(P.Pooling, widths.pool), kernel_size=3,
                                        stride=widths.stride, pad=1 if widths.stride == 1 else 0)
        branches.append(conv_bn_relu(net, f"{name}/pool_proj", f"{name}/pool", widths.proj, 1, fraction=fraction)
                        if widths.proj else f"{name}/pool")
        net[f"{name}/output"] = L.Concat(*[net[branch] for branch in branches])
        return f"{name}/output"


# Table I's widths, in the blocks of lim0606's caffe-googlenet-bn, whose output widths are Table I's one by one. Its
# layer names are kept, so that its ImageNet weights load. Table I prints the sizes down to pool2 twice too large and
# takes that back by a stride of 2 in 3a: here 3a has stride 1 and the sizes are 112, 56, 56, 28, 28, 28, 14, ..., 7.
TABLE_1 = InceptionBN(
    blocks={
        "3a": Inception(64, 64, 64, 64, 96, 96, "AVE", 32),
        "3b": Inception(64, 64, 96, 64, 96, 96, "AVE", 64),
        "3c": Inception(0, 128, 160, 64, 96, 96, "MAX", 0, stride=2),
        "4a": Inception(224, 64, 96, 96, 128, 128, "AVE", 128),
        "4b": Inception(192, 96, 128, 96, 128, 128, "AVE", 128),
        "4c": Inception(160, 128, 160, 128, 160, 160, "AVE", 96),
        "4d": Inception(96, 128, 192, 160, 192, 192, "AVE", 96),
        "4e": Inception(0, 128, 192, 192, 256, 256, "MAX", 0, stride=2),
        "5a": Inception(352, 192, 320, 160, 224, 224, "AVE", 128),
        "5b": Inception(352, 192, 320, 192, 224, 224, "MAX", 128),
    },
    split="4b", ran_input="4c", part_blocks=("4c", "4d", "4e"), stride=16,
    heads=(("loss1", "3c"), ("loss2", "4e")), head_widths=(128, 1024))  # (prior)

# The other published Inception-BN (temporal segment networks' bn_inception, PyTorch's bninception): wider pooling
# branches in 4c and 4d, so 608, 608, 1056 instead of Table I's 576, 576, 1024. For weights that come from there.
TSN = replace(TABLE_1, blocks={name: replace(block, proj=128) if name in ("4c", "4d") else block
                               for name, block in TABLE_1.blocks.items()})

# For frames of 64 x 32: Table I's construction with an eighth of its widths and one block where it has three. pool2 and
# 3c's stride are left out, so the parts are pooled from a map of 16 x 8 (stride 4), finer for so small a frame than
# Table I's.
DEMO = InceptionBN(
    conv1=(7, 2, 16), pools=("pool1",), conv2=(16, 32),
    blocks={name: TABLE_1.blocks[name].narrow(8) for name in ("4b", "4c", "4e")},
    split="4b", ran_input="4c", ran=(16, 24), part_blocks=("4e",), fc_part=64, stride=4,
    heads=(("loss1", "4b"), ("loss2", "4e")), head_widths=(16, 64))
