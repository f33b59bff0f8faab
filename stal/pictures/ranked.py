"""Ranked lists: a query and the gallery tracklets nearest to it."""

import numpy as np

from stal.distance import distance_blocks
from stal.metrics import average_precision, rank_gallery
from stal.pictures import canvas

_FRAMES = 3  # of a tracklet


def ranked_picture(source, protocol, split, metric, queries, k=5):
    """A line a query: the query's frames, then those of the k nearest; green borders are matches, red ones are not.

    Args:
        source: :class:`stal.pictures.canvas.Source`.
        protocol, split: of :mod:`stal.protocols`; the gallery is the split's, without the query's junk.
        metric: :class:`stal.distance.Metric`.
        queries: row numbers.
        k: how many of the gallery.
    Raises:
        InputError: an image is missing or damaged.
    """
    lines = [canvas.title(f"Nearest {k} of the gallery, distance d ({protocol.name}, attention {metric.attention}); "
                          "green: the same person, red: another")]
    lists = dict(_ranked(source.features, split, metric, queries))
    for query in queries:
        gallery, distances, match = lists[query]
        hits = np.flatnonzero(match)
        found = f"AP {average_precision(hits, protocol.ap):.2f}, first match at {hits[0] + 1}" if len(hits) else "no match"
        cells = [_entry(source, query, canvas.GREY, ["query " + source.features.names[query], found])]
        for rank in range(min(k, len(gallery))):
            n = int(gallery[rank])
            cells.append(_entry(source, n, canvas.GREEN if match[rank] else canvas.RED,
                                [f"{rank + 1}. d = {distances[rank]:.2f}", source.features.names[n]]))
        lines.append(canvas.row(cells, 10))
    return canvas.page(lines)


def best_and_worst(source, protocol, split, metric, count=3):
    """The queries that went best and worst, by average precision, then by name; those without a match are left out.

    Returns:
        (best, worst): lists of at most ``count`` row numbers.
    """
    scored = []
    for query, (_, _, match) in _ranked(source.features, split, metric, split.query):
        hits = np.flatnonzero(match)
        if len(hits):
            scored.append((float(average_precision(hits, protocol.ap)), source.features.names[query], int(query)))
    best = sorted(scored, key=lambda one: (-one[0], one[1]))
    return [one[2] for one in best[:count]], [one[2] for one in sorted(scored)[:count]]


def _ranked(features, split, metric, queries):
    """Yields (query, (gallery rows nearest first, their distances, whether they match)), a query at a time."""
    queries, gallery = np.asarray(queries, np.int64), split.gallery
    for rows, (block,) in distance_blocks(features, queries, gallery, [metric]):
        for query, distances in zip(queries[rows].tolist(), block):
            order, match = rank_gallery(distances, features.pids[query], features.camids[query],
                                        features.pids[gallery], features.camids[gallery])
            yield query, (gallery[order], distances[order], match)


def _entry(source, n, colour, lines):
    image = canvas.framed(canvas.strip(source, n, _FRAMES), colour)
    return canvas.column([image, canvas.caption(lines, image.shape[1])])
