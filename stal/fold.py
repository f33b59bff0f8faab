"""Folds BatchNorm and Scale into the convolutions in front of them; works on NetParameter messages, without Caffe.

In a deploy net both are a factor and an offset a channel (Ioffe & Szegedy 2015, section 3.1; Caffe's layers BatchNorm
and Scale), and a convolution's weights and bias can take them in.
"""

from collections import Counter
from typing import NamedTuple

import numpy as np

from stal.errors import InputError

FOLDABLE = ("BatchNorm", "Scale")
CONVOLUTIONS = ("Convolution", "Deconvolution")


class Folding(NamedTuple):
    """What :func:`fold` did."""

    folded: list    # (convolution's name, names of the layers it took in)
    left: list      # (name of a BatchNorm or Scale, why it stays)
    unused: list    # names of the layers in the weights file that have blobs and are not in the net
    before: int     # parameters of the net's layers
    after: int


def fold(net, weights, net_path, weights_path):
    """Takes every BatchNorm and Scale that can be folded out of a deploy net and its weights, in place.

    A convolution gets the top of the last layer folded into it, so whoever read that blob still does. All other layers
    of the net stay as they are. So do those of the weights, also a training net's layers without blobs (its data layer
    says how frames are prepared); only layers with blobs for which the net has no use are left out.

    Args:
        net, weights: NetParameter messages; changed.
        net_path, weights_path: for the sentences.
    Returns:
        a :class:`Folding`.
    Raises:
        InputError: the net is none for deployment, or the weights do not belong to it; the messages are of no use then.
    """
    _check_net(net, net_path)
    stored = {layer.name: layer for layer in weights.layer if layer.blobs}
    _check_weights(net, stored, net_path, weights_path)
    names = {layer.name for layer in net.layer}
    unused = [name for name in stored if name not in names]
    before = _count(stored, names)
    chains, left = _chains(net, stored)
    for conv, chain in chains:
        _fold_blobs(conv, chain, stored, weights_path)
        for message in (conv, stored[conv.name]):
            message.convolution_param.ClearField("bias_term")  # true by default
            if message.top:
                message.top[0] = chain[-1].top[0]
    folded = [(conv.name, [layer.name for layer in chain]) for conv, chain in chains]
    dropped = {name for _, taken in folded for name in taken}
    after = _count(stored, names - dropped)
    _remove(net, dropped)
    _remove(weights, dropped.union(unused))
    return Folding(folded, left, unused, before, after)


def _check_net(net, path):
    """Only a net whose input comes from outside is for deployment: in training, BatchNorm uses the batch."""
    if not net.layer:
        raise InputError(f"{path} has no layers, or those of Caffe before 2014: upgrade_net_proto_text rewrites it")
    if not net.input and not any(layer.type == "Input" for layer in net.layer):
        raise InputError(f"{path} has no input, so it is for training: give a deploy net, prototxt/deploy*.prototxt")
    for layer in net.layer:
        if layer.include or layer.exclude:
            raise InputError(f"{path} is for training too, its layer {layer.name} is not in every phase: give a deploy "
                             "net, prototxt/deploy*.prototxt")
    for name, count in Counter(layer.name for layer in net.layer).items():
        if count > 1:
            raise InputError(f"{path} has {count} layers {name}, and weights are found by name: rename them")


def _check_weights(net, stored, net_path, weights_path):
    """Convolutions, BatchNorms and Scales must have their blobs, of the right number and with the channels they need."""
    learned = [layer for layer in net.layer if layer.type in (*CONVOLUTIONS, *FOLDABLE, "InnerProduct")
               and not (layer.type == "Scale" and len(layer.bottom) > 1)]
    missing = [layer.name for layer in learned if layer.name not in stored]
    if missing:
        raise InputError(f"{weights_path} is not for the net {net_path}: it has no weights for {len(missing)} of its "
                         f"{len(learned)} layers, {missing[0]} for one")
    for layer in learned:
        blobs = stored[layer.name].blobs
        shapes = [_shape(blob) for blob in blobs]
        if [int(np.prod(shape)) for shape in shapes] != [_length(blob) for blob in blobs]:
            raise InputError(f"{weights_path} is damaged in layer {layer.name}, whose shapes and numbers disagree: "
                             "copy it again")
        if not _fit(layer, shapes):
            raise InputError(f"{weights_path} is not for the net {net_path}: layer {layer.name} has parameters {shapes} "
                             "in the file, which cannot be its own")


def _fit(layer, shapes):
    """Whether a layer's blobs are as many, and with as many outputs, as its options say."""
    if layer.type == "BatchNorm":
        return len(shapes) == 3 and np.prod(shapes[0]) == np.prod(shapes[1]) and np.prod(shapes[2]) == 1
    if layer.type == "Scale":
        return len(shapes) == 1 + layer.scale_param.bias_term
    param = layer.inner_product_param if layer.type == "InnerProduct" else layer.convolution_param
    if len(shapes) != 1 + param.bias_term or len(shapes[0]) < 2:
        return False
    transposed = layer.inner_product_param.transpose or layer.type == "Deconvolution"
    groups = layer.convolution_param.group if layer.type == "Deconvolution" else 1
    return shapes[0][int(transposed)] * groups == param.num_output


