"""The data layer of every net for training."""

from prototxt.nets.layers import method_layer


def data_layer(net, options, joints=None):
    """Adds VideoTripletData: blobs data (F, 3, H, W), label (V) and, if it is given a name, ``joints`` (F, 14, 3)."""
    lists = options.lists or options.data
    table = dict(joints=f"{lists}/train_joints.npy") if joints else {}
    batch = dict(batch_identities=options.batch_identities, videos=options.videos) if options.batch_identities else {}
    method_layer(net, options.twins, "VideoTripletData", "data", [], ["data", "label", *([joints] if joints else [])],
                 source=f"{lists}/train.csv", root_folder=f"{options.data}/", **table, frames=options.frames,
                 new_height=options.height, new_width=options.width, mean_value=list(options.mean), scale=options.scale,
                 identities=options.identities, seed=options.seed, **batch)
