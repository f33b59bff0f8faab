"""The trunk and the global branch: low-level CNN, residual attention network, high-level CNN (Table I, section III-B)."""

from caffe import layers as L
from caffe import params as P

from prototxt.nets.layers import conv_bn_relu


def low_level(net, options):
    """The stem and the blocks up to the split on the blob ``data``; returns their output (Table I: F x 576 x 14 x 14)."""
    backbone = options.backbone
    bottom = backbone.stem(net, options)
    for block in backbone.low():
        bottom = backbone.block(net, options, block, bottom)
    return bottom


def global_branch(net, options, bottom):
    """The rest of the trunk behind the split, with the residual attention; returns (F, C) ``global``."""
    backbone = options.backbone
    ran_input = (options.ran_input or backbone.ran_input) if options.ran else None
    before = backbone.split
    for block in [None, *backbone.high()]:
        if block:
            bottom, before = backbone.block(net, options, block, bottom), block
        if ran_input == before:
            bottom = residual_attention(net, options, bottom, backbone.channels(before))
    net[backbone.pool5] = L.Pooling(net[bottom], pool=P.Pooling.AVE, global_pooling=True)
    if not options.global_embedding:
        net["global"] = L.Flatten(net[backbone.pool5])
    else:
        net["global"] = L.InnerProduct(net[backbone.pool5], name="fc_global", num_output=options.global_embedding,
                                       weight_filler=dict(type="xavier"))
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
