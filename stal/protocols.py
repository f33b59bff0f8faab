"""Evaluation protocols: which tracklets are queries and gallery, and which average precision is meant.

==============  ===========================================================================================
mars            MARS-evaluation, which the paper's Table V follows: queries are the rows with query = 1, the
                gallery is every row (a query's own row is junk), AP by trapezoids. The published MARS leaves
                no query without a match.
mars-torchreid  torchreid and its relatives: the gallery is every row with query = 0 and a pid other than
                -1, AP rectangular. On the published MARS 140 of the 1,980 queries then have no match and are
                left out.
ilids, prid     Wang et al. (ECCV 2014) on iLIDS-VID, PRID-2011: of the test persons of a split, queries are
                camera 0 and the gallery is camera 1; AP rectangular (the paper gives CMC only).
==============  ===========================================================================================

A splits file is a JSON list of ``{"train": [pids], "test": [pids]}``. Junk and matches are as in
:mod:`stal.metrics`.
"""

import json
from typing import NamedTuple

import numpy as np

from stal.distance import distance_blocks, distance_matrix
from stal.errors import InputError
from stal.metrics import JUNK_PID, Accumulator
from stal.rerank import Rerank, reranked_blocks


class Protocol(NamedTuple):
    """A protocol; ``rule`` says it to the user."""

    name: str
    dataset: str       # as the paper's tables call it
    ap: str            # trapezoid or rectangular
    has_splits: bool   # whether a splits file applies
    comparable: bool   # whether the paper's table was measured this way
    rule: str


class Split(NamedTuple):
    """Who is compared with whom."""

    name: str            # index in the splits file, or "all persons", or "fixed"
    query: np.ndarray    # (Q,) row numbers
    gallery: np.ndarray  # (G,) row numbers
    left_out: str        # what the rule removed, in words


PROTOCOLS = {protocol.name: protocol for protocol in (
    Protocol("mars", "MARS", "trapezoid", False, True,
             "queries: rows with query = 1; gallery: every row; junk: pid -1, and the query's pid under its "
             "own camera"),
    Protocol("mars-torchreid", "MARS", "rectangular", False, False,
             "queries: rows with query = 1; gallery: rows with query = 0, without pid -1; junk: the query's "
             "pid under its own camera; queries without a match left out"),
    Protocol("ilids", "iLIDS-VID", "rectangular", True, True,
             "test persons of the split; queries: camera 0; gallery: camera 1"),
    Protocol("prid", "PRID-2011", "rectangular", True, True,
             "test persons of the split; queries: camera 0; gallery: camera 1"),
)}


