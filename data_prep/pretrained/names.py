"""Which layers of a net are the trunk, the pose net, or a copy of the trunk in a part net: by their names alone."""

import re

# The names of the published models, which the nets of prototxt/ keep: Inception-BN and GoogLeNet, then He's ResNet-50.
_TRUNK = re.compile(r"(conv[12]|inception_\d[a-z])/.+|conv1|(bn|scale)_conv1|(res|bn|scale)\d[a-z]_branch.+")
_POSE = re.compile(r"\w+_stage[123]")
_PART = re.compile(r"(?<=\d[a-z])_part\d+(?=[/_])")


def is_trunk(layer):
    """Whether a layer belongs to the trunk, which pre-trained weights must fill whole; part nets, heads and the method's
    own layers do not."""
    return bool(_TRUNK.fullmatch(layer))


def is_pose(layer):
    """Whether a layer with parameters belongs to the pose net (SpindleNet's names)."""
    return bool(_POSE.fullmatch(layer))


def trunk_of(layer):
    """The trunk's layer of which a part net's layer is a copy, or None.

    inception_4c_part3/1x1 -> inception_4c/1x1; res4d_part3_branch2a -> res4d_branch2a.
    """
    name = _PART.sub("", layer)
    return name if name != layer and is_trunk(name) else None
