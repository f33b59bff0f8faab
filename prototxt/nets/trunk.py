"""The trunk and the global branch: low-level CNN, residual attention network, high-level CNN (Table I, section III-B)."""

from caffe import layers as L
from caffe import params as P

from prototxt.nets.layers import conv_bn_relu


def low_level(net, options):
    """conv1 .. inception_4b on the blob ``data``; returns its output (F, 576, 14, 14)."""
    backbone, fraction = options.backbone, options.bn_fraction
    kernel, stride, channels = backbone.conv1
    bottom = conv_bn_relu(net, "conv1/7x7_s2", "data", channels, kernel, stride, fraction=fraction)
    if "pool1" in backbone.pools:
        net["pool1/3x3_s2"] = L.Pooling(net[bottom], pool=P.Pooling.MAX, kernel_size=3, stride=2)
        bottom = "pool1/3x3_s2"
    bottom = conv_bn_relu(net, "conv2/3x3_reduce", bottom, backbone.conv2[0], 1, fraction=fraction)
    bottom = conv_bn_relu(net, "conv2/3x3", bottom, backbone.conv2[1], 3, fraction=fraction)
    if "pool2" in backbone.pools:
        net["pool2/3x3_s2"] = L.Pooling(net[bottom], pool=P.Pooling.MAX, kernel_size=3, stride=2)
        bottom = "pool2/3x3_s2"
    for block in backbone.low():
        bottom = inception(net, f"inception_{block}", bottom, backbone.blocks[block], fraction)
    return bottom


def global_branch(net, options, bottom):
    """The rest of the trunk behind the split, with the residual attention; returns (F, 1024) ``global``."""
    backbone = options.backbone
    for block in backbone.high():
        if options.ran and options.ran_input == backbone.split and block == backbone.high()[0]:
            bottom = residual_attention(net, options, bottom, backbone.channels(backbone.split))
        bottom = inception(net, f"inception_{block}", bottom, backbone.blocks[block], options.bn_fraction)
        if options.ran and options.ran_input == block:
            bottom = residual_attention(net, options, bottom, backbone.channels(block))
    net["pool5/7x7_s1"] = L.Pooling(net[bottom], pool=P.Pooling.AVE, global_pooling=True)
    net["global"] = L.Flatten(net["pool5/7x7_s1"])
    return "global"


def residual_attention(net, options, bottom, channels):
    """x + M * x with the soft mask M of ran_conv1, ran_pool1, ran_conv2, deconv, conv3 and a sigmoid."""
    first, second = options.backbone.ran
    fraction = options.bn_fraction
    mask = conv_bn_relu(net, "ran_conv1", bottom, first, 1, fraction=fraction)
    net["ran_pool1"] = L.Pooling(net[mask], pool=P.Pooling.MAX, kernel_size=3, stride=2)
    mask = conv_bn_relu(net, "ran_conv2", "ran_pool1", second, 3, fraction=fraction)
    mask = conv_bn_relu(net, "deconv", mask, second, 4, 2, pad=1, fraction=fraction, deconv=True)
    net["conv3"] = L.Convolution(net[mask], num_output=channels, kernel_size=1, weight_filler=dict(type="xavier"))
    net["ran_mask"] = L.Sigmoid(net["conv3"], in_place=True)
    net["ran_product"] = L.Eltwise(net[bottom], net["ran_mask"], operation=P.Eltwise.PROD)
    net["ran_output"] = L.Eltwise(net[bottom], net["ran_product"], operation=P.Eltwise.SUM)
    return "ran_output"


def inception(net, name, bottom, block, fraction):
    """One block of Inception-BN under lim0606's names; returns its output."""
    branches = []
    if block.one:
        branches.append(conv_bn_relu(net, f"{name}/1x1", bottom, block.one, 1, fraction=fraction))
    three = conv_bn_relu(net, f"{name}/3x3_reduce", bottom, block.three_reduce, 1, fraction=fraction)
    branches.append(conv_bn_relu(net, f"{name}/3x3", three, block.three, 3, block.stride, fraction=fraction))
    double = conv_bn_relu(net, f"{name}/double3x3_reduce", bottom, block.double_reduce, 1, fraction=fraction)
    double = conv_bn_relu(net, f"{name}/double3x3a", double, block.double_a, 3, fraction=fraction)
    branches.append(conv_bn_relu(net, f"{name}/double3x3b", double, block.double_b, 3, block.stride, fraction=fraction))
    # At stride 2 there is no pad: Caffe rounds a pooling's size up and a convolution's down, and both must agree.
    net[f"{name}/pool"] = L.Pooling(net[bottom], pool=getattr(P.Pooling, block.pool), kernel_size=3,
                                    stride=block.stride, pad=1 if block.stride == 1 else 0)
    branches.append(conv_bn_relu(net, f"{name}/pool_proj", f"{name}/pool", block.proj, 1, fraction=fraction)
                    if block.proj else f"{name}/pool")
    net[f"{name}/output"] = L.Concat(*[net[branch] for branch in branches])
    return f"{name}/output"
