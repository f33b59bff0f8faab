"""The spatial-temporal attention network (section III-C): frames -> raw scores."""

from caffe import layers as L
from caffe import params as P

from prototxt.nets.layers import bn_relu


def scores(net, options):
    """7x7, 3x3, 3x3 convolutions, max pooling and a fully connected layer on ``data``; returns (F, R) ``scores`` in [0, 1].

    The fully connected layer gives R scores a frame; the paper's T x R are the T rows of a video, so any T works.
    """
    first, second, third = options.stan_channels
    rate = options.stan_lr_mult
    bottom = _conv(net, options, "stan_conv1", "data", first, 7, 2)
    net["stan_pool1"] = L.Pooling(net[bottom], pool=P.Pooling.MAX, kernel_size=3, stride=2)
    bottom = _conv(net, options, "stan_conv2", "stan_pool1", second, 3, 1)
    bottom = _conv(net, options, "stan_conv3", bottom, third, 3, 1)
    kernel, stride = options.stan_pool
    net["stan_pool"] = L.Pooling(net[bottom], pool=P.Pooling.MAX, kernel_size=kernel, stride=stride)
    net["stan_fc"] = L.InnerProduct(net["stan_pool"], num_output=options.parts, param=_rates(rate),
                                    weight_filler=dict(type="gaussian", std=options.stan_fc_std))
    net["scores"] = L.Sigmoid(net["stan_fc"])
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
