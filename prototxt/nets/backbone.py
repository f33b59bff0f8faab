"""Table I as data: the trunk's blocks, where it is split, the residual attention network, the part nets."""

from dataclasses import dataclass, replace


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


@dataclass(frozen=True)
class Backbone:
    """A trunk with everything that Table I lists."""

    conv1: tuple       # kernel, stride, channels
    pools: tuple       # which of pool1, pool2 there are
    conv2: tuple       # channels of conv2/3x3_reduce and conv2/3x3
    blocks: dict       # name -> Inception, in order
    split: str         # the last block of the low-level CNN, whose output the parts are pooled from
    ran: tuple         # channels of ran_conv1, ran_conv2 (and the deconvolution)
    part_blocks: tuple  # blocks of which each part net has a copy of its own
    fc_part: int       # channels of a part's feature
    stride: int        # input pixels per pixel of the split's output

    def low(self):
        """Names of the blocks up to the split."""
        names = list(self.blocks)
        return names[:names.index(self.split) + 1]

    def high(self):
        """Names of the blocks after the split: the global branch."""
        names = list(self.blocks)
        return names[names.index(self.split) + 1:]

    def channels(self, block):
        """Channels of a block's output."""
        channels = self.conv2[1]
        for name, inception in self.blocks.items():
            channels = inception.channels(channels)
            if name == block:
                return channels
        raise KeyError(block)


# Table I's widths, in the blocks of lim0606's caffe-googlenet-bn, whose output widths are Table I's one by one. Its
# layer names are kept, so that its ImageNet weights load. Table I prints the sizes down to pool2 twice too large and
# takes that back by a stride of 2 in 3a: here 3a has stride 1 and the sizes are 112, 56, 56, 28, 28, 28, 14, ..., 7.
TABLE_1 = Backbone(
    conv1=(7, 2, 64), pools=("pool1", "pool2"), conv2=(64, 192),
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
    split="4b", ran=(64, 192), part_blocks=("4c", "4d", "4e"), fc_part=1024, stride=16)


def narrow(inception, factor):
    """A block with its widths divided by ``factor``, at least 4 where there is a branch at all."""
    widths = ("one", "three_reduce", "three", "double_reduce", "double_a", "double_b", "proj")
    return replace(inception, **{key: max(4, getattr(inception, key) // factor) if getattr(inception, key) else 0
                                 for key in widths})


# For frames of 64 x 32: Table I's construction with an eighth of its widths and one block where it has three. pool2 and
# 3c's stride are left out, so the parts are pooled from a map of 16 x 8 (stride 4), finer for so small a frame than
# Table I's.
DEMO = Backbone(
    conv1=(7, 2, 16), pools=("pool1",), conv2=(16, 32),
    blocks={name: narrow(TABLE_1.blocks[name], 8) for name in ("4b", "4c", "4e")},
    split="4b", ran=(16, 24), part_blocks=("4e",), fc_part=64, stride=4)
