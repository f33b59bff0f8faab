"""The paper's distance between tracklets, in blocks of queries: d = d_l + fusion * d_g (section III-E).

d_g(i, j) = ||g_i - g_j||_2 and, Eq. 8, d_l(i, j) = sum_r w_i^r w_j^r ||f_i^r - f_j^r||_2 with w_i = a_i /
||a_i||; both unsquared. The attention switches of section IV-C are test-time options:

========  =========  =========================  =====================
switch    name       f_i^r                      a_i^r
========  =========  =========================  =====================
none      Baseline   mean over the frames       1
temporal  TAN        Eq. 9                      1
spatial   SAN        mean over the frames       mean of the scores
both      STAL       Eq. 9                      mean of the scores
========  =========  =========================  =====================

A score of 1 goes through the same norm as a learnt one (w = 1/R under L1), so d_l keeps its scale against
fusion * d_g. Of a net without parts d is fusion * d_g, of a net without a global feature d_l.
"""

import mmap
from typing import NamedTuple

import numpy as np

from stal.errors import InputError

SWITCHES = {"none": "Baseline", "temporal": "TAN", "spatial": "SAN", "both": "STAL"}
_TILE = 1024               # gallery rows at a time
_BLOCK_ELEMENTS = 1 << 25  # distances held for a block of queries, all metrics together
_GUARD = 2.0 ** -43        # above the rounding error of a squared distance in float64, relative to |x|^2


class Metric(NamedTuple):
    """One way to compare tracklets."""

    attention: str = "both"  # none, temporal, spatial or both
    fusion: float = 0.3      # weight of d_g; 0: d_l alone, inf: d_g alone
    norm: str = "L1"         # of the scores in Eq. 8: L1 or L2


def part_weights(attention, norm="L1", spatial=True):
    """The weights w of Eq. 8.

    Args:
        attention: (N, R) scores >= 0. A row of zeros counts as equal scores.
        norm: "L1" (w = a / sum a) or "L2" (w = a / sqrt(sum a^2)).
        spatial: False replaces the scores by ones (section IV-C).
    Returns:
        (N, R) float64.
    """
    scores = np.array(attention, np.float64)
    if not spatial:
        scores[:] = 1
    scores[~scores.any(axis=1)] = 1
    if norm == "L1":
        return scores / scores.sum(axis=1, keepdims=True)
    if norm == "L2":
        return scores / np.sqrt((scores ** 2).sum(axis=1, keepdims=True))
    raise InputError(f"the norm of Eq. 8 is L1 or L2, not {norm!r}")


def branches(features):
    """Which of "part" and "global" features there are, as a tuple."""
    return ("part",) * bool(features.parts.size) + ("global",) * bool(features.global_mean.size)


def chosen_switches(features, text=None):
    """Which attention switches to score features under.

    Args:
        text: comma list of switches, "all", or None: both. Without parts there is nothing to switch, so that all and
            None then are none.
    Returns:
        list of names in ``SWITCHES``, each once.
    Raises:
        InputError: an unknown switch, or one that needs parts, of features without.
    """
    parts = "part" in branches(features)
    if text in (None, "all"):
        return ["none"] if not parts else ["both"] if text is None else list(SWITCHES)
    switches = list(dict.fromkeys(text.split(",")))
    for switch in switches:
        _check_switch(switch)
        if switch != "none" and not parts:
            raise InputError(f"{features.directory} holds only global features and no parts, so attention {switch} has "
                             "nothing to weigh: leave out --attention")
    return switches


def _check_switch(switch):
    if switch not in SWITCHES:
        raise InputError(f"there is no attention switch {switch!r}: choose from {', '.join(SWITCHES)}")


