"""The layers of a Caffe net in PyTorch, from Caffe's semantics and the paper's equations, not from our C++.

Each function takes (param, bottoms, blobs): the layer's options as plain_net.py writes them, its bottoms and
its parameter blobs as tensors; it returns the list of the tops. Backward is autograd's. ``LAYERS`` has them
by type; BatchNorm with its Scale keeps a state and is in torch_net.py.

Shapes: F = V T frames, video-major, R parts, C channels, K identities.
"""

import math

import torch
import torch.nn.functional as F

from torch_pose_layers import POSE_LAYERS

# Section III-B, numbered from 1.
PARTS = ((1, 2, 3, 6), (2, 3, 6, 9, 12), (3, 4, 5), (6, 7, 8), (12, 13, 14), (9, 10, 11))


def convolution(param, bottoms, blobs):
    """(N, C, H, W) -> (N, C', H', W'); sizes are rounded down."""
    return [F.conv2d(bottoms[0], *_weights(blobs), _pair(param, "stride", 1), _pair(param, "pad", 0),
                     _pair(param, "dilation", 1), param["group"])]


def deconvolution(param, bottoms, blobs):
    """The transpose of a convolution; its blob is (C, C' / group, h, w)."""
    return [F.conv_transpose2d(bottoms[0], *_weights(blobs), _pair(param, "stride", 1),
                               _pair(param, "pad", 0), 0, param["group"], _pair(param, "dilation", 1))]


def pooling(param, bottoms, blobs):
    """Sizes are rounded up; an average divides by the window's area with the padding that lies in it."""
    bottom, stride, pad = bottoms[0], _pair(param, "stride", 1), _pair(param, "pad", 0)
    kernel = tuple(bottom.shape[2:]) if param["global_pooling"] else _pair(param, "kernel_size", 0)
    ceil = param["round_mode"] == "CEIL"
    if param["pool"] == "MAX":
        return [F.max_pool2d(bottom, kernel, stride, pad, ceil_mode=ceil)]
    if param["pool"] == "AVE":
        return [F.avg_pool2d(bottom, kernel, stride, pad, ceil_mode=ceil, count_include_pad=True)]
    raise NotImplementedError(f"pool: {param['pool']}")


def relu(param, bottoms, blobs):
    """In place: only behind layers whose backward pass does not read their top."""
    return [F.leaky_relu(bottoms[0], param["negative_slope"], inplace=True) if param["negative_slope"]
            else F.relu(bottoms[0], inplace=True)]


def lrn(param, bottoms, blobs):
    """Across channels; Caffe, too, divides alpha by the number of channels summed."""
    if param["norm_region"] != "ACROSS_CHANNELS":
        raise NotImplementedError(f"norm_region: {param['norm_region']}")
    return [F.local_response_norm(bottoms[0], param["local_size"], param["alpha"], param["beta"], param["k"])]


def sigmoid(param, bottoms, blobs):
    return [torch.sigmoid(bottoms[0])]


def inner_product(param, bottoms, blobs):
    """(N, ...) -> (N, C'), all axes behind the first taken as one."""
    return [F.linear(bottoms[0].flatten(1), *_weights(blobs))]


def concat(param, bottoms, blobs):
    return [torch.cat(bottoms, param["axis"])]


def eltwise(param, bottoms, blobs):
    """Product or weighted sum."""
    result = bottoms[0]
    if param["operation"] == "PROD":
        for bottom in bottoms[1:]:
            result = result * bottom
    elif param["operation"] == "SUM" and not param["coeff"]:
        for bottom in bottoms[1:]:
            result = result + bottom
    else:
        raise NotImplementedError(f"operation: {param['operation']}, coeff: {param['coeff']}")
    return [result]


def power(param, bottoms, blobs):
    return [(param["shift"] + param["scale"] * bottoms[0]) ** param["power"]]


def slice_blob(param, bottoms, blobs):
    """One top more than there are slice points."""
    if not param["slice_point"]:
        raise NotImplementedError("a Slice without slice_point")
    return torch.tensor_split(bottoms[0], param["slice_point"], param["axis"])


def tile(param, bottoms, blobs):
    return [torch.cat([bottoms[0]] * param["tiles"], param["axis"])]


def reduction(param, bottoms, blobs):
    """Sum or mean over ``axis`` and all behind it."""
    operations = {"SUM": torch.sum, "MEAN": torch.mean}
    if param["operation"] not in operations:
        raise NotImplementedError(f"operation: {param['operation']}")
    return [param["coeff"] * operations[param["operation"]](bottoms[0].flatten(param["axis"]), -1)]


def silence(param, bottoms, blobs):
    return []


def flatten(param, bottoms, blobs):
    return [bottoms[0].flatten(param["axis"], param["end_axis"])]


def reshape(param, bottoms, blobs):
    """A dimension of 0 is copied from the bottom, -1 is what remains."""
    dims = [int(dim) for dim in param["shape"]["dim"]]
    return [bottoms[0].reshape([dim or bottoms[0].shape[axis] for axis, dim in enumerate(dims)])]


