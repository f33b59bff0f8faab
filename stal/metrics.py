"""CMC, mAP, mINP, ROC and camera pairs from blocks of distances; nothing here holds more than a block.

Who counts: a gallery tracklet of the query's pid under another camera is a match; one of the same pid under
the same camera, and every one of pid -1, is junk and skipped as if it were not there; all others, the
distractors of pid 0 among them, are wrong.

Ties: among equal distances the wrong come first. A matcher that cannot tell a match from a stranger gains
nothing by it, and no result depends on the order of the gallery. (An unstable argsort, as in common re-ID
toolboxes, leaves it to chance.)

With r_1 < r_2 < ... < r_n the 0-based ranks of a query's n matches, junk removed:

===============  =========================================================================================
CMC at k         1 if r_1 < k
AP, trapezoid    1/n sum_i (i / (r_i + 1) + (i - 1) / r_i) / 2, the last term 1 where r_i = 0: the area under
                 precision over recall by trapezoids (MARS-evaluation, compute_AP.m; Market-1501; Oxford)
AP, rectangular  1/n sum_i i / (r_i + 1): the mean precision at the matches (torchreid)
INP              n / (r_n + 1) (Ye et al., Deep Learning for Person Re-identification)
===============  =========================================================================================

Means are over the queries that have a match; the others are counted.

ROC: over all pairs of a query and a gallery tracklet, junk apart. TAR is the share of the matches, FAR the share of
the wrong pairs whose distance is below a threshold; EER is where FAR = 1 - TAR, on the straight line between the two
nearest thresholds.

Camera pairs (MARS-evaluation, compute_r1_multiCam.m, compute_AP_multiCam.m): CMC at 1 and AP of the queries of camera
a, where only matches under camera b count and those under other cameras are skipped; the mean over the queries that
have one. As there, and unlike everywhere else, pid -1 is wrong. In the cells of one camera with itself the matches are
the tracklets of the query's pid under its own camera, the query itself left out (there: whatever comes first).
Their mean is over the cells of two different cameras.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from stal.errors import InputError

JUNK_PID = -1
RANKS = (1, 5, 10, 20)
FARS = (1e-4, 1e-3, 1e-2)
CURVE_FARS = tuple(float(f"{10 ** (step / 10 - 6):.4g}") for step in range(61))  # 1e-6 to 1, ten a decade
APS = ("trapezoid", "rectangular")
_ROWS = 256      # queries sorted at a time
_ROC_SHIFT = 11  # of a float32's bits: what is left tells distances apart to 1/4096 of their value
_ROC_BINS = 0x7F800000 >> _ROC_SHIFT  # up to the bits of infinity


class CameraPairs(NamedTuple):
    """Scores by the query's camera (rows) and the match's (columns); NaN where there is no such query."""

    cameras: np.ndarray  # (K,) camids of rows and columns
    rank1: np.ndarray    # (K, K) fractions
    AP: np.ndarray       # (K, K) fractions
    queries: np.ndarray  # (K, K) how many are behind a cell; over several splits their sum

    def means(self):
        """(rank1, AP, cells): means over the cells of two different cameras that have queries, and their number."""
        cells = ~np.eye(len(self.cameras), dtype=bool) & ~np.isnan(self.rank1)
        if not cells.any():
            return None, None, 0
        return float(self.rank1[cells].mean()), float(self.AP[cells].mean()), int(cells.sum())

    def values(self):
        """The numbers for a JSON file; a cell without queries is None."""
        rank1, ap, cells = self.means()
        return {"cameras": self.cameras.tolist(), "rank1": _without_nan(self.rank1), "AP": _without_nan(self.AP),
                "queries": self.queries.tolist(), "mean_rank1": rank1, "mean_AP": ap, "mean_cells": cells}


@dataclass(frozen=True)
class Scores:
    """What a set of queries scored; fractions."""

    cmc: np.ndarray  # (K,): cmc[k - 1] is the CMC at rank k
    mAP: float
    mINP: float
    queries: int
    queries_without_match: int
    tar: dict        # FAR -> TAR; None with fewer than 1 / FAR wrong pairs
    threshold: dict  # FAR -> the distance below which two tracklets are taken for one person; None likewise
    eer: float       # None without wrong pairs
    curve: tuple     # of the TAR at each of CURVE_FARS; None likewise
    ap: str
    pairs: CameraPairs = None  # where asked for

    def values(self):
        """The numbers for a JSON file: ``cmc`` as a map from "1", "5", "10", "20", and the rest."""
        return {"cmc": {str(rank): float(self.cmc[rank - 1]) for rank in RANKS},
                "cmc_curve": self.cmc.tolist(), "mAP": self.mAP, "mINP": self.mINP,
                "tar_at_far": {f"{far:g}": tar for far, tar in self.tar.items()},
                "distance_at_far": {f"{far:g}": distance for far, distance in self.threshold.items()},
                "eer": self.eer, "roc_curve": {"far": list(CURVE_FARS), "tar": list(self.curve)},
                **({"camera_pairs": self.pairs.values()} if self.pairs else {})}


class Accumulator:
    """Takes the distances of a few queries at a time and gives :class:`Scores` in the end."""

    def __init__(self, pids, camids, ap, max_rank=50, cameras=None):
        """Args:
            pids, camids: (G,) of the gallery.
            ap: "trapezoid" or "rectangular".
            max_rank: length of the CMC curve; beyond the gallery's end the curve stays at 1.
            cameras: camids that occur, queries' and gallery's, to score camera pairs as well; None: not.
        """
        if ap not in APS:
            raise InputError(f"the average precision is {' or '.join(APS)}, not {ap!r}")
        self._camids, self._ap, self._max_rank = np.asarray(camids), ap, max(max_rank, *RANKS)
        self._junk = np.flatnonzero(np.asarray(pids) == JUNK_PID)
        self._order = np.argsort(pids, kind="stable")
        self._sorted_pids = np.asarray(pids)[self._order]
        self._first_hits = np.zeros(self._max_rank + 1, np.int64)  # queries by r_1; the last bin: beyond
        self._ap_sum = self._inp_sum = 0.0
        self._queries = self._valid = 0
        self._matches, self._wrong = np.zeros((2, _ROC_BINS + 1), np.int64)
        self._cameras = None if cameras is None else np.unique(cameras)
        if cameras is not None:
            self._pair_sums = np.zeros((3, len(self._cameras), len(self._cameras)))  # queries, CMC at 1, AP

    def add(self, distances, pids, camids, own=None):
        """Adds queries.

        Args:
            distances: (B, G) float32, finite and >= 0.
            pids, camids: (B,) of the queries.
            own: (B,) where in the gallery each query itself is, -1 where it is not; None: nowhere. Only the
                camera pairs ask for it.
        """
        own = np.full(len(pids), -1) if own is None else own
        for start in range(0, len(pids), _ROWS):
            rows = slice(start, start + _ROWS)
            self._add(np.asarray(distances[rows], np.float32) + np.float32(0), pids[rows], camids[rows], own[rows])

    def _add(self, block, pids, camids, own):
        if not (block >= 0).all() or np.isinf(block).any():
            raise ValueError("distances must be finite and >= 0")
        first = np.searchsorted(self._sorted_pids, pids, side="left")
        last = np.searchsorted(self._sorted_pids, pids, side="right")
        junk = None if self._cameras is None else np.sort(block[:, self._junk])
        block[:, self._junk] = np.inf
        hits, by_camera = [], []
        for row, pid, camid, itself, start, stop in zip(block, pids, camids, own, first, last):
            same = self._order[start:stop] if pid != JUNK_PID else self._order[:0]
            seen_by = self._camids[same]
            hits.append(np.sort(row[same[seen_by != camid]]))
            if junk is not None:
                others = same[same != itself]
                by_camera.append({other: np.sort(row[others[self._camids[others] == other]])
                                  for other in np.unique(self._camids[others])})
            row[same] = np.inf
        block.sort(axis=1)  # wrong ones, then infinities in the place of matches and junk
        self._wrong += np.bincount(_roc_bins(block).ravel(), minlength=_ROC_BINS + 1)
        self._matches += np.bincount(_roc_bins(np.concatenate(hits)), minlength=_ROC_BINS + 1)
        self._queries += len(hits)
        for row, distances in zip(block, hits):
            if len(distances):
                self._score(_ranks(distances, row))
        for row, junk_row, camid, cameras in zip(block, junk, camids, by_camera) if junk is not None else ():
            for other, distances in cameras.items():
                cell = np.searchsorted(self._cameras, [camid, other])
                ranks = _ranks(distances, row, junk_row)
                self._pair_sums[:, *cell] += 1, ranks[0] == 0, average_precision(ranks, self._ap)

    def _score(self, ranks):
        """Adds a query by the 0-based ranks of its matches."""
        self._ap_sum += average_precision(ranks, self._ap)
        self._inp_sum += len(ranks) / (ranks[-1] + 1)
        self._first_hits[min(ranks[0], self._max_rank)] += 1
        self._valid += 1

    def scores(self):
        """:class:`Scores` of the queries so far; InputError if none of them has a match."""
        if not self._valid:
            raise InputError(f"none of the {self._queries} queries has a match in the gallery: give features "
                             "in which a pid is seen by more than one camera")
        return Scores(cmc=np.cumsum(self._first_hits[:-1]) / self._valid, mAP=float(self._ap_sum / self._valid),
                      mINP=float(self._inp_sum / self._valid), queries=self._queries,
                      queries_without_match=self._queries - self._valid, ap=self._ap, **self._roc(),
                      pairs=None if self._cameras is None else self._camera_pairs())

    def _roc(self):
        """The fields of :class:`Scores` that come from the histograms. A threshold is the largest edge of a bin with
        at most FAR of the wrong pairs below it, so that a TAR is never too high."""
        wrong, matches = (np.concatenate([[0], np.cumsum(bins[:-1])]) for bins in (self._wrong, self._matches))

        def at(far):  # how many bins are accepted
            enough = far * wrong[-1] >= 1
            return np.searchsorted(wrong, far * wrong[-1], side="right") - 1 if enough else None

        def tar(bins):
            return None if bins is None else float(matches[bins] / matches[-1])

        return {"tar": {far: tar(at(far)) for far in FARS},
                "threshold": {far: None if at(far) is None else _lower_edge(at(far)) for far in FARS},
                "curve": tuple(tar(at(far)) for far in CURVE_FARS), "eer": _equal_error_rate(wrong, matches)}

    def _camera_pairs(self):
        queries, *sums = self._pair_sums
        with np.errstate(invalid="ignore"):
            rank1, ap = (total / queries for total in sums)
        return CameraPairs(self._cameras, rank1, ap, queries.astype(np.int64))


def average_precision(ranks, ap):
    """AP of a query.

    Args:
        ranks: (n,) 0-based ranks of its matches, ascending, junk removed; n > 0.
        ap: "trapezoid" or "rectangular".
    """
    count = np.arange(1, len(ranks) + 1)
    precision = count / (ranks + 1)
    if ap == "trapezoid":
        precision = (precision + np.where(ranks > 0, (count - 1) / np.maximum(ranks, 1), 1)) / 2
    return precision.mean()


def _ranks(distances, *others):
    """0-based ranks of ascending distances among those of ascending ``others``; in a tie the others come first."""
    return sum(np.searchsorted(other, distances, side="right") for other in others) + np.arange(len(distances))


def _equal_error_rate(wrong, matches):
    """Where FAR = 1 - TAR, linear between thresholds; both arguments count the pairs below each threshold, ascending."""
    if not wrong[-1]:
        return None
    far, miss = wrong / wrong[-1], 1 - matches / matches[-1]
    right = int(np.argmax(far >= miss))  # never 0: there FAR is 0 and the misses are all
    left = right - 1
    share = (miss[left] - far[left]) / (miss[left] - far[left] + far[right] - miss[right])
    return float(far[left] + share * (far[right] - far[left]))


def rank_gallery(distances, pid, camid, pids, camids):
    """The ranked list behind the metrics, for one query.

    Args:
        distances: (G,) from the query to the gallery.
        pid, camid: of the query.
        pids, camids: (G,) of the gallery.
    Returns:
        (order, match): gallery rows without junk, nearest first, ties wrong first and then in gallery order;
        and whether each is a match.
    """
    pids, camids = np.asarray(pids), np.asarray(camids)
    kept = np.flatnonzero((pids != JUNK_PID) & ~((pids == pid) & (camids == camid)))
    order = kept[np.lexsort((pids[kept] == pid, np.asarray(distances)[kept]))]
    return order, pids[order] == pid


def mean_and_deviation(scores):
    """Mean and sample standard deviation (n - 1) over splits.

    Args:
        scores: list of :class:`Scores`.
    Returns:
        (mean, deviation): :class:`Scores`, the counts of queries summed; the latter is None for one split, and
        without camera pairs.
    """
    def combine(function, pairs=None):
        def known(values):
            return None if None in values else float(function(values))

        def at(name):
            return {far: known([getattr(one, name)[far] for one in scores]) for far in FARS}
        return Scores(cmc=function(np.array([one.cmc for one in scores])),
                      mAP=float(function([one.mAP for one in scores])),
                      mINP=float(function([one.mINP for one in scores])),
                      queries=sum(one.queries for one in scores),
                      queries_without_match=sum(one.queries_without_match for one in scores),
                      tar=at("tar"), threshold=at("threshold"), eer=known([one.eer for one in scores]),
                      curve=tuple(map(known, zip(*(one.curve for one in scores)))), ap=scores[0].ap,
                      pairs=pairs)
    pairs = _mean_pairs([one.pairs for one in scores]) if scores[0].pairs else None
    return (combine(lambda values: np.mean(values, axis=0), pairs),
            combine(lambda values: np.std(values, axis=0, ddof=1)) if len(scores) > 1 else None)


def _mean_pairs(pairs):
    """Camera pairs, the mean over splits; a cell is there where every split has it, the cameras are those of all."""
    cameras = np.unique(np.concatenate([one.cameras for one in pairs]))

    def laid_out(matrix, one, missing):
        values = np.full((len(cameras), len(cameras)), missing)
        values[np.ix_(*[np.searchsorted(cameras, one.cameras)] * 2)] = matrix
        return values
    return CameraPairs(cameras, np.mean([laid_out(one.rank1, one, np.nan) for one in pairs], axis=0),
                       np.mean([laid_out(one.AP, one, np.nan) for one in pairs], axis=0),
                       sum(laid_out(one.queries, one, 0) for one in pairs))


def _without_nan(matrix):
    return [[None if np.isnan(value) else float(value) for value in row] for row in matrix]


def _lower_edge(number):
    """The smallest float32 of bin ``number``."""
    return float(np.array(number << _ROC_SHIFT, np.uint32).view(np.float32))


def _roc_bins(distances):
    """Bins of float32 distances >= 0: their bits order as they do."""
    return np.ascontiguousarray(distances, np.float32).view(np.uint32) >> _ROC_SHIFT
