"""What a trunk is to the method: blocks in order, where it is split, and what the part nets are copies of."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Backbone:
    """A trunk. Each family is a subclass in a file of its own: inception_bn.py, googlenet.py, resnet50.py.

    A subclass has ``blocks``, a dict {name: block} in order, where ``block.channels(bottom)`` gives the channels of its
    output, ``stem(net, options)`` and ``block(net, options, name, bottom, part)``.
    """

    split: str          # the last block of the low-level CNN, whose output the parts are pooled from
    ran_input: str      # the block whose output the residual attention network masks
    part_blocks: tuple  # blocks of which each part net has a copy of its own
    stride: int         # input pixels per pixel of the split's output
    ran: tuple = (64, 192)      # channels of ran_conv1, ran_conv2 and the deconvolution (paper)
    fc_part: int = 1024         # channels of a part's feature (paper)
    part_pool: bool = False     # MAX 3 x 3 / 2 behind the part blocks, where none of them has a stride
    pool5: str = "pool5/7x7_s1"  # name of the average pooling at the end
    heads: tuple = ()           # QAN's auxiliary classifiers and the blocks they follow
    head_widths: tuple = ()     # channels of their convolution and fully connected layer

    def stem(self, net, options):
        """Adds what comes before the first block to the blob ``data``; returns its output's name."""
        raise NotImplementedError

    def block(self, net, options, name, bottom, part=""):
        """Adds the block ``name``; returns its output's name.

        Args:
            part: "" in the trunk, else what tells a part's copy from it, e.g. "_part3".
        """
        raise NotImplementedError

    def low(self):
        """Names of the blocks up to the split."""
        names = list(self.blocks)
        return names[:names.index(self.split) + 1]

    def high(self):
        """Names of the blocks after the split: the global branch."""
        return list(self.blocks)[len(self.low()):]

    def channels(self, name):
        """Channels of a block's output."""
        channels = self.stem_channels()
        for block, widths in self.blocks.items():
            channels = widths.channels(channels)
            if block == name:
                return channels
        raise KeyError(name)

    def stem_channels(self):
        """Channels of the stem's output."""
        raise NotImplementedError
