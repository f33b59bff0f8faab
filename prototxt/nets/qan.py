"""The QAN-style baseline: one quality score a frame, global features, the prior's losses.

Liu, Yan, Ouyang: Quality aware network for set to set recognition, CVPR 2017, and its published nets
(train_PQAN_image.prototxt with one part instead of three). What differs from STAL: no parts, no pose, no RAN; every
frame is classified, at three depths; the distances are squared and of unit features. Options of parts, joints, Eq. 8 and
sums are not read. With several persons a batch (the demo) there is no contrastive loss.
"""

from caffe import NetSpec
from caffe import layers as L
from caffe import params as P

from prototxt.nets import stan, trunk
from prototxt.nets.data import data_layer
from prototxt.nets.layers import bn_relu, changed, conv_bn_relu, method_layer, named

_RATES = [dict(lr_mult=1, decay_mult=1), dict(lr_mult=2, decay_mult=0)]  # of weights and bias (prior)


def train_net(options):
    """Loss weights as in the prior: three softmax losses, triplet and contrastive loss, 1 each."""
    net = NetSpec()
    backbone, frames = options.backbone, options.frames
    data_layer(net, options)
    net["label_column"] = L.Reshape(net["label"], shape=dict(dim=[-1, 1]))
    net["label_rows"] = L.Tile(net["label_column"], axis=1, tiles=frames)
    net["label_frames"] = L.Reshape(net["label_rows"], shape=dict(dim=[-1]))

    trunk.global_branch(net, options, trunk.low_level(net, options))
    for head, block in backbone.heads:
        _auxiliary_head(net, options, head, f"inception_{block}/output")
    _classifier(net, options, "loss3", backbone.pool5)

    method_layer(net, options.twins, "L1Normalize", "attention", [_quality(net, options)], ["attention"], frames=frames)
    method_layer(net, options.twins, "AttentionPooling", "aggregate", ["attention", "global"],
                 ["video_parts", "video_attention"], frames=frames)
    net["silence_attention"] = L.Silence(net["video_attention"], ntop=0)
    net["video"] = L.Flatten(net["video_parts"])
    method_layer(net, options.twins, "PairwiseDistance", "distance", ["video"], ["distance"], feature_norm="L2_UNIT",
                 squared=True)
    # The prior's layers divide by 2N, ours by N.
    method_layer(net, options.twins, "TripletLoss", "loss_tri", ["distance", "label"], ["loss_tri"], loss_weight=0.5,
                 margin=options.margin_global, **changed(triplets=options.triplets))
    if not options.batch_identities:
        _contrastive_loss(net)
    return named(net, options.name)


def deploy_net(options):
    """data (F, 3, H, W) -> global (F, C), the same as part1, and scores (F, 1).

    The distance between tracklets is then d_l of one part with the temporal switch on: fusion rate 0.
    """
    net = NetSpec()
    net["data"] = L.Input(shape=dict(dim=[1, 3, options.height, options.width]))
    trunk.global_branch(net, options, trunk.low_level(net, options))
    net["part1"] = L.Flatten(net[options.backbone.pool5])
    _quality(net, options)
    return named(net, f"{options.name}_deploy")


def _quality(net, options):
    """The quality of each frame from the frame itself, under the prior's names; returns (F, 1) ``scores`` in [0, 1]."""
    return stan.scores(net, options, ("conv1_s", "pool1_s", "conv1_sss1", "conv2_s", "pool_s", "fc1_s"), 1, P.Pooling.AVE)


def _auxiliary_head(net, options, head, bottom):
    """AVE 5 x 5 / 3, 1 x 1 convolution, fully connected layer and classifier behind a block (lim0606)."""
    conv, fc = options.backbone.head_widths
    pooled = f"pool{int(head[-1]) + 2}/5x5_s3"
    net[pooled] = L.Pooling(net[bottom], pool=P.Pooling.AVE, kernel_size=5, stride=3)
    top = conv_bn_relu(net, f"{head}/conv", pooled, conv, 1, fraction=options.bn_fraction)
    net[f"{head}/fc"] = L.InnerProduct(net[top], num_output=fc, bias_term=False, weight_filler=dict(type="xavier"))
    _classifier(net, options, head, bn_relu(net, f"{head}/fc", options.bn_fraction))


def _classifier(net, options, head, bottom):
    """Softmax loss of every frame. The prior's name, so that ImageNet's classifier of 1000 classes is not copied."""
    net[f"{head}/classifier_1"] = L.InnerProduct(net[bottom], num_output=options.identities, param=_RATES,
                                                 weight_filler=dict(type="xavier"))
    net[f"{head}/loss"] = L.SoftmaxWithLoss(net[f"{head}/classifier_1"], net["label_frames"], loss_weight=1)


def _contrastive_loss(net):
    """d(anchor, positive) / 2: a contrastive loss that is never given a pair of different persons (prior)."""
    net["distance_anchor"], net["distance_others"] = L.Slice(net["distance"], name="slice_anchor", axis=0, slice_point=1,
                                                             ntop=2)
    for top, blob in zip(("self", "positive", "negative"),
                         L.Slice(net["distance_anchor"], name="slice_positive", axis=1, slice_point=[1, 2], ntop=3)):
        net[f"distance_{top}"] = blob
    net["silence_distances"] = L.Silence(*[net[f"distance_{top}"] for top in ("others", "self", "negative")], ntop=0)
    net["loss_contrastive"] = L.Reduction(net["distance_positive"], operation=P.Reduction.SUM, coeff=0.5, loss_weight=1)
