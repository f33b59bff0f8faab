"""k-reciprocal re-ranking: Zhong, Zheng, Cao, Li, Re-ranking Person Re-identification with k-reciprocal Encoding (2017).

New distances from the old ones among all N tracklets, queries and gallery alike; pids and camids are not looked at.
With d(p, g) the square of the old distance, divided by the largest of row p:

====  =====================  ========================================================================================
3.2   N(p, k)                p and the k tracklets nearest to it; of equals, those of the lower rows
3.2   R(p, k)                {g in N(p, k): p in N(g, k)}
3.2   R*(p)                  R(p, k1), and R(q, k1/2) of every q in it with |R(p, k1) and R(q, k1/2)| >= 2/3 |R(q, k1/2)|
3.3   V_p,g                  exp(-d(p, g)) for g in R*(p), else 0
3.4   local query expansion  V_p becomes the mean of V over p and the k2 - 1 tracklets nearest to it
3.3   Jaccard distance       d_J(p, g) = 1 - sum min(V_p, V_g) / sum max(V_p, V_g)
3.5   final distance         (1 - lambda) d_J + lambda d
====  =====================  ========================================================================================

Where the paper is silent this is the authors' published code: p counts among its neighbours (k1 others and p, but p
among the k2), so do other queries, and d is divided by the largest of the row (the paper's d is a squared Mahalanobis
distance without a scale). Where that code leaves the paper (each V_p divided by its sum; more than 2/3) this is the
paper.
"""

from typing import NamedTuple

import numpy as np
from scipy import sparse

from stal.errors import InputError

_ROWS = 256  # of new distances at a time


class Rerank(NamedTuple):
    """The parameters; the defaults are the paper's."""

    k1: int = 20
    k2: int = 6
    weight: float = 0.3  # lambda


def memory(count, options=Rerank()):
    """Bytes that re-ranking ``count`` tracklets takes: (the distances, at most the sets of neighbours)."""
    largest_set = (options.k1 + 1) * (options.k1 // 2 + 1)
    index_and_value, by_rows_and_columns = 12, 2
    return 4 * count ** 2, index_and_value * by_rows_and_columns * count * min(options.k2 * largest_set, count)


def check_memory(count, limit, options=Rerank()):
    """What re-ranking ``count`` tracklets takes, as a sentence.

    Raises:
        InputError: it is more than ``limit`` GB (1e9 bytes).
    """
    distances, sets = (size / 1e9 for size in memory(count, options))
    needs = (f"re-ranking N = {count} tracklets takes {distances:.3g} GB for the N x N distances and up to {sets:.3g} GB "
             "for sets of neighbours")
    if not distances + sets <= limit:
        raise InputError(f"{needs}, more than the limit of {limit:g} GB: raise --rerank-memory or leave out --rerank")
    return needs


def reranked_blocks(distances, query, gallery, options=Rerank()):
    """Re-ranked distances from queries to gallery.

    Args:
        distances: (N, N) float32, finite and >= 0, among all; left as it is.
        query, gallery: (Q,), (G,) rows of it.
    Yields:
        (rows, (len(rows), G) float32 in 0..1); rows is a slice of ``query``.
    """
    count = len(distances)
    near = np.stack([_nearest(row, itself, min(options.k1 + 1, count)) for itself, row in enumerate(distances)])
    largest = distances.max(axis=1).astype(np.float64)
    largest[largest == 0] = 1
    encoded = _encode(distances, near, largest, options)
    sums = np.asarray(encoded.sum(axis=1)).ravel()
    columns = encoded.tocsc()
    for start in range(0, len(query), _ROWS):
        rows = slice(start, min(start + _ROWS, len(query)))
        block = np.empty((rows.stop - rows.start, len(gallery)), np.float32)
        for row, p in zip(block, np.asarray(query)[rows]):
            common = _common(encoded, columns, p)
            jaccard = 1 - common / (sums[p] + sums - common)
            scaled = (distances[p, gallery] / largest[p]) ** 2
            row[:] = (1 - options.weight) * np.maximum(jaccard[gallery], 0) + options.weight * scaled
        yield rows, block


def _nearest(row, itself, count):
    """The row's own number and the numbers of the ``count`` - 1 nearest others, nearest first."""
    row = row.copy()
    row[itself] = -1
    near = np.flatnonzero(row <= np.partition(row, count - 1)[count - 1])
    return near[np.argsort(row[near], kind="stable")[:count]]


def _reciprocal(near, p):
    """R(p, k) of neighbours (N, k + 1)."""
    return near[p][(near[near[p]] == p).any(axis=1)]


def _encode(distances, near, largest, options):
    """V after the expansion, (N, N) CSR."""
    half = near[:, :options.k1 // 2 + 1]
    half_sets = [_reciprocal(half, q) for q in range(len(near))]
    numbers, values, in_core = [], [], np.zeros(len(near), bool)
    for p in range(len(near)):
        core = _reciprocal(near, p)
        in_core[core] = True
        joined = [few for few in (half_sets[q] for q in core) if 3 * in_core[few].sum() >= 2 * len(few)]
        in_core[core] = False
        chosen = np.unique(np.concatenate([core, *joined]))
        numbers.append(chosen)
        values.append(np.exp(-(distances[p, chosen] / largest[p]) ** 2))
    starts = np.cumsum([0] + [len(some) for some in numbers])
    encoded = sparse.csr_array((np.concatenate(values), np.concatenate(numbers).astype(np.int32), starts),
                               shape=distances.shape)
    around = near[:, :options.k2]
    mean = sparse.csr_array((np.full(around.size, 1 / around.shape[1]), around.ravel().astype(np.int32),
                             np.arange(len(near) + 1) * around.shape[1]), shape=distances.shape)
    return (mean @ encoded).tocsr()


def _common(encoded, columns, p):
    """(N,) sum over g of min(V_p,g, V_n,g) for every n."""
    own = slice(encoded.indptr[p], encoded.indptr[p + 1])
    spans = [slice(columns.indptr[g], columns.indptr[g + 1]) for g in encoded.indices[own]]
    values = np.repeat(encoded.data[own], [span.stop - span.start for span in spans])
    others = np.concatenate([columns.data[span] for span in spans])
    return np.bincount(np.concatenate([columns.indices[span] for span in spans]),
                       weights=np.minimum(values, others), minlength=encoded.shape[0])
