"""CMC, mAP, mINP and ROC from blocks of distances; nothing here holds more than a block.

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
"""

from dataclasses import dataclass

import numpy as np

from stal.errors import InputError

JUNK_PID = -1
RANKS = (1, 5, 10, 20)
FARS = (1e-4, 1e-3, 1e-2)
APS = ("trapezoid", "rectangular")
_ROWS = 256      # queries sorted at a time
_ROC_SHIFT = 11  # of a float32's bits: what is left tells distances apart to 1/4096 of their value
_ROC_BINS = 0x7F800000 >> _ROC_SHIFT  # up to the bits of infinity


@dataclass(frozen=True)
class Scores:
    """What a set of queries scored; fractions."""

    cmc: np.ndarray  # (K,): cmc[k - 1] is the CMC at rank k
    mAP: float
    mINP: float
    queries: int
    queries_without_match: int
    tar: dict        # FAR -> TAR; None with fewer than 1 / FAR wrong pairs
    ap: str

    def values(self):
        """The numbers for a JSON file: ``cmc`` as a map from "1", "5", "10", "20", and the rest."""
        return {"cmc": {str(rank): float(self.cmc[rank - 1]) for rank in RANKS},
                "cmc_curve": self.cmc.tolist(), "mAP": self.mAP, "mINP": self.mINP,
                "tar_at_far": {f"{far:g}": tar for far, tar in self.tar.items()}}


class Accumulator:
    """Takes the distances of a few queries at a time and gives :class:`Scores` in the end."""

    def __init__(self, pids, camids, ap, max_rank=50):
        """Args:
            pids, camids: (G,) of the gallery.
            ap: "trapezoid" or "rectangular".
            max_rank: length of the CMC curve; beyond the gallery's end the curve stays at 1.
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

    def add(self, distances, pids, camids):
        """Adds queries.

        Args:
            distances: (B, G) float32, finite and >= 0.
            pids, camids: (B,) of the queries.
        """
        for start in range(0, len(pids), _ROWS):
            rows = slice(start, start + _ROWS)
            self._add(np.asarray(distances[rows], np.float32) + np.float32(0), pids[rows], camids[rows])

    def _add(self, block, pids, camids):
        if not (block >= 0).all() or np.isinf(block).any():
            raise ValueError("distances must be finite and >= 0")
        first = np.searchsorted(self._sorted_pids, pids, side="left")
        last = np.searchsorted(self._sorted_pids, pids, side="right")
        block[:, self._junk] = np.inf
        hits = []
        for row, pid, camid, start, stop in zip(block, pids, camids, first, last):
            same = self._order[start:stop] if pid != JUNK_PID else self._order[:0]
            hits.append(np.sort(row[same[self._camids[same] != camid]]))
            row[same] = np.inf
        block.sort(axis=1)  # wrong ones, then infinities in the place of matches and junk
        self._wrong += np.bincount(_roc_bins(block).ravel(), minlength=_ROC_BINS + 1)
        self._matches += np.bincount(_roc_bins(np.concatenate(hits)), minlength=_ROC_BINS + 1)
        self._queries += len(hits)
        for row, distances in zip(block, hits):
            if len(distances):
                before = np.searchsorted(row, distances, side="right")  # right: in a tie, wrong first
                self._score(before + np.arange(len(distances)))

    def _score(self, ranks):
        """Adds a query by the 0-based ranks of its matches."""
        count = np.arange(1, len(ranks) + 1)
        precision = count / (ranks + 1)
        if self._ap == "trapezoid":
            precision = (precision + np.where(ranks > 0, (count - 1) / np.maximum(ranks, 1), 1)) / 2
        self._ap_sum += precision.mean()
        self._inp_sum += len(ranks) / (ranks[-1] + 1)
        self._first_hits[min(ranks[0], self._max_rank)] += 1
        self._valid += 1

    def scores(self):
        """:class:`Scores` of the queries so far; InputError if none of them has a match."""
        if not self._valid:
            raise InputError(f"none of the {self._queries} queries has a match in the gallery: give features "
                             "in which a pid is seen by more than one camera")
        return Scores(np.cumsum(self._first_hits[:-1]) / self._valid, float(self._ap_sum / self._valid),
                      float(self._inp_sum / self._valid), self._queries, self._queries - self._valid,
                      self._roc(), self._ap)

    def _roc(self):
        """TAR at FAR over all pairs of a query and a gallery tracklet, junk apart: the largest histogram edge
        with at most FAR of the wrong pairs below it, so that a TAR is never too high."""
        wrong, matches = np.cumsum(self._wrong[:-1]), np.cumsum(self._matches[:-1])
        tar = {}
        for far in FARS:
            bins = np.searchsorted(wrong, far * wrong[-1], side="right")  # with few enough wrong pairs
            accepted = matches[bins - 1] if bins else 0
            tar[far] = float(accepted / matches[-1]) if far * wrong[-1] >= 1 else None
        return tar


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
        (mean, deviation): :class:`Scores`, the counts of queries summed; the latter is None for one split.
    """
    def combine(function):
        def at(far):
            tars = [one.tar[far] for one in scores]
            return None if None in tars else float(function(tars))
        return Scores(cmc=function(np.array([one.cmc for one in scores])),
                      mAP=float(function([one.mAP for one in scores])),
                      mINP=float(function([one.mINP for one in scores])),
                      queries=sum(one.queries for one in scores),
                      queries_without_match=sum(one.queries_without_match for one in scores),
                      tar={far: at(far) for far in FARS}, ap=scores[0].ap)
    return (combine(lambda values: np.mean(values, axis=0)),
            combine(lambda values: np.std(values, axis=0, ddof=1)) if len(scores) > 1 else None)


def _roc_bins(distances):
    """Bins of float32 distances >= 0: their bits order as they do."""
    return np.ascontiguousarray(distances, np.float32).view(np.uint32) >> _ROC_SHIFT
