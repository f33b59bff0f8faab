"""The STAL net: for training with Eq. 3's losses, and for deployment."""

from caffe import NetSpec
from caffe import layers as L

from prototxt.nets import parts, pose, stan, trunk
from prototxt.nets.data import data_layer
from prototxt.nets.layers import changed, method_layer, named, video_mean


def train_net(options):
    """The net of Fig. 2 on triplets of videos, with the losses of Eq. 3, as a NetParameter."""
    net = NetSpec()
    local, given = "local" in options.branches, _joints_given(options)
    data_layer(net, options, "joints" if given else None)
    split = trunk.low_level(net, options)
    if "global" in options.branches:
        _global_losses(net, options, trunk.global_branch(net, options, split))
    if local:
        if not given:
            pose.joints(net, options)
        _local_losses(net, options, parts.part_features(net, options, split), stan.scores(net, options))
    return named(net, options.name)


def deploy_net(options):
    """data (F, 3, H, W) and joints (F, 14, 3) -> global, part1 .. partR and raw scores of each frame.

    Without the local branch, or with a pose net in the graph, there is no input joints; without a branch, none of its
    outputs. Aggregation over a tracklet of any length happens outside (stal/extraction.py), in running sums.
    """
    net = NetSpec()
    net["data"] = L.Input(shape=dict(dim=[1, 3, options.height, options.width]))
    if _joints_given(options):
        net["joints"] = L.Input(shape=dict(dim=[1, 14, 3]))
    split = trunk.low_level(net, options)
    if "global" in options.branches:
        trunk.global_branch(net, options, split)
    if "local" in options.branches:
        if options.pose:
            pose.joints(net, options)
        parts.part_features(net, options, split)
        stan.scores(net, options)
    return named(net, f"{options.name}_deploy")


def _joints_given(options):
    return "local" in options.branches and not options.pose


def _global_losses(net, options, bottom):
    """g of each video, its softmax loss (Eq. 5) and the global sum of Eq. 4."""
    channels = options.global_embedding or options.backbone.channels(options.backbone.high()[-1])
    g = video_mean(net, "video_global", bottom, options.frames, channels)
    normalization = "NONE" if options.sums else None
    net["classifier_global"] = L.InnerProduct(net[g], num_output=options.identities, bias_term=False,
                                              weight_filler=dict(type="xavier"))
    net["loss_cls"] = L.SoftmaxWithLoss(net["classifier_global"], net["label"], loss_weight=1,
                                        **(dict(loss_param=dict(normalization="NONE")) if options.sums else {}))
    method_layer(net, options.twins, "PairwiseDistance", "distance_global", [g], ["distance_global"],
                 **changed(feature_norm=options.feature_norm))
    method_layer(net, options.twins, "TripletLoss", "loss_tri_global", ["distance_global", "label"],
                 ["loss_tri_global"], loss_weight=1, normalization=normalization, margin=options.margin_global,
                 **changed(triplets=options.triplets))


def _local_losses(net, options, features, raw_scores):
    """Aggregation (Eq. 9), local distance (Eq. 8), the local sum of Eq. 4, and the consistency constraint (Eq. 6)."""
    twins, frames = options.twins, options.frames
    normalization = "NONE" if options.sums else None
    method_layer(net, twins, "L1Normalize", "attention", [raw_scores], ["attention"], frames=frames)
    method_layer(net, twins, "AttentionPooling", "aggregate", ["attention", *features], ["video_parts", "video_attention"],
                 frames=frames, **changed(gradient=options.gradient))
    method_layer(net, twins, "AttentionDistance", "distance_local", ["video_parts", "video_attention"],
                 ["distance_local"], **changed(norm=options.attention_norm, gradient=options.gradient,
                                                feature_norm=options.feature_norm))
    method_layer(net, twins, "TripletLoss", "loss_tri_local", ["distance_local", "label"], ["loss_tri_local"],
                 loss_weight=options.local_weight, normalization=normalization, margin=options.margin_local,
                 **changed(triplets=options.triplets))
    bottoms = {"FRAMES": [*features, "label"], "WEIGHTED_FRAMES": [*features, "label", "attention"],
               "AGGREGATED": ["video_parts", "label"]}[options.consistency_input]
    method_layer(net, twins, "ConsistencyLoss", "loss_consistency", bottoms, ["loss_consistency"], loss_weight=1,
                 normalization=normalization, num_output=options.identities, frames=frames,
                 weight_filler=dict(type="xavier"), **changed(input=options.consistency_input))