def euclidean_loss(param, bottoms, blobs):
    """Half the squared distance, over the number of rows."""
    return [(bottoms[0] - bottoms[1]).square().sum() / (2 * len(bottoms[0]))]


def softmax_with_loss(param, bottoms, blobs):
    """Eq. 5 with its logarithm: logits (N, K), labels (N) -> the mean over the rows, or the sum."""
    logits, label = bottoms
    return [_normalised(F.cross_entropy(logits, label.long(), reduction="none"), len(label), param)]


def part_boxes(param, bottoms, blobs):
    """Eq. 7: joints (F, 14, 3) -> R boxes (F, 5) [frame, x1, y1, x2, y2]."""
    joints, tops = bottoms[0], []
    frame = torch.arange(len(joints), dtype=joints.dtype).unsqueeze(1)
    limits = joints.new_tensor([param["clip_width"], param["clip_height"]])
    for part in [part["joint"] for part in param["part"]] or PARTS:
        points = joints[:, [joint - 1 for joint in part], :2]
        low, high = points.min(1).values, points.max(1).values   # of the first joint on ties, as amin is not
        centre, half = (low + high) / 2, (high - low) * (0.5 + param["grow"])
        half = half.clamp(min=param["min_side"] / 2)
        low, high = (torch.where(limits > 0, edge.clamp(min=0).minimum(limits - 1), edge)
                     for edge in (centre - half, centre + half))
        tops.append(torch.cat([frame, low, high], 1))
    return tops


def roi_pooling(param, bottoms, blobs):
    """Fast R-CNN's: maps (N, C, H, W), boxes (M, 5) in input pixels -> (M, C, h, w).

    A box's bins are those of adaptive max pooling on its crop. Where it leaves the map, the crop is filled
    with minus infinity, so that bins are clipped to the map; a bin without a pixel is 0.
    """
    maps, boxes = bottoms
    pooled, size = (param["pooled_h"], param["pooled_w"]), maps.shape[2:]
    tops = []
    for index, *corners in boxes.tolist():
        left, top, right, bottom = (_round(corner * param["spatial_scale"]) for corner in corners)
        right, bottom = max(right, left), max(bottom, top)   # both ends belong to the box: one pixel at least
        outside = max(-left, 0), max(right + 1 - size[1], 0), max(-top, 0), max(bottom + 1 - size[0], 0)
        crop = maps[int(index):int(index) + 1]
        if any(outside):
            crop = F.pad(crop, outside, value=-math.inf)
            left, right = left + outside[0], right + outside[0]
            top, bottom = top + outside[2], bottom + outside[2]
        bins = F.adaptive_max_pool2d(crop[:, :, top:bottom + 1, left:right + 1], pooled)
        tops.append(torch.where(bins == -math.inf, 0, bins) if any(outside) else bins)
    return [torch.cat(tops)]


def l1_normalize(param, bottoms, blobs):
    """Section III-C: scores (F, R), divided by their sum over the T x R map of a video."""
    maps = bottoms[0].reshape(-1, param["frames"], bottoms[0].shape[1])
    return [(maps / (maps.abs().sum((1, 2), keepdim=True) + param["eps"])).reshape_as(bottoms[0])]


def attention_pooling(param, bottoms, blobs):
    """Eq. 9: scores (F, R), R features (F, C) -> parts (V, R, C) and the mean scores (V, R).

    gradient: PAPER passes the mean's gradient to each score whole.
    """
    scores, features = bottoms[0], torch.stack(bottoms[1:], 1)
    scores = scores.reshape(-1, param["frames"], scores.shape[1])
    fraction = _fractions(scores) if param["temporal"] else torch.full_like(scores, 1 / param["frames"])
    features = features.reshape(*scores.shape, -1)
    mean = scores.mean(1)
    if param["gradient"] == "PAPER":
        mean = _with_gradient_of(mean, scores.sum(1))
    return [(fraction.unsqueeze(3) * features).sum(1), mean]


def attention_distance(param, bottoms, blobs):
    """Eq. 8: parts (V, R, C), weights (V, R) -> (V, V).

    gradient: PAPER takes Eq. 10, second line, and Eq. 12 as printed: (sum_q omega_q) (1 - w_r) / ||a|| for weight a_r.
    """
    parts, weights = bottoms
    if not param["spatial"]:
        weights = torch.ones_like(weights)
    weights = torch.where((weights == 0).all(1, keepdim=True), 1, weights)
    order = {"L1": 1, "L2": 2}[param["norm"]]
    length = torch.linalg.vector_norm(weights, order, dim=1, keepdim=True)
    raw, weights = weights, weights / length
    if param["gradient"] == "PAPER":
        printed = ((1 - weights) / length).detach()
        weights = _with_gradient_of(weights, (printed * raw).sum(1, keepdim=True))
    distances = _distances(_unit(parts, param).transpose(0, 1))
    return [torch.einsum("ir,jr,rij->ij", weights, weights, distances)]


def pairwise_distance(param, bottoms, blobs):
    """Section III-A: (V, C) -> (V, V) Euclidean distances, or their squares."""
    features = _unit(bottoms[0], param)
    if param["squared"]:
        return [(features.unsqueeze(1) - features).square().sum(2)]
    return [_distances(features)]