def _chains(net, stored):
    """Which layers fold, [(convolution, [layers])], and [(name, why)] of the others.

    A layer folds if it reads what a convolution, or a layer folded into it, wrote, and nobody else reads that. With
    layers in place a blob's name stands for several contents in turn; a reader gets the one written last before it.
    """
    sources, readers, writer = [], {}, {}  # blob -> index of the layer that wrote it last
    for n, layer in enumerate(net.layer):
        sources.append([(writer.get(blob), blob) for blob in layer.bottom])
        for content in sources[n]:
            readers.setdefault(content, {})[layer.name] = None
        writer.update(dict.fromkeys(layer.top, n))
    sharing = Counter(name for layer in net.layer for name in {param.name for param in layer.param} if name)
    chains, left = {}, []
    home = {}  # index of a convolution or of a layer folded into it -> index of the convolution
    for n, layer in enumerate(net.layer):
        why = _oddity(layer, sharing)
        if layer.type in CONVOLUTIONS and not why:
            home[n] = n
        if layer.type not in FOLDABLE:
            continue
        if not why:
            source, blob = sources[n][0]
            others = [name for name in readers[source, blob] if name != layer.name]
            if source not in home:
                why = _no_home(blob, net.layer[source] if source is not None else None, sharing)
            elif others:
                why = f"{blob} is read by {', '.join(others)} too"
            elif layer.type == "Scale":
                param, axes = layer.scale_param, len(_shape(stored[net.layer[home[source]].name].blobs[0]))
                if param.axis not in (1, 1 - axes) or param.num_axes != 1:
                    why = f"its axis {param.axis} and num_axes {param.num_axes} are not the channels' 1 and 1"
        if why:
            left.append((layer.name, why))
        else:
            home[n] = home[source]
            chains.setdefault(home[n], []).append(layer)
    return [(net.layer[n], chain) for n, chain in sorted(chains.items())], left


def _oddity(layer, sharing):
    """Why a layer cannot take part whatever is around it, or None."""
    if any(sharing[param.name] > 1 for param in layer.param):
        return "its weights are shared with another layer"
    if len(layer.bottom) != 1 or len(layer.top) != 1:
        return "it has more than one bottom or top"
    if layer.type == "BatchNorm" and layer.batch_norm_param.HasField("use_global_stats") \
            and not layer.batch_norm_param.use_global_stats:
        return "its use_global_stats is false, so it uses the batch's statistics"
    if layer.type in CONVOLUTIONS and layer.convolution_param.axis != 1:
        return "its channels are not on axis 1"
    return None


def _no_home(blob, before, sharing):
    """Why a layer that reads ``blob`` has nothing in front of it to fold into; ``before`` wrote it (None: an input)."""
    if before is None:
        return f"it reads {blob}, an input of the net"
    if before.type in CONVOLUTIONS:
        return f"it reads {blob} of the {before.type} {before.name}, and of that one: {_oddity(before, sharing)}"
    return f"it reads {blob} of the {before.type} {before.name}, which is " + (
        "left" if before.type in FOLDABLE else "no convolution")


def _fold_blobs(conv, chain, stored, path):
    """Multiplies a convolution's blobs by the factors of the layers behind it and adds their offsets, in float64."""
    channels, group, blobs = conv.convolution_param.num_output, conv.convolution_param.group, stored[conv.name].blobs
    factor, offset = np.ones(channels), np.zeros(channels)
    for layer in chain:
        a, b = _affine(layer, stored[layer.name].blobs, path)
        if not len(a) == len(b) == channels:
            raise InputError(f"{path} does not fit together: layer {layer.name} has {len(a)} channels and "
                             f"{conv.name} in front of it {channels}; give the weights of this net")
        factor, offset = a * factor, a * offset + b
    weight = _array(blobs[0])
    if conv.type == "Deconvolution":  # (inputs, outputs / group, ...), the groups one after the other along the inputs
        inputs, outputs = _shape(blobs[0])[:2]
        weight = weight.reshape(group, inputs // group, outputs, -1) * factor.reshape(group, 1, outputs, 1)
    else:                             # (outputs, inputs / group, ...)
        weight = weight.reshape(channels, -1) * factor[:, None]
    _set(blobs[0], weight)
    if len(blobs) > 1:
        offset += factor * _array(blobs[1])
    else:
        blobs.add().shape.dim.append(channels)
    _set(blobs[1], offset)


def _affine(layer, blobs, path):
    """Factor and offset (C,), float64, of a BatchNorm's moving statistics or of a Scale."""
    if layer.type == "Scale":
        factor = _array(blobs[0])
        return factor, _array(blobs[1]) if len(blobs) > 1 else np.zeros_like(factor)
    mean, variance, count = map(_array, blobs)
    share = 0.0 if count[0] == 0 else 1 / count[0]  # the blobs are sums; 0 before the first iteration
    variance = variance * share + layer.batch_norm_param.eps
    if not (variance > 0).all():
        raise InputError(f"{path} has a variance in layer {layer.name} that is negative or no number: the training that "
                         "wrote it went wrong, take an earlier snapshot")
    factor = 1 / np.sqrt(variance)
    return factor, -mean * share * factor


def _shape(blob):
    """A blob's shape; () for a single number, four fields in files of before 2014."""
    old = "num", "channels", "height", "width"
    return tuple(getattr(blob, field) for field in old) if any(map(blob.HasField, old)) else tuple(blob.shape.dim)


def _length(blob):
    return len(blob.double_data) or len(blob.data)


def _array(blob):
    """A blob's numbers, flat, float64."""
    return np.array(blob.double_data or blob.data, np.float64)


def _set(blob, values):
    """Replaces a blob's numbers; its shape stays."""
    for field in ("data", "double_data", "diff", "double_diff"):
        blob.ClearField(field)
    blob.data.extend(values.astype(np.float32).ravel().tolist())


def _count(stored, names):
    """Parameters of the layers of these names."""
    return sum(_length(blob) for name, layer in stored.items() if name in names for blob in layer.blobs)


def _remove(net, names):
    for n in reversed(range(len(net.layer))):
        if net.layer[n].name in names:
            del net.layer[n]
