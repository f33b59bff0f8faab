"""ROIPooling: the greatest value of every bin of a box (semantics and names of Fast R-CNN).

    bottoms  maps (N, C, H, W); rois (M, 5) = [map index, x1, y1, x2, y2], input pixels, both ends inside
    top      (M, C, pooled_h, pooled_w)

An end is round(coordinate * spatial_scale), halves away from zero; a side is end - start + 1 cells, at
least 1. Bin p goes from floor(p * bin) to before ceil((p + 1) * bin) after the start, cut to the map; a bin
with nothing left is 0 and passes no gradient. On ties the first cell in rows gets the gradient; the boxes get
none.
"""

import numpy as np

from layers.twin import REQUIRED, Twin, check_axes, check_rois, real, uint32

NAME = "ROIPooling"
OPTIONS = {"pooled_h": (uint32(1), REQUIRED), "pooled_w": (uint32(1), REQUIRED),
           "spatial_scale": (real(above=0), 1.0)}


def shapes(bottom_shapes, pooled_h, pooled_w, spatial_scale=1):
    """Shape of the top. Raises InputError for maps other than (N, C, H, W) and rois other than (M, 5)."""
    _, channels, _, _ = check_axes(NAME, "maps", bottom_shapes[0], "N, C, H, W")
    rois, _ = check_axes(NAME, "rois", bottom_shapes[1], "M, 5")
    return [(rois, channels, pooled_h, pooled_w)]


def _round(x):
    return int(np.trunc(x) + np.sign(x) * (abs(x - np.trunc(x)) >= 0.5))


def _bins(start, end, pooled, size, spatial_scale):
    """Yields the cells [first, after) of each bin of a side. In float32: rounding decides where bins end."""
    start, end = (_round(np.float32(x) * np.float32(spatial_scale)) for x in (start, end))
    width = np.float32(max(end - start + 1, 1)) / np.float32(pooled)
    for p in range(pooled):
        first, after = int(np.floor(np.float32(p) * width)), int(np.ceil(np.float32(p + 1) * width))
        yield min(max(first + start, 0), size), min(max(after + start, 0), size)


def _greatest(maps, rois, pooled_h, pooled_w, spatial_scale):
    """Yields for every bin not empty: m, ph, pw, n, the rows (C) and columns (C) of its greatest cells."""
    check_rois(NAME, rois, len(maps))
    _, channels, height, width = maps.shape
    for m, (n, x1, y1, x2, y2) in enumerate(rois):
        columns = list(_bins(x1, x2, pooled_w, width, spatial_scale))
        for ph, (top, bottom) in enumerate(_bins(y1, y2, pooled_h, height, spatial_scale)):
            for pw, (left, right) in enumerate(columns):
                if bottom > top and right > left:
                    cell = maps[int(n), :, top:bottom, left:right].reshape(channels, -1).argmax(axis=1)
                    yield m, ph, pw, int(n), top + cell // (right - left), left + cell % (right - left)


def forward(maps, rois, pooled_h, pooled_w, spatial_scale=1):
    """Pooled maps (M, C, pooled_h, pooled_w). Raises InputError for rois not finite or of no map."""
    pooled = np.zeros((len(rois), maps.shape[1], pooled_h, pooled_w), maps.dtype)
    channels = np.arange(maps.shape[1])
    for m, ph, pw, n, rows, columns in _greatest(maps, rois, pooled_h, pooled_w, spatial_scale):
        pooled[m, :, ph, pw] = maps[n, channels, rows, columns]
    return [pooled]


def backward(diffs, maps, rois, pooled_h, pooled_w, spatial_scale=1):
    """Gradient of the maps; none of the rois."""
    gradient = np.zeros_like(maps)
    channels = np.arange(maps.shape[1])
    for m, ph, pw, n, rows, columns in _greatest(maps, rois, pooled_h, pooled_w, spatial_scale):
        gradient[n, channels, rows, columns] += diffs[0][m, :, ph, pw]
    return [gradient, None]


class ROIPooling(Twin):
    OPTIONS = OPTIONS
    BOTTOMS = ("maps", "rois")
    TOPS = ("pooled",)
    shapes = staticmethod(shapes)
    compute = staticmethod(forward)
    differentiate = staticmethod(backward)