def triplet_loss(param, bottoms, blobs):
    """One sum of Eq. 4: distances (V, V), labels (V) -> the mean over the triplets, or the sum."""
    distances, label = bottoms
    same = label.unsqueeze(1) == label
    if param["triplets"] == "ORDERED":
        anchor = torch.arange(0, len(label), 3)
        gaps = distances[anchor, anchor + 1] - distances[anchor, anchor + 2]
    else:
        positive, negative = same & ~torch.eye(len(label), dtype=torch.bool), ~same
        if param["triplets"] == "HARD":
            whole = positive.any(1) & negative.any(1)
            gaps = (distances.masked_fill(~positive, -math.inf).max(1).values
                    - distances.masked_fill(~negative, math.inf).min(1).values)[whole]
        else:
            gaps = distances.unsqueeze(2) - distances.unsqueeze(1)
            gaps = gaps[positive.unsqueeze(2) & negative.unsqueeze(1)]
    return [_normalised(F.relu(gaps + param["margin"]), max(len(gaps), 1), param)]


def consistency_loss(param, bottoms, blobs):
    """Eq. 6 with its logarithm, one matrix (K, C) a part; bottoms as layers/consistency_loss lists them."""
    parts = blobs[0].shape[0]
    if param["input"] == "AGGREGATED":
        features, label = bottoms
    else:
        features, label = torch.stack(bottoms[:parts], 1), bottoms[parts].repeat_interleave(param["frames"])
    logits = torch.einsum("nrc,rkc->nrk", features, blobs[0])
    targets = label.long().unsqueeze(1).expand(-1, parts)
    losses = F.cross_entropy(logits.transpose(1, 2), targets, reduction="none")
    count = losses.numel()
    if param["input"] == "WEIGHTED_FRAMES":
        fractions = _fractions(bottoms[-1].reshape(-1, param["frames"], parts))
        losses, count = losses * fractions.reshape_as(losses), count // param["frames"]
    return [_normalised(losses, count, param)]


LAYERS = {
    "Convolution": convolution, "Deconvolution": deconvolution, "Pooling": pooling, "ReLU": relu, "LRN": lrn,
    "Sigmoid": sigmoid, "InnerProduct": inner_product, "Concat": concat, "Eltwise": eltwise, "Power": power,
    "Slice": slice_blob, "Tile": tile, "Reduction": reduction, "Silence": silence,
    "Flatten": flatten, "Reshape": reshape, "EuclideanLoss": euclidean_loss, "SoftmaxWithLoss": softmax_with_loss,
    "PartBoxes": part_boxes, "ROIPooling": roi_pooling, "L1Normalize": l1_normalize,
    "AttentionPooling": attention_pooling, "AttentionDistance": attention_distance,
    "PairwiseDistance": pairwise_distance, "TripletLoss": triplet_loss, "ConsistencyLoss": consistency_loss,
    **POSE_LAYERS,
}


def _weights(blobs):
    """Weight and bias, None for a bias that there is not."""
    return blobs[0], blobs[1] if len(blobs) > 1 else None


def _pair(param, name, default):
    """(height, width) of an option that Caffe spells as one number, as a list, or as two options."""
    short = name.removesuffix("_size")
    by_axis = param.get(f"{short}_h", 0), param.get(f"{short}_w", 0)
    if any(by_axis):
        return by_axis
    values = param[name] if isinstance(param[name], list) else [param[name]]
    return tuple((values or [default]) * 2)[:2]


def _round(value):
    """To the nearest integer, halves away from zero."""
    return int(math.copysign(math.floor(abs(value) + 0.5), value))


def _fractions(scores):
    """a / sum_t a of scores (V, T, R); 1 / T where they sum to 0 or less."""
    total = scores.sum(1, keepdim=True)
    usable = total > 0
    return torch.where(usable, scores / torch.where(usable, total, 1), 1 / scores.shape[1])


def _unit(features, param):
    """Features, of unit length with feature_norm: L2_UNIT; a row of zeros stays and gets no gradient."""
    if param["feature_norm"] == "UNNORMALIZED":
        return features
    length = torch.linalg.vector_norm(features, dim=-1, keepdim=True)
    return torch.where(length == 0, 0, features / torch.where(length == 0, 1, length))


def _distances(features):
    """(..., V, C) -> (..., V, V); the derivative of vector_norm at 0 is 0."""
    return torch.linalg.vector_norm(features.unsqueeze(-2) - features.unsqueeze(-3), dim=-1)


def _normalised(losses, count, param):
    """The sum of the losses, over ``count`` unless loss_param says NONE."""
    normalization = param["loss_param"]["normalization"]
    if normalization not in ("VALID", "NONE"):
        raise NotImplementedError(f"normalization: {normalization}")
    return losses.sum() / (count if normalization == "VALID" else 1)


def _with_gradient_of(value, other):
    """``value`` with the gradient of ``other``: for what is printed as a gradient and is no derivative."""
    return value.detach() + (other - other.detach())
