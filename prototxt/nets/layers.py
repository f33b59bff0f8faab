"""The layers a net is built of: Caffe's own by name, the method's in C++ or as their Python twins."""

import json
import re

from caffe import layers as L


def conv_bn_relu(net, name, bottom, channels, kernel, stride=1, pad=None, fraction=0.999, deconv=False):
    """A convolution without bias, BatchNorm, Scale and ReLU, under lim0606's names; returns the ReLU's top.

    The default pad keeps the size at stride 1.
    """
    pad = (kernel - 1) // 2 if pad is None else pad
    options = dict(num_output=channels, kernel_size=kernel, stride=stride, pad=pad, bias_term=False,
                   weight_filler=dict(type="xavier"))
    if deconv:
        net[name] = L.Deconvolution(net[bottom], convolution_param=options, param=[dict(lr_mult=1)])
    else:
        net[name] = L.Convolution(net[bottom], param=[dict(lr_mult=1)], **options)
    return bn_relu(net, name, fraction)


def bn_relu(net, name, fraction=0.999, lr_mult=1.0):
    """BatchNorm in place, Scale with bias, ReLU in place behind the layer ``name``."""
    bn, scale = f"{name}/bn", f"{name}/bn/sc"
    net[bn] = L.BatchNorm(net[name], in_place=True, **_moving(fraction))
    # Scale decays and learns like a convolution: lim0606 sets nothing else.
    param = {} if lr_mult == 1.0 else dict(param=[dict(lr_mult=lr_mult)] * 2)
    net[scale] = L.Scale(net[bn], bias_term=True, **param)
    net[f"{scale}/relu"] = L.ReLU(net[scale], in_place=True)
    return f"{scale}/relu"


def batch_norm(net, bn, scale, bottom, fraction=0.999):
    """BatchNorm ``bn`` and Scale with bias ``scale``, both in place on ``bottom``; returns ``scale``."""
    net[bn] = L.BatchNorm(net[bottom], in_place=True, **_moving(fraction))
    net[scale] = L.Scale(net[bn], in_place=True, bias_term=True)
    return scale


def _moving(fraction):
    """BatchNorm's option, where it is not Caffe's default."""
    return {} if fraction == 0.999 else dict(moving_average_fraction=fraction)


def move_joints(net, name, bottom, x, y):
    """Joints (F, J, 3) in the pixels of another image: x -> x[0] * x + x[1], the same for y; returns ``name``.

    By stock layers, with a gradient.
    """
    given = [f"{name}_{axis}" for axis in ("given_x", "given_y", "confidence")]
    for top, blob in zip(given, L.Slice(net[bottom], name=f"{name}_slice", axis=2, slice_point=[1, 2], ntop=3)):
        net[top] = blob
    for top, blob, (scale, shift) in zip(("x", "y"), given, (x, y)):
        net[f"{name}_{top}"] = L.Power(net[blob], scale=scale, shift=shift)
    net[name] = L.Concat(net[f"{name}_x"], net[f"{name}_y"], net[given[2]], axis=2)
    return name


def video_mean(net, name, bottom, frames, channels):
    """The mean over the T frames of each video, (F, C) -> (V, C), by stock layers."""
    net[f"{name}_frames"] = L.Reshape(net[bottom], shape=dict(dim=[-1, 1, frames, channels]))
    net[f"{name}_mean"] = L.Pooling(net[f"{name}_frames"], pool=1, kernel_h=frames, kernel_w=1, stride=1)
    net[name] = L.Flatten(net[f"{name}_mean"])
    return name


def method_layer(net, twins, layer_type, name, bottoms, tops, loss_weight=None, normalization=None, **param):
    """Adds a layer of layers/: in C++, or with ``twins`` as the Python layer of the same type and options.

    Args:
        param: the fields of the layer's message.
        normalization: of loss_param, for a loss.
    """
    options = dict(ntop=len(tops), name=name)
    if loss_weight is not None:
        options["loss_weight"] = loss_weight
    if twins:
        module = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", layer_type).lower()
        if normalization:
            param = dict(param, normalization=normalization)
        made = L.Python(*[net[bottom] for bottom in bottoms], **options,
                        module=f"layers.{module}.{module}_layer", layer=layer_type,
                        param_str=json.dumps(param, sort_keys=True))
    else:
        if normalization:
            options["loss_param"] = dict(normalization=normalization)
        made = getattr(L, layer_type)(*[net[bottom] for bottom in bottoms], **options, **param)
    for top, blob in zip(tops, made if len(tops) > 1 else [made]):
        net[top] = blob


_DEFAULTS = dict(feature_norm="UNNORMALIZED", triplets="ORDERED", gradient="EXACT", norm="L1", input="FRAMES",
                 mode="ARG_MAX")


def changed(**choices):
    """The choices that are not the layers' defaults: a net shows where it deviates."""
    return {key: value for key, value in choices.items() if value != _DEFAULTS[key]}


def named(net, name):
    """The NetSpec as a NetParameter of that name."""
    proto = net.to_proto()
    proto.name = name
    return proto
