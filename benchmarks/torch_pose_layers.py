"""The layers between the frames and the part maps in PyTorch: the pose net's input and targets, joints, ROIAlign.

As torch_layers.py, which has the rest: from the layers' documentation, not from our C++; backward is autograd's.
"""

import torch
import torch.nn.functional as F


def pose_input(param, bottoms, blobs):
    """Frames (F, 3, H, W) -> (F, 4, h, w): the frame at its aspect in a grey square, and the centre map."""
    frames, height, width = bottoms[0], param["new_height"], param["new_width"]
    box_width = min(width, height * param["aspect"])
    box_height = box_width / param["aspect"]
    y, y_inside = _box_coordinates(height, box_height, frames)
    x, x_inside = _box_coordinates(width, box_width, frames)
    mean = frames.new_tensor(param["mean_value"] or [0]).view(1, -1, 1, 1)
    read = _read(frames / param["scale"] + mean, x.expand(len(frames), width), y.expand(len(frames), height))
    image = torch.where(y_inside.unsqueeze(1) & x_inside, read, param["fill"]) / 256 - 0.5
    down, across = (torch.arange(side).to(frames) - side / 2 for side in (height, width))
    squares = down.square().unsqueeze(1) + across.square()
    centre = torch.exp(-squares / (2 * param["sigma"] ** 2)).expand(len(frames), 1, height, width)
    return [torch.cat([image, centre], 1)]


def heat_maps(param, bottoms, blobs):
    """Joints (F, J, 3) -> targets (F, J + 1, h, w): Gaussians, and what their maximum leaves of 1."""
    joints = bottoms[0].detach()
    y, x = (_cell_pixels(param[side], param["stride"], joints) for side in ("height", "width"))
    squares = (y - joints[:, :, 1:2]).square().unsqueeze(3) + (x - joints[:, :, 0:1]).square().unsqueeze(2)
    maps = torch.exp(-squares / (2 * param["sigma"] ** 2)) * (joints[:, :, 2] > 0)[:, :, None, None]
    background = 1 - maps.amax(1, keepdim=True)
    if param["channel"]:
        maps = maps[:, torch.tensor(param["channel"]).argsort()]
    return [torch.cat([maps, background], 1)]


def spatial_soft_arg_max(param, bottoms, blobs):
    """Heat maps (F, J', h, w) -> joints (F, J, 3): x, y and the maximum, which passes no gradient."""
    maps = bottoms[0][:, param["channel"] or range(param["joints"])]
    cells = maps.flatten(2)
    if param["mode"] == "SOFT":
        fraction = torch.softmax(param["beta"] * cells, 2)
    else:
        fraction = F.one_hot(cells.argmax(2), cells.shape[2]).to(cells)
    fraction = fraction.reshape_as(maps)
    y, x = (_cell_pixels(side, param["stride"], maps) for side in maps.shape[2:])
    return [torch.stack([fraction.sum(2) @ x, fraction.sum(3) @ y, cells.detach().amax(2)], 2)]


def roi_align(param, bottoms, blobs):
    """Maps (N, C, H, W), boxes (M, 5) in input pixels -> (M, C, h, w): bins are means of bilinear samples."""
    maps, boxes = bottoms
    ratio, coordinates, inside = param["sampling_ratio"], [], []
    for axis, side in ((1, "w"), (2, "h")):
        count, size = param[f"pooled_{side}"] * ratio, maps.shape[4 - axis]
        begin, end = (boxes[:, corner, None] * param["spatial_scale"] for corner in (axis, axis + 2))
        place = (torch.arange(count).to(maps) + 0.5) / count
        coordinate = begin + (end - begin) * place   # (M, count); pixel centres lie at halves
        coordinates.append(coordinate / size)
        inside.append((coordinate >= -0.5) & (coordinate <= size + 0.5))
    samples = _read(maps[boxes[:, 0].long()], *coordinates)
    on_map = inside[1].unsqueeze(2) & inside[0].unsqueeze(1)
    return [F.avg_pool2d(torch.where(on_map.unsqueeze(1), samples, 0), ratio)]


POSE_LAYERS = {"PoseInput": pose_input, "HeatMaps": heat_maps, "SpatialSoftArgMax": spatial_soft_arg_max,
               "ROIAlign": roi_align}


def _read(maps, x, y):
    """Bilinear samples (M, C, h, w) of maps (M, C, H, W) at the columns x (M, w) and rows y (M, h), as fractions of the
    map's sides. A coordinate beyond the outermost pixel centres is moved to them and gets no gradient.
    """
    grid = torch.stack([x.unsqueeze(1).expand(-1, y.shape[1], -1), y.unsqueeze(2).expand(-1, -1, x.shape[1])], 3)
    return F.grid_sample(maps, 2 * grid - 1, padding_mode="border", align_corners=False)


def _box_coordinates(pixels, side, like):
    """Where ``pixels`` pixel centres lie in a box of length ``side`` in their middle, as fractions, and which in it."""
    fraction = (torch.arange(pixels).to(like) + 0.5 - (pixels - side) / 2) / side
    return fraction, (fraction >= 0) & (fraction < 1)


def _cell_pixels(cells, stride, like):
    """Input pixel of each map cell along an axis."""
    return torch.arange(cells).to(like) * stride + (stride - 1) / 2
