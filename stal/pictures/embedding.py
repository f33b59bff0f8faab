"""Tracklets laid out in the plane by t-SNE."""

import colorsys

import cv2
import numpy as np

from stal.distance import Metric, chosen_switches, distance_matrix
from stal.errors import InputError
from stal.pictures import canvas

LIMIT = 1000   # points: the exact method holds every pair
PERSONS = 20   # as many colours as the eye tells apart
_STEPS, _EARLY = 1000, 250
_SIDE, _MARGIN = 900, 40  # pixels of the plane's longer side, and around its points


def tsne(points, seed=0, perplexity=30.0):
    """Exact t-SNE (van der Maaten & Hinton, JMLR 2008).

    In NumPy rather than from a library: scikit-learn is a dependency of 30 MB and more, for one picture. No product
    goes through BLAS, whose sums depend on the number of threads: the same points and seed always give the same plane.

    Args:
        points: (N, C) finite, 4 <= N <= LIMIT.
        seed: of the start, a normal cloud of deviation 1e-4.
        perplexity: effective number of neighbours; at most (N - 1) / 3 is used.
    Returns:
        (N, 2) float64, centred.
    Raises:
        InputError: too few or too many points.
    """
    return tsne_of_squares(_squares(np.asarray(points, np.float64)), seed, perplexity)


def tsne_of_squares(squares, seed=0, perplexity=30.0):
    """:func:`tsne` of points of which only the squared distances (N, N) are known."""
    count = len(squares)
    if not 4 <= count <= LIMIT:
        raise InputError(f"t-SNE takes 4 to {LIMIT} points, not {count}: choose other tracklets")
    joint = _joint(squares, min(perplexity, (count - 1) / 3))
    plane = np.random.default_rng(seed).normal(0, 1e-4, (count, 2))
    velocity, gains, rate = np.zeros_like(plane), np.ones_like(plane), max(count / 48, 50.0)
    for step in range(_STEPS):
        exaggeration, momentum = (12, 0.5) if step < _EARLY else (1, 0.8)
        kernel = 1 / (1 + _squares(plane))  # Student t with one degree of freedom
        np.fill_diagonal(kernel, 0)
        forces = (exaggeration * joint - kernel / kernel.sum()) * kernel
        gradient = 4 * (forces.sum(axis=1)[:, None] * plane - np.einsum("ij,jk->ik", forces, plane))
        gains = np.maximum(np.where(gradient * velocity > 0, gains * 0.8, gains + 0.2), 0.01)
        velocity = momentum * velocity - rate * gains * gradient
        plane += velocity
        plane -= plane.mean(axis=0)
    return plane


def _squares(points):
    """(N, N) squared Euclidean distances, without cancellation."""
    total = np.zeros((len(points), len(points)))
    for values in points.T:
        total += (values[:, None] - values) ** 2
    return total


def _joint(squares, perplexity):
    """Symmetric neighbour probabilities; every row's precision is bisected until its entropy is log perplexity."""
    count = len(squares)
    others = squares[~np.eye(count, dtype=bool)].reshape(count, count - 1)
    others = others - others.min(axis=1, keepdims=True)  # cancels below, keeps exp from vanishing
    scale = others.mean(axis=1, keepdims=True)
    others = others / np.where(scale > 0, scale, 1)
    low, high = np.full((count, 1), -40.0), np.full((count, 1), 40.0)  # log precision
    for _ in range(60):
        middle = (low + high) / 2
        chances = np.exp(-others * np.exp(middle))
        total = chances.sum(axis=1, keepdims=True)
        entropy = np.log(total) + np.exp(middle) * (others * chances).sum(axis=1, keepdims=True) / total
        wide = entropy > np.log(perplexity)
        low, high = np.where(wide, middle, low), np.where(wide, high, middle)
    joint = np.zeros((count, count))
    joint[~np.eye(count, dtype=bool)] = (chances / total).ravel()
    return (joint + joint.T) / (2 * count)