def get_protocol(name):
    """The :class:`Protocol` of a name; InputError if there is none."""
    if name not in PROTOCOLS:
        raise InputError(f"there is no protocol {name!r}: choose from {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]


def read_splits(path):
    """Reads a splits file.

    Returns:
        list of (train, test), two sets of pids.
    Raises:
        InputError: no such file, another form, an empty test set, or a pid in both halves of a split.
    """
    form, again = 'a JSON list of {"train": [pids], "test": [pids]}', "write it with data_prep/"
    try:
        with open(path, encoding="utf-8") as stream:
            splits = json.load(stream)
    except OSError as error:
        raise InputError(f"cannot read the splits file {path} ({error.strerror}): {again}") from None
    except ValueError as error:
        raise InputError(f"the splits file {path} is not {form} ({error}): {again}") from None
    if not isinstance(splits, list) or not splits:
        raise InputError(f"the splits file {path} is not {form}, or holds no split: {again}")
    halves = []
    for index, split in enumerate(splits):
        if not isinstance(split, dict) or not all(
                isinstance(split.get(half), list) and all(type(pid) is int for pid in split[half])
                for half in ("train", "test")):
            raise InputError(f"split {index} of {path} is no {{\"train\": [pids], \"test\": [pids]}} of "
                             f"integers: {again}")
        train, test = set(split["train"]), set(split["test"])
        if not test or train & test:
            problem = f"has pid {min(train & test)} in train and test" if test else "has no test persons"
            raise InputError(f"split {index} of {path} {problem}: {again}")
        halves.append((train, test))
    return halves


def chosen_splits(protocol, splits_file=None, split="all"):
    """Which splits to evaluate.

    Args:
        protocol: :class:`Protocol`.
        splits_file: path or None (a single evaluation of everybody in the features).
        split: "all" or an index, as text or number.
    Returns:
        list of (name, test pids, train pids), the pids None without a splits file.
    Raises:
        InputError: the protocol takes no splits, the index is out of range, or a bad splits file.
    """
    if splits_file is None:
        if str(split) != "all":
            raise InputError(f"--split {split} needs --splits FILE, the splits to choose from")
        return [("all persons" if protocol.has_splits else "fixed", None, None)]
    if not protocol.has_splits:
        raise InputError(f"protocol {protocol.name} has one fixed split: leave out --splits {splits_file}")
    splits = read_splits(splits_file)
    chosen = range(len(splits)) if str(split) == "all" else [_index(split, len(splits), splits_file)]
    return [(str(index), *reversed(splits[index])) for index in chosen]


def _index(split, count, splits_file):
    try:
        index = int(split)
    except ValueError:
        index = -1
    if not 0 <= index < count:
        raise InputError(f"--split {split} is not in {splits_file}, which holds splits 0 to {count - 1}: "
                         "choose one of these or all")
    return index


def make_split(features, protocol, name="fixed", test_pids=None, train_pids=None):
    """Finds the rows a protocol compares.

    Args:
        features: :class:`stal.features.Features`.
        name, test_pids, train_pids: as :func:`chosen_splits` gives them; the last only tells whether the split is of
            this data set.
    Returns:
        :class:`Split`, with at least one query that has a match.
    Raises:
        InputError: a test pid is not in the features, or a rule leaves no query, no gallery or no match;
            the sentence says which.
    """
    pids, camids, table = features.pids, features.camids, f"{features.directory}/tracklets.csv"
    if protocol.has_splits:
        person = np.ones(len(pids), bool)
        if test_pids is not None:
            unknown = sorted(test_pids - set(pids.tolist()))
            if unknown:
                raise InputError(f"split {name} tests {len(unknown)} pids that {table} does not hold, {_few(unknown)} "
                                 f"(it tests {len(test_pids)} in all): give the splits file these features were "
                                 "prepared with")
            person = np.isin(pids, sorted(test_pids))
        query, gallery = person & (camids == 0), person & (camids == 1)
        left_out = (f"{np.sum(~person)} tracklets of other persons, {np.sum(person & (camids > 1))} of "
                    "cameras beyond the first two")
        strangers = [] if train_pids is None else set(pids[pids > 0].tolist()) - test_pids - train_pids
        if strangers:
            left_out += (f"; {len(strangers)} pids are in neither half of the split ({_few(sorted(strangers))}): check "
                         "that it is of this data set")
        for chosen, what, camera in ((query, "query", 0), (gallery, "gallery", 1)):
            if not chosen.any():
                raise InputError(f"protocol {protocol.name} takes its {what} tracklets from camid {camera}, "
                                 f"and none of the {person.sum()} tracklets of split {name} in {table} is of "
                                 f"it (camids there: {_listed(camids[person])}): give features of both "
                                 "cameras")
    else:
        query = features.query
        if not query.any():
            raise InputError(f"protocol {protocol.name} takes the tracklets with query = 1 as queries, and "
                             f"{table} marks none: prepare the list with its queries, or choose another "
                             "--protocol")
        gallery = np.ones(len(pids), bool)
        if protocol.name == "mars-torchreid":
            gallery = ~query & (pids != JUNK_PID)
        left_out = f"{np.sum(~gallery)} tracklets not in the gallery"
        if not gallery.any():
            raise InputError(f"protocol {protocol.name} leaves queries and pid -1 out of the gallery, and "
                             f"{table} holds nothing else ({query.sum()} queries): choose --protocol mars")
    split = Split(name, np.flatnonzero(query), np.flatnonzero(gallery), left_out)
    _check_matches(features, protocol, split, table)
    return split


def without_match(features, split):
    """The queries that no gallery tracklet can match.

    Returns:
        (absent, one_camera): lists of rows; of the first the pid is not in the gallery at all (pid -1 never is), of
        the second only under the query's own camera.
    """
    cameras = {}
    for pid, camid in zip(features.pids[split.gallery].tolist(), features.camids[split.gallery].tolist()):
        if pid != JUNK_PID:
            cameras.setdefault(pid, set()).add(camid)
    queries = list(zip(split.query.tolist(), features.pids[split.query].tolist(),
                       features.camids[split.query].tolist()))
    return ([row for row, pid, _ in queries if pid not in cameras],
            [row for row, pid, camid in queries if cameras.get(pid) == {camid}])


def _check_matches(features, protocol, split, table):
    """Refuses, before the work, a gallery that holds no match for any query."""
    absent, one_camera = without_match(features, split)
    if len(absent) + len(one_camera) < len(split.query):
        return
    if one_camera:
        used = _listed(features.camids[np.union1d(split.query, split.gallery)])
        reason = ("it skips gallery tracklets of the query's own camera, and no query's pid is seen by "
                  f"another camera (camids: {used})")
    else:
        reason = f"no query's pid is in the gallery (pids {_few(features.pids[absent])})"
    raise InputError(f"protocol {protocol.name} leaves none of the {len(split.query)} queries of {table} a "
                     f"match: {reason}; check the pids and camids of the list")


def _listed(values):
    return ", ".join(map(str, np.unique(values).tolist())) or "none"


def _few(values, count=5):
    values = np.unique(values).tolist()
    more = f" and {len(values) - count} more" if len(values) > count else ""
    return ", ".join(map(str, values[:count])) + more


def describe(features, protocol, split):
    """What is compared, in lines of text."""
    queries, gallery = features.pids[split.query], features.pids[split.gallery]
    lines = [f"protocol {protocol.name} ({protocol.dataset}), split {split.name}: {protocol.rule}",
             f"  average precision: {protocol.ap}; ties: the wrong ones first",
             f"  queries: {len(queries)} tracklets of {len(np.unique(queries))} pids",
             f"  gallery: {len(gallery)} tracklets of {len(np.unique(gallery))} pids, "
             f"{np.sum(gallery == JUNK_PID)} of them of pid -1 (junk) and {np.sum(gallery == 0)} of pid 0 "
             f"(distractors)",
             f"  left out: {split.left_out}"]
    if (queries == 0).any():
        lines.append(f"  queries of pid 0: {np.sum(queries == 0)}; for them pid 0 under another camera is a match")
    for rows, why in zip(without_match(features, split), ("the gallery does not hold their pid", "the rule skips the "
                         "query's own camera, and the gallery holds their pid under no other")):
        if rows:
            lines.append(f"  queries without a match, left out of the means: {len(rows)}; {why} (pids "
                         f"{_few(features.pids[rows])})")
    return lines


def evaluate(features, protocol, split, metrics, camera_pairs=False):
    """Compares every query with the gallery.

    Args:
        metrics: list of :class:`stal.distance.Metric`.
        camera_pairs: whether to score the pairs of cameras as well.
    Returns:
        list of :class:`stal.metrics.Scores`, one a metric.
    """
    accumulators = [_accumulator(features, protocol, split, camera_pairs) for _ in metrics]
    own = np.searchsorted(split.gallery, split.query)  # both ascend
    own[np.append(split.gallery, -1)[own] != split.query] = -1
    for rows, blocks in distance_blocks(features, split.query, split.gallery, metrics):
        query = split.query[rows]
        for accumulator, block in zip(accumulators, blocks):
            accumulator.add(block, features.pids[query], features.camids[query], own[rows])
    return [accumulator.scores() for accumulator in accumulators]


def evaluate_reranked(features, protocol, split, metric, options=Rerank()):
    """The same after k-reciprocal re-ranking of all queries and gallery tracklets (:mod:`stal.rerank`).

    Args:
        metric: :class:`stal.distance.Metric`.
    Returns:
        :class:`stal.metrics.Scores`; its thresholds are re-ranked distances.
    """
    # Between equals the order decides, and tracklet lists are in the order of the pids.
    everybody = np.random.default_rng(0).permutation(to_rerank(split))
    distances = distance_matrix(features, everybody, everybody, metric)
    place = np.empty(len(features.pids), np.int64)
    place[everybody] = np.arange(len(everybody))
    query, gallery = place[split.query], place[split.gallery]
    accumulator = _accumulator(features, protocol, split)
    for rows, block in reranked_blocks(distances, query, gallery, options):
        accumulator.add(block, features.pids[split.query[rows]], features.camids[split.query[rows]])
    return accumulator.scores()


def to_rerank(split):
    """The rows that re-ranking compares with one another: queries and gallery, each once."""
    return np.union1d(split.query, split.gallery)


def _accumulator(features, protocol, split, camera_pairs=False):
    cameras = features.camids[to_rerank(split)] if camera_pairs else None
    return Accumulator(features.pids[split.gallery], features.camids[split.gallery], protocol.ap, cameras=cameras)