def distance_blocks(features, query, gallery, metrics, block_rows=None):
    """Distances from queries to gallery under one or several metrics; what they share is computed once.

    Products are in float64 and the result is rounded to float32: equal features are at distance 0 exactly,
    equal rows of the gallery tie exactly, distances of 1e-5 of the features' length are still good to 1e-3,
    and neither the order of the gallery nor the block size shows in the result. ``meta["feature_norm"]``
    L2_UNIT brings features to unit length first (a zero vector stays zero).

    Args:
        features: :class:`stal.features.Features`.
        query, gallery: (Q,), (G,) row numbers.
        metrics: list of :class:`Metric`.
        block_rows: queries a block; by default what keeps memory bounded: the size of MARS needs less than 1 GB, the
            four switches together included (benchmarks/mars_eval.py).
    Yields:
        (rows, [(len(rows), G) float32 distances, one a metric]); rows is a slice of ``query``.
    Raises:
        InputError: an unknown switch or norm, a fusion rate below 0 or NaN, no features for what is asked, or a
            distance beyond float32.
    """
    query, gallery = np.asarray(query, np.int64), np.asarray(gallery, np.int64)
    plans = [_Plan(features, metric) for metric in metrics]
    unit = features.meta["feature_norm"] == "L2_UNIT"
    sources = list(dict.fromkeys(source for plan in plans for source in plan.sources))
    if block_rows is None:
        block_rows = int(np.clip(_BLOCK_ELEMENTS // max(1, len(gallery) * len(plans)), 32, 1024))
    _release(features)

    for start in range(0, len(query), block_rows):
        rows = slice(start, min(start + block_rows, len(query)))
        left = {source: _vectors(features, source, query[rows], unit, left=True) for source in sources}
        blocks = [np.empty((rows.stop - rows.start, len(gallery)), np.float32) for _ in plans]
        for first in range(0, len(gallery), _TILE):
            tile = gallery[first:first + _TILE]
            shape = (rows.stop - rows.start, len(tile))
            distance, scratch, sums = np.empty(shape), np.empty(shape), np.zeros((len(plans), *shape))
            for source in sources:
                np.matmul(left[source], _vectors(features, source, tile, unit).T, out=distance)
                np.maximum(distance, 0, out=distance)
                np.sqrt(distance, out=distance)
                for plan, total in zip(plans, sums):
                    if source in plan.sources:
                        plan.accumulate(total, distance, source, query[rows], tile, scratch)
            for block, total in zip(blocks, sums):
                if not (total <= np.finfo(np.float32).max).all():
                    raise InputError(f"the features in {features.directory} are so large that their distances overflow: "
                                     "check the weights they were extracted with")
                block[:, first:first + _TILE] = total
            _release(features)
        yield rows, blocks


def distance_matrix(features, query, gallery, metric=Metric()):
    """The whole (Q, G) float32 matrix of one metric."""
    matrix = np.empty((len(query), len(gallery)), np.float32)
    for rows, (block,) in distance_blocks(features, query, gallery, [metric]):
        matrix[rows] = block
    return matrix


class _Plan:
    """Which distances a metric sums, with which weights; a source is ("global", None) or (name, part r)."""

    def __init__(self, features, metric):
        _check_switch(metric.attention)
        if not metric.fusion >= 0:
            raise InputError(f"the fusion rate is a number from 0 to inf, not {metric.fusion}")
        alone = np.isinf(metric.fusion)
        present = branches(features)
        self.sources = []
        if "part" in present and not alone:
            name = "parts" if metric.attention in ("temporal", "both") else "parts_mean"
            self.sources += [(name, part) for part in range(features.parts.shape[1])]
        if "global" in present and metric.fusion > 0:
            self.sources.append(("global", None))
        if not self.sources:
            raise InputError(f"{features.directory} holds no {'global' if alone else 'part'} features, which "
                             f"a fusion rate of {metric.fusion:g} needs: choose another --fusion")
        self._fusion = 1.0 if alone else metric.fusion
        self._spatial = metric.attention in ("spatial", "both")
        self._weights = part_weights(features.attention, metric.norm, self._spatial)

    def accumulate(self, total, distance, source, query, gallery, scratch):
        """Adds the weighted distances of one source to ``total``; all are (len(query), len(gallery))."""
        name, part = source
        if name == "global":
            np.multiply(distance, self._fusion, out=scratch)
        elif not self._spatial:  # the same weight for everybody
            np.multiply(distance, self._weights[0, part] ** 2, out=scratch)
        else:
            np.multiply(distance, self._weights[gallery, part], out=scratch)
            scratch *= self._weights[query, part, None]
        total += scratch


def _release(features):
    """Hands the pages of mapped files back to the system, which has them cached: only a tile's stay in our memory."""
    for array in (features.global_mean, features.parts, features.parts_mean):
        if isinstance(array, np.memmap) and array.mode == "r" and isinstance(array.base, mmap.mmap):
            array.base.madvise(mmap.MADV_DONTNEED)


def _vectors(features, source, rows, unit, left=False):
    """Features of a source, so extended that a product of a left and a right one is a squared distance.

    |x - y|^2 = [-2x, |x|^2, 1] . [y, 1, |y|^2]: one matrix product a tile. It cancels where x is close to y,
    and rounding would then tell equal rows apart; lowering |x|^2 by the guard takes these below 0, where they
    are clamped.

    Returns:
        (len(rows), C + 2) float64.
    """
    name, part = source
    values = features.global_mean[rows] if name == "global" else getattr(features, name)[rows, part]
    width = values.shape[1]
    vectors = np.empty((len(rows), width + 2))
    vectors[:, :width] = values
    squares = np.einsum("nc,nc->n", vectors[:, :width], vectors[:, :width])
    if unit:
        vectors[:, :width] /= np.sqrt(np.where(squares > 0, squares, 1))[:, None]
        squares = np.einsum("nc,nc->n", vectors[:, :width], vectors[:, :width])
    if left:
        vectors[:, :width] *= -2
        vectors[:, width:] = np.stack([squares * (1 - _GUARD), np.ones_like(squares)], axis=1)
    else:
        vectors[:, width:] = np.stack([np.ones_like(squares), squares], axis=1)
    return vectors
