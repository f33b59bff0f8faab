"""The STAL net: for training with Eq. 3's losses, and for deployment."""

from caffe import NetSpec
from caffe import layers as L

from prototxt.nets import parts, stan, trunk
from prototxt.nets.layers import method_layer, video_mean


def train_net(options):
    """The net of Fig. 2 on triplets of videos, with the losses of Eq. 3, as a NetParameter."""
    net = NetSpec()
    method_layer(net, options.twins, "VideoTripletData", "data", [], ["data", "label", "joints"],
                 source=f"{options.data}/train.csv", root_folder=f"{options.data}/",
                 joints=f"{options.data}/train_joints.npy", frames=options.frames, new_height=options.height,
                 new_width=options.width, mean_value=list(options.mean), scale=options.scale,
                 identities=options.identities, seed=options.seed,
                 **(dict(batch_identities=options.batch_identities, videos=options.videos)
                    if options.batch_identities else {}))
    split = trunk.low_level(net, options)
    _global_losses(net, options, trunk.global_branch(net, options, split))
    features = parts.part_features(net, options, split)
    _local_losses(net, options, features, stan.scores(net, options))
    return _named(net, options.name)


def deploy_net(options):
    """data (F, 3, H, W) and joints (F, 14, 3) -> global, part1 .. partR and raw scores of each frame.

    Aggregation over a tracklet of any length happens outside (stal/extraction.py), in running sums.
    """
    net = NetSpec()
    net["data"] = L.Input(shape=dict(dim=[1, 3, options.height, options.width]))
    net["joints"] = L.Input(shape=dict(dim=[1, 14, 3]))
    split = trunk.low_level(net, options)
    trunk.global_branch(net, options, split)
    parts.part_features(net, options, split)
    stan.scores(net, options)
    return _named(net, f"{options.name}_deploy")


def _global_losses(net, options, bottom):
    """g of each video, its softmax loss (Eq. 5) and the global sum of Eq. 4."""
    channels = options.backbone.channels(options.backbone.high()[-1])
    g = video_mean(net, "video_global", bottom, options.frames, channels)
    normalization = "NONE" if options.sums else None
    net["classifier_global"] = L.InnerProduct(net[g], num_output=options.identities, bias_term=False,
                                              weight_filler=dict(type="xavier"))
    net["loss_cls"] = L.SoftmaxWithLoss(net["classifier_global"], net["label"], loss_weight=1,
                                        **(dict(loss_param=dict(normalization="NONE")) if options.sums else {}))
    method_layer(net, options.twins, "PairwiseDistance", "distance_global", [g], ["distance_global"],
                 **_changed(feature_norm=options.feature_norm))
    method_layer(net, options.twins, "TripletLoss", "loss_tri_global", ["distance_global", "label"],
                 ["loss_tri_global"], loss_weight=1, normalization=normalization, margin=options.margin_global,
                 **_changed(triplets=options.triplets))


def _local_losses(net, options, features, raw_scores):
    """Aggregation (Eq. 9), local distance (Eq. 8), the local sum of Eq. 4, and the consistency constraint (Eq. 6)."""
    twins, frames = options.twins, options.frames
    normalization = "NONE" if options.sums else None
    method_layer(net, twins, "L1Normalize", "attention", [raw_scores], ["attention"], frames=frames)
    method_layer(net, twins, "AttentionPooling", "aggregate", ["attention", *features], ["video_parts", "video_attention"],
                 frames=frames, **_changed(gradient=options.gradient))
    method_layer(net, twins, "AttentionDistance", "distance_local", ["video_parts", "video_attention"],
                 ["distance_local"], **_changed(norm=options.attention_norm, gradient=options.gradient,
                                                feature_norm=options.feature_norm))
    method_layer(net, twins, "TripletLoss", "loss_tri_local", ["distance_local", "label"], ["loss_tri_local"],
                 loss_weight=options.local_weight, normalization=normalization, margin=options.margin_local,
                 **_changed(triplets=options.triplets))
    bottoms = {"FRAMES": [*features, "label"], "WEIGHTED_FRAMES": [*features, "label", "attention"],
               "AGGREGATED": ["video_parts", "label"]}[options.consistency_input]
    method_layer(net, twins, "ConsistencyLoss", "loss_consistency", bottoms, ["loss_consistency"], loss_weight=1,
                 normalization=normalization, num_output=options.identities, frames=frames,
                 weight_filler=dict(type="xavier"), **_changed(input=options.consistency_input))


_DEFAULTS = dict(feature_norm="UNNORMALIZED", triplets="ORDERED", gradient="EXACT", norm="L1", input="FRAMES")


def _changed(**choices):
    """The choices that are not the layers' defaults: a net shows where it deviates."""
    return {key: value for key, value in choices.items() if value != _DEFAULTS[key]}


def _named(net, name):
    proto = net.to_proto()
    proto.name = name
    return proto