def embedding_picture(features, pids=None, seed=0):
    """Persons in colour, their tracklets joined by lines, a shape a camera; everybody else as grey dots.

    Near means near in the paper's distance (all attention switches on that the net has), the one that ranks.

    Args:
        features: :class:`stal.features.Features`.
        pids: the persons in colour, the first PERSONS of them; None: the first with more than one tracklet.
        seed: of :func:`tsne`.
    Raises:
        InputError: fewer than 4 tracklets, or none of a person asked for.
    """
    if pids is None:
        found, counts = np.unique(features.pids[features.pids > 0], return_counts=True)
        pids = found[counts > 1]
    pids = [int(pid) for pid in pids][:PERSONS]
    for pid in pids:
        if pid not in features.pids:
            raise InputError(f"{features.directory} holds no tracklet of pid {pid}: choose one of its tracklets.csv")
    shown = np.isin(features.pids, pids)
    rows = np.sort(np.concatenate([np.flatnonzero(shown), np.flatnonzero(~shown)])[:LIMIT])
    metric = Metric(chosen_switches(features)[0], norm=features.meta["attention_norm"])
    distances = distance_matrix(features, rows, rows, metric).astype(np.float64)
    plane = tsne_of_squares((distances ** 2 + distances.T ** 2) / 2, seed)
    plane -= plane.min(axis=0)
    places = _MARGIN + plane / max(plane.max(), 1e-12) * (_SIDE - 2 * _MARGIN)
    return canvas.page([
        canvas.title(f"t-SNE of {len(rows)} tracklets: {len(pids)} persons in colour with their pids, the others grey"),
        _cameras(features.camids[rows]), canvas.framed(_plane(features, rows, places, pids), canvas.GREY, 1)])


def _plane(features, rows, places, pids):
    width, height = np.ceil(places.max(axis=0)).astype(int) + _MARGIN
    image = canvas.blank(height, width)
    places = np.rint(places).astype(int).tolist()
    for n, place in zip(rows, places):
        if features.pids[n] not in pids:
            cv2.circle(image, place, 2, (200, 200, 200), -1, cv2.LINE_AA)
    persons = [[(n, place) for n, place in zip(rows, places) if features.pids[n] == pid] for pid in pids]
    for number, own in enumerate(persons):
        for (_, start), (_, end) in zip(own, own[1:]):
            cv2.line(image, start, end, _colour(number), 1, cv2.LINE_AA)
    marks = [place for own in persons for _, place in own]
    for number, (pid, own) in enumerate(zip(pids, persons)):
        canvas.write(image, str(pid), *_label(own[0][1], canvas.text_width(str(pid)), marks), _colour(number), halo=True)
    for number, own in enumerate(persons):  # last, so that no label hides one
        for n, place in own:
            _mark(image, place, features.camids[n], _colour(number))
    return image


def _label(place, width, marks):
    """Where the text beside a mark starts: right, left, above or below, whichever hides and is hidden least."""
    x, y = place
    places = [(x + 9, y + 4), (x - 9 - width, y + 4), (x - width // 2, y - 10), (x - width // 2, y + 18)]
    return min(places, key=lambda at: sum(-8 < mark[0] - at[0] < width + 8 and -18 < mark[1] - at[1] < 8 for mark in marks))


def _mark(image, place, camid, colour):
    x, y = place
    if camid == 0:
        cv2.circle(image, place, 6, colour, -1, cv2.LINE_AA)
    elif camid == 1:
        cv2.rectangle(image, (x - 5, y - 5), (x + 5, y + 5), colour, -1)
    else:
        cv2.drawMarker(image, place, colour, cv2.MARKER_TRIANGLE_UP, 12, 2, cv2.LINE_AA)


def _cameras(camids):
    entries = []
    for camid in np.unique(np.minimum(camids, 2)).tolist():
        mark = canvas.blank(20, 20)
        _mark(mark, (10, 10), camid, canvas.GREY)
        entries.append(canvas.row([mark, canvas.caption([f"camera {camid}" if camid < 2 else "other cameras"])], 2))
    return canvas.row(entries, 16)


def _colour(number):
    """BGR of person ``number``: ten hues, bright and then dark."""
    values = colorsys.hsv_to_rgb(number % 10 / 10 + 0.05 * (number // 10), 0.9, 0.85 if number < 10 else 0.55)
    return tuple(round(255 * value) for value in values[::-1])
