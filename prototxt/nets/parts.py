"""The local branch: part boxes, ROI pooling, one network a part (section III-B)."""

from caffe import layers as L
from caffe import params as P

from prototxt.nets.layers import method_layer
from prototxt.nets.options import PARTS


def part_features(net, options, bottom):
    """Features of each part on the split's output ``bottom`` and the blob ``joints``.

    Returns the names of R blobs (F, fc_part): part1 .. partR, in the paper's order of the parts.
    """
    backbone = options.backbone
    boxes = [f"boxes{r}" for r in range(1, PARTS + 1)]
    method_layer(net, options.twins, "PartBoxes", "part_boxes", ["joints"], boxes)
    tops = []
    for r, box in enumerate(boxes, start=1):
        method_layer(net, options.twins, options.roi, f"roi{r}", [bottom, box], [f"roi{r}"],
                     pooled_h=options.pooled, pooled_w=options.pooled, spatial_scale=1 / backbone.stride)
        top = f"roi{r}"
        for block in backbone.part_blocks:
            top = backbone.block(net, options, block, top, part=f"_part{r}")
        if backbone.part_pool:
            net[f"pool_part{r}"] = L.Pooling(net[top], pool=P.Pooling.MAX, kernel_size=3, stride=2)
            top = f"pool_part{r}"
        net[f"part{r}"] = L.InnerProduct(net[top], name=f"fc_part{r}", weight_filler=dict(type="xavier"),
                                         num_output=options.local_embedding or backbone.fc_part)
        tops.append(f"part{r}")
    return tops
