"""GoogLeNet as in BVLC's models/bvlc_googlenet, the paper's text's reading of its trunk, under that model's layer names."""

from dataclasses import dataclass, replace

from caffe import layers as L
from caffe import params as P

from prototxt.nets.backbone import Backbone


@dataclass(frozen=True)
class Inception:
    """Widths of one block of GoogLeNet (Szegedy et al. 2015, Table 1)."""

    one: int           # 1x1
    three_reduce: int  # 1x1 before the 3x3
    three: int         # 3x3
    five_reduce: int   # 1x1 before the 5x5
    five: int          # 5x5
    proj: int          # 1x1 behind the pooling
    pool: str = ""     # the max pooling in front of the block, if there is one

    def channels(self, bottom):
        """Channels of the block's output, whatever its input's."""
        return self.one + self.three + self.five + self.proj

    def narrow(self, factor):
        """The block with its widths divided by ``factor``, at least 4."""
        widths = ("one", "three_reduce", "three", "five_reduce", "five", "proj")
        return replace(self, **{key: max(4, getattr(self, key) // factor) for key in widths})


@dataclass(frozen=True, kw_only=True)
class GoogLeNet(Backbone):
    """BVLC's GoogLeNet: no BatchNorm, biases, LRN in the stem."""

    blocks: dict                      # name -> Inception
    conv1: int = 64                   # channels
    conv2: tuple = (64, 192)          # channels of conv2/3x3_reduce and conv2/3x3
    pool2: bool = True

    def stem_channels(self):
        return self.conv2[1]

    def stem(self, net, options):
        bottom = _conv(net, "conv1", "7x7_s2", "data", self.conv1, 7, 2)
        bottom = _pool(net, "pool1/3x3_s2", bottom)
        net["pool1/norm1"] = L.LRN(net[bottom], local_size=5, alpha=0.0001, beta=0.75)
        bottom = _conv(net, "conv2", "3x3_reduce", "pool1/norm1", self.conv2[0], 1)
        bottom = _conv(net, "conv2", "3x3", bottom, self.conv2[1], 3)
        net["conv2/norm2"] = L.LRN(net[bottom], local_size=5, alpha=0.0001, beta=0.75)
        return _pool(net, "pool2/3x3_s2", "conv2/norm2") if self.pool2 else "conv2/norm2"

    def block(self, net, options, name, bottom, part=""):
        widths = self.blocks[name]
        if widths.pool:
            bottom = _pool(net, widths.pool, bottom)
        name = f"inception_{name}{part}"
        one = _conv(net, name, "1x1", bottom, widths.one, 1)
        three = _conv(net, name, "3x3_reduce", bottom, widths.three_reduce, 1)
        three = _conv(net, name, "3x3", three, widths.three, 3)
        five = _conv(net, name, "5x5_reduce", bottom, widths.five_reduce, 1)
        five = _conv(net, name, "5x5", five, widths.five, 5)
        net[f"{name}/pool"] = L.Pooling(net[bottom], pool=P.Pooling.MAX, kernel_size=3, stride=1, pad=1)
        proj = _conv(net, name, "pool_proj", f"{name}/pool", widths.proj, 1)
        net[f"{name}/output"] = L.Concat(*[net[branch] for branch in (one, three, five, proj)])
        return f"{name}/output"


def _conv(net, block, name, bottom, channels, kernel, stride=1):
    """A convolution with bias and a ReLU in place, with BVLC's names, rates and fillers; returns the blob's name."""
    top = f"{block}/{name}"
    net[top] = L.Convolution(net[bottom], num_output=channels, kernel_size=kernel, stride=stride, pad=(kernel - 1) // 2,
                             weight_filler=dict(type="xavier"), bias_filler=dict(type="constant", value=0.2),
                             param=[dict(lr_mult=1, decay_mult=1), dict(lr_mult=2, decay_mult=0)])
    relu = f"{block}/relu_{name.removesuffix('_s2')}"
    net[relu] = L.ReLU(net[top], in_place=True)
    return relu


def _pool(net, name, bottom):
    net[name] = L.Pooling(net[bottom], pool=P.Pooling.MAX, kernel_size=3, stride=2)
    return name


# Split after 4b as in the text; RAN after 4c and part nets of 4c-4e as in Table I. 4e has no stride in this net: what
# halves it in the trunk, a MAX 3 x 3 / 2, halves it in the part nets too, so fc_part sees 4 x 4 as in Table I.
BVLC = GoogLeNet(
    blocks={
        "3a": Inception(64, 96, 128, 16, 32, 32),
        "3b": Inception(128, 128, 192, 32, 96, 64),
        "4a": Inception(192, 96, 208, 16, 48, 64, pool="pool3/3x3_s2"),
        "4b": Inception(160, 112, 224, 24, 64, 64),
        "4c": Inception(128, 128, 256, 24, 64, 64),
        "4d": Inception(112, 144, 288, 32, 64, 64),
        "4e": Inception(256, 160, 320, 32, 128, 128),
        "5a": Inception(256, 160, 320, 32, 128, 128, pool="pool4/3x3_s2"),
        "5b": Inception(384, 192, 384, 48, 128, 128),
    },
    split="4b", ran_input="4c", part_blocks=("4c", "4d", "4e"), stride=16, part_pool=True)

# For frames of 64 x 32, as inception_bn.DEMO.
DEMO = GoogLeNet(
    conv1=16, conv2=(16, 32), pool2=False, blocks={name: BVLC.blocks[name].narrow(8) for name in ("4b", "4c", "4e")},
    split="4b", ran_input="4c", ran=(16, 24), part_blocks=("4e",), fc_part=64, stride=4, part_pool=True)
