"""The spatial-temporal attention network (section III-C): frames -> raw scores."""

from caffe import layers as L
from caffe import params as P

from prototxt.nets.layers import bn_relu
from prototxt.nets.options import PARTS


NAMES = ("stan_conv1", "stan_pool1", "stan_conv2", "stan_conv3", "stan_pool", "stan_fc")


def scores(net, options, names=NAMES, outputs=PARTS, pool=P.Pooling.MAX):
    """7x7, 3x3, 3x3 convolutions, a pooling and a fully connected layer on ``data``; returns (F, R) ``scores`` in [0, 1].

    The fully connected layer gives R scores a frame; the paper's T x R are the T rows of a video, so any T works.

    Args:
        names: of the layers; outputs: R; pool: of the last pooling. The prior's net has others (qan.py).
    """
    conv1, pool1, conv2, conv3, last, fc = names
    first, second, third = options.stan_channels
    rate = options.stan_lr_mult
    bottom = _conv(net, options, conv1, "data", first, 7, 2)
    net[pool1] = L.Pooling(net[bottom], pool=P.Pooling.MAX, kernel_size=3, stride=2)
    bottom = _conv(net, options, conv2, pool1, second, 3, 1)
    bottom = _conv(net, options, conv3, bottom, third, 3, 1)
    kernel, stride = options.stan_pool
    net[last] = L.Pooling(net[bottom], pool=pool, kernel_size=kernel, stride=stride)
    net[fc] = L.InnerProduct(net[last], num_output=outputs, param=_rates(rate),
                             weight_filler=dict(type="gaussian", std=options.stan_fc_std))
    net["scores"] = L.Sigmoid(net[fc])
    return "scores"


def _conv(net, options, name, bottom, channels, kernel, stride):
    rate = options.stan_lr_mult
    shape = dict(num_output=channels, kernel_size=kernel, stride=stride, pad=kernel // 2)
    if not options.stan_batch_norm:
        net[name] = L.Convolution(net[bottom], param=_rates(rate), weight_filler=dict(type="gaussian", std=0.01), **shape)
        return name
    net[name] = L.Convolution(net[bottom], param=_rates(rate)[:1], bias_term=False, weight_filler=dict(type="xavier"),
                              **shape)
    return bn_relu(net, name, options.bn_fraction, rate)


def _rates(rate):
    """Learning rates of weights and bias: the bias learns twice as fast and does not decay (prior)."""
    return [dict(lr_mult=rate, decay_mult=1), dict(lr_mult=2 * rate, decay_mult=0)]
