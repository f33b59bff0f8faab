"""ROIAlign: the mean of bilinear samples of every bin of a box, with a gradient to the box.

    bottoms  maps (N, C, H, W); rois (M, 5) = [map index, x1, y1, x2, y2], input pixels
    top      (M, C, pooled_h, pooled_w)

A side goes from start = x1 * spatial_scale - 0.5 to end = x2 * spatial_scale - 0.5, cell centres being
integers; it may have no length. With bin = (end - start) / pooled, the samples of bin p lie at
start + bin * (p + (k + 0.5) / sampling_ratio), k < sampling_ratio. A coordinate below -1 or above the map's
size samples 0; any other is clamped to [0, size - 1], and one that this moves passes no gradient to the box.
The two directions separate: with A_y (pooled_h, H) and A_x (pooled_w, W) the weights of the cells,
top = A_y map A_x'.
"""

import math

import numpy as np

from layers.twin import REQUIRED, Twin, check_axes, check_rois, real, uint32

NAME = "ROIAlign"
OPTIONS = {"pooled_h": (uint32(1), REQUIRED), "pooled_w": (uint32(1), REQUIRED),
           "spatial_scale": (real(above=0), 1.0), "sampling_ratio": (uint32(1), 2)}


def shapes(bottom_shapes, pooled_h, pooled_w, spatial_scale=1, sampling_ratio=2):
    """Shape of the top. Raises InputError for maps other than (N, C, H, W) and rois other than (M, 5)."""
    _, channels, _, _ = check_axes(NAME, "maps", bottom_shapes[0], "N, C, H, W")
    rois, _ = check_axes(NAME, "rois", bottom_shapes[1], "M, 5")
    return [(rois, channels, pooled_h, pooled_w)]


def _weights(start, end, pooled, size, sampling_ratio):
    """A side's A (pooled, size), and its derivatives by start and by end."""
    a, by_start, by_end = np.zeros((3, pooled, size))
    for p in range(pooled):
        for k in range(sampling_ratio):
            along = p + (k + 0.5) / sampling_ratio
            x = start + (end - start) / pooled * along
            if x < -1 or x > size:
                continue
            moves = 1 if 0 <= x <= size - 1 else 0
            x = min(max(x, 0), size - 1)
            low = math.floor(x)
            high = min(low + 1, size - 1)
            for cell, weight, slope in ((low, low + 1 - x, -moves), (high, x - low, moves)):
                a[p, cell] += weight / sampling_ratio
                by_start[p, cell] += slope * (1 - along / pooled) / sampling_ratio
                by_end[p, cell] += slope * along / pooled / sampling_ratio
    return a, by_start, by_end


def _boxes(maps, rois, pooled, spatial_scale, sampling_ratio):
    """Yields for every roi: m, its map's index, and the weights with their derivatives, of y and of x."""
    check_rois(NAME, rois, len(maps))
    _, _, height, width = maps.shape
    for m, roi in enumerate(rois):
        x1, y1, x2, y2 = roi[1:] * spatial_scale - 0.5
        yield (m, int(roi[0]), _weights(y1, y2, pooled[0], height, sampling_ratio),
               _weights(x1, x2, pooled[1], width, sampling_ratio))


def forward(maps, rois, pooled_h, pooled_w, spatial_scale=1, sampling_ratio=2):
    """Pooled maps (M, C, pooled_h, pooled_w). Raises InputError for rois not finite or of no map."""
    pooled = np.zeros((len(rois), maps.shape[1], pooled_h, pooled_w), maps.dtype)
    boxes = _boxes(maps, rois, (pooled_h, pooled_w), spatial_scale, sampling_ratio)
    for m, n, (a_y, _, _), (a_x, _, _) in boxes:
        pooled[m] = a_y @ maps[n] @ a_x.T
    return [pooled]


def backward(diffs, maps, rois, pooled_h, pooled_w, spatial_scale=1, sampling_ratio=2):
    """Gradients of the maps and of the rois, whose map index gets none."""
    dmaps, drois = np.zeros_like(maps), np.zeros_like(rois)
    boxes = _boxes(maps, rois, (pooled_h, pooled_w), spatial_scale, sampling_ratio)
    for m, n, (a_y, *by_y), (a_x, *by_x) in boxes:
        d = diffs[0][m]
        dmaps[n] += a_y.T @ d @ a_x
        drois[m, [1, 3]] = [spatial_scale * (d * (a_y @ maps[n] @ by.T)).sum() for by in by_x]
        drois[m, [2, 4]] = [spatial_scale * (d * (by @ maps[n] @ a_x.T)).sum() for by in by_y]
    return [dmaps, drois]


class ROIAlign(Twin):
    OPTIONS = OPTIONS
    BOTTOMS = ("maps", "rois")
    TOPS = ("pooled",)
    shapes = staticmethod(shapes)
    compute = staticmethod(forward)
    differentiate = staticmethod(backward)
