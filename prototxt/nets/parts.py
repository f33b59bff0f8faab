"""The local branch: part boxes, ROI pooling, one network a part (section III-B)."""

from caffe import layers as L

from prototxt.nets.layers import method_layer
from prototxt.nets.trunk import inception


def part_features(net, options, bottom):
    """Features of each part on the split's output ``bottom`` and the blob ``joints``.

    Returns the names of R blobs (F, fc_part): part1 .. partR, in the paper's order of the parts.
    """
    backbone = options.backbone
    boxes = [f"boxes{r}" for r in range(1, options.parts + 1)]
    method_layer(net, options.twins, "PartBoxes", "part_boxes", ["joints"], boxes)
    tops = []
    for r, box in enumerate(boxes, start=1):
        method_layer(net, options.twins, options.roi, f"roi{r}", [bottom, box], [f"roi{r}"],
                     pooled_h=options.pooled, pooled_w=options.pooled, spatial_scale=1 / backbone.stride)
        top = f"roi{r}"
        for block in backbone.part_blocks:
            top = inception(net, f"inception_{block}_part{r}", top, backbone.blocks[block], options.bn_fraction)
        net[f"part{r}"] = L.InnerProduct(net[top], name=f"fc_part{r}", num_output=backbone.fc_part,
                                         weight_filler=dict(type="xavier"))
        tops.append(f"part{r}")
    return tops
