"""How many floating-point operations a net's products are: convolutions, inner products, part classifiers.

Two a multiplication with its addition. Everything else (BatchNorm, ReLU, pooling, losses) is left out: on a GPU these
take time for the memory they read, not for what they compute.
"""

import math


def count(net, shapes, parameters):
    """Counts a pass over the net.

    Args:
        net: NetParameter; shapes: {blob: shape}; parameters: {layer: [shape of each parameter blob]}.
    Returns:
        (forward, step): of a forward pass; of forward and backward, where backward makes the gradients by all weights
        that learn, and by all bottoms behind which something learns.
    """
    forward = step = 0
    learns = set()  # blobs with something that learns behind them
    for layer in net.layer:
        products = _products(layer, shapes, parameters)
        weights = bool(parameters.get(layer.name)) and not (layer.param and layer.param[0].lr_mult == 0)
        bottoms = any(bottom in learns for bottom in layer.bottom)
        forward += 2 * products
        step += 2 * products * (1 + weights + bottoms)
        if weights or bottoms:
            learns.update(layer.top)
    return forward, step


def _products(layer, shapes, parameters):
    """Multiplications of a forward pass: how often each weight is used, times the weights."""
    if layer.type in ("Convolution", "Deconvolution"):
        # A deconvolution uses its weights once a pixel of its bottom, a convolution once a pixel of its top.
        used = shapes[layer.top[0] if layer.type == "Convolution" else layer.bottom[0]]
        return used[0] * math.prod(used[2:]) * math.prod(parameters[layer.name][0])
    if layer.type in ("InnerProduct", "ConsistencyLoss"):
        return shapes[layer.bottom[0]][0] * math.prod(parameters[layer.name][0])
    return 0
