"""The metrics against loops that follow the published evaluation codes, and against hand-worked cases."""

import importlib.util
import os

import numpy as np
import pytest

from stal.errors import InputError
from stal.metrics import CURVE_FARS, FARS, Accumulator, mean_and_deviation, rank_gallery

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def score(distances, q_pids, q_camids, g_pids, g_camids, ap="trapezoid", step=None, max_rank=50, cameras=None,
          own=None):
    accumulator = Accumulator(np.array(g_pids), np.array(g_camids), ap, max_rank, cameras)
    q_pids, q_camids, distances = np.array(q_pids), np.array(q_camids), np.array(distances, np.float32)
    for start in range(0, len(q_pids), step or len(q_pids)):
        rows = slice(start, start + (step or len(q_pids)))
        accumulator.add(distances[rows], q_pids[rows], q_camids[rows], own and np.array(own)[rows])
    return accumulator.scores()


def slow_mars(row, pid, camid, g_pids, g_camids):
    """(CMC, AP) of a query as MARS-evaluation walks down the ranked list; ties: wrong before match."""
    good = [g for g in range(len(row)) if g_pids[g] == pid and g_camids[g] != camid and pid != -1]
    junk = [g for g in range(len(row)) if g_pids[g] == -1 or g_pids[g] == pid and g_camids[g] == camid]
    cmc, ap, old_recall, old_precision = np.zeros(len(row)), 0.0, 0.0, 1.0
    seen = found = 0
    for g in sorted(range(len(row)), key=lambda g: (row[g], g in good)):
        if g in junk:
            continue
        if g in good:
            found += 1
            cmc[seen:] = 1
        recall, precision = found / len(good), found / (seen + 1)
        ap += (recall - old_recall) * (old_precision + precision) / 2
        old_recall, old_precision = recall, precision
        seen += 1
        if found == len(good):
            return cmc, ap


def slow_torchreid(row, pid, camid, g_pids, g_camids):
    """(CMC, AP, INP) of a query as torchreid computes it, None without a match; ties: wrong before match."""
    order = sorted(range(len(row)), key=lambda g: (row[g], g_pids[g] == pid))
    kept = [g for g in order if not (g_pids[g] == pid and g_camids[g] == camid) and g_pids[g] != -1]
    hits = [int(g_pids[g] == pid) for g in kept]
    if not any(hits):
        return None
    cmc = [int(any(hits[:rank + 1])) for rank in range(len(hits))]
    precisions = [sum(hits[:rank + 1]) / (rank + 1) for rank in range(len(hits)) if hits[rank]]
    last = max(rank for rank in range(len(hits)) if hits[rank])
    return cmc, sum(precisions) / sum(hits), sum(hits) / (last + 1)


def random_case(seed):
    """Random labels with junk, distractors and queries without a match; few distinct distances: many ties."""
    rng = np.random.default_rng(seed)
    queries, gallery = rng.integers(3, 12), rng.integers(20, 60)
    labels = (rng.integers(-1, 7, queries), rng.integers(0, 3, queries),
              rng.integers(-1, 6, gallery), rng.integers(0, 3, gallery))
    return rng.integers(0, rng.integers(2, 200), (queries, gallery)) / 8, *labels


@pytest.mark.parametrize("seed", range(40))
def test_random_cases_agree_with_the_loops(seed):
    distances, q_pids, q_camids, g_pids, g_camids = case = random_case(seed)
    rectangular, trapezoid, inps, cmcs = [], [], [], []
    for row, pid, camid in zip(distances, q_pids, q_camids):
        torchreid = slow_torchreid(row, pid, camid, g_pids, g_camids)
        if torchreid is None or pid == -1:
            continue
        mars = slow_mars(row, pid, camid, g_pids, g_camids)
        cmc = np.concatenate([torchreid[0], np.ones(50)])[:50]
        np.testing.assert_array_equal(np.concatenate([mars[0], np.ones(50)])[:50], cmc)
        cmcs.append(cmc)
        trapezoid.append(mars[1])
        rectangular.append(torchreid[1])
        inps.append(torchreid[2])
    for ap, wanted in (("trapezoid", trapezoid), ("rectangular", rectangular)):
        for step in (None, 2):
            found = score(*case, ap, step)
            assert found.mAP == pytest.approx(np.mean(wanted), abs=1e-12)
            assert found.mINP == pytest.approx(np.mean(inps), abs=1e-12)
            np.testing.assert_allclose(found.cmc, np.mean(cmcs, axis=0), atol=1e-12)
            assert (found.queries, found.queries_without_match) == (len(q_pids), len(q_pids) - len(cmcs))


#            match  same camera  junk  distractor  wrong  match
G_PIDS = [1,    1,           -1,   0,          2,     1]
G_CAMIDS = [1,  0,           1,    1,          1,     2]
HAND = [[3,     0.5,         0.1,  1,          3,     4],   # pid 1: the tie counts against it: ranks 2, 3
        [9,     9,           0,    2,          1,     9],   # pid 2: rank 0
        [1,     2,           3,    4,          5,     6]]   # pid 3: nobody


@pytest.mark.parametrize("ap,first_ap", [("rectangular", (1 / 3 + 2 / 4) / 2),
                                         ("trapezoid", ((0 / 2 + 1 / 3) / 2 + (1 / 3 + 2 / 4) / 2) / 2)])
def test_three_queries_by_hand(ap, first_ap):
    found = score(HAND, [1, 2, 3], [0, 0, 0], G_PIDS, G_CAMIDS, ap)
    assert found.mAP == pytest.approx((first_ap + 1) / 2)
    assert found.mINP == pytest.approx((2 / 4 + 1) / 2)
    assert found.cmc[:4].tolist() == [0.5, 0.5, 1, 1] and found.cmc[49] == 1
    assert (found.queries, found.queries_without_match) == (3, 1)


def test_the_ranked_list_by_hand():
    order, match = rank_gallery(HAND[0], 1, 0, G_PIDS, G_CAMIDS)
    assert order.tolist() == [3, 4, 0, 5] and match.tolist() == [False, False, True, True]
    order, match = rank_gallery(np.zeros(6), 1, 0, G_PIDS, G_CAMIDS)
    assert order.tolist() == [3, 4, 0, 5]


@pytest.mark.parametrize("seed", range(5))
def test_the_ranked_list_is_what_the_metrics_count(seed):
    distances, q_pids, q_camids, g_pids, g_camids = random_case(seed)
    firsts = [match.argmax() for row, pid, camid in zip(distances, q_pids, q_camids)
              for match in [rank_gallery(row, pid, camid, g_pids, g_camids)[1]] if pid != -1 and match.any()]
    cmc = score(distances, q_pids, q_camids, g_pids, g_camids).cmc
    np.testing.assert_allclose(cmc[:20], [np.mean(np.array(firsts) < rank) for rank in range(1, 21)])


def labels(seed=0, gallery=300):
    rng = np.random.default_rng(seed)
    more = gallery - 30
    return (np.arange(1, 31), np.zeros(30, int),
            np.concatenate([np.arange(1, 31), rng.integers(-1, 31, more)]),
            np.concatenate([np.ones(30, int), rng.integers(0, 3, more)]))


def test_perfect_distances_score_everything():
    q_pids, q_camids, g_pids, g_camids = labels()
    distances = np.where(q_pids[:, None] == g_pids, 0.5, 1)
    for ap in ("trapezoid", "rectangular"):
        found = score(distances, q_pids, q_camids, g_pids, g_camids, ap)
        assert found.mAP == found.mINP == 1 and (found.cmc == 1).all() and found.queries_without_match == 0
        assert found.tar == {1e-4: None, 1e-3: 1, 1e-2: 1}


def test_constant_distances_score_next_to_nothing():
    q_pids, q_camids, g_pids, g_camids = labels()
    found = score(np.full((30, 300), 0.5), q_pids, q_camids, g_pids, g_camids)
    assert (found.cmc == 0).all() and found.mAP < 0.05 and found.mINP < 0.05 and found.tar[1e-2] == 0


def test_a_short_gallery_ends_with_certainty():
    found = score([[2, 1, 3]], [1], [0], [1, 2, 3], [1, 1, 1])
    assert found.values()["cmc"] == {"1": 0.0, "5": 1.0, "10": 1.0, "20": 1.0}


@pytest.mark.parametrize("seed", range(5))
def test_the_order_of_the_gallery_and_of_the_queries_does_not_matter(seed):
    distances, q_pids, q_camids, g_pids, g_camids = random_case(seed)
    rng = np.random.default_rng(seed)
    g, q = rng.permutation(len(g_pids)), rng.permutation(len(q_pids))
    before = score(distances, q_pids, q_camids, g_pids, g_camids)
    after = score(distances[q][:, g], q_pids[q], q_camids[q], g_pids[g], g_camids[g])
    np.testing.assert_array_equal(before.cmc, after.cmc)
    assert (before.mAP, before.mINP) == pytest.approx((after.mAP, after.mINP), abs=1e-14)
    assert before.tar == after.tar


def test_roc_is_the_threshold_at_a_share_of_wrong_pairs():
    """Over all pairs that are not junk; the histogram may only cost, and no more than one bin of 1/4096."""
    q_pids, q_camids, g_pids, g_camids = labels(1, 2000)
    rng = np.random.default_rng(2)
    same = q_pids[:, None] == g_pids
    distances = np.float32(rng.gamma(9, 1, same.shape) + np.where(same, 0, 4))
    matches = distances[same & (g_camids != 0)]
    wrong = np.sort(distances[~same & (g_pids != -1)])
    found = score(distances, q_pids, q_camids, g_pids, g_camids, step=7)
    for far in (1e-4, 1e-3, 1e-2):
        first_refused = wrong[int(far * len(wrong))]  # accepting it would be one wrong pair too many
        at_least, at_most = first_refused * (1 - 2 / 4096), first_refused
        assert (matches < at_least).mean() <= found.tar[far] <= (matches < at_most).mean()
    assert 0 < found.tar[1e-4] < found.tar[1e-3] < found.tar[1e-2] < 1


def test_the_thresholds_do_what_is_said_of_them():
    q_pids, q_camids, g_pids, g_camids = labels(1, 2000)
    rng = np.random.default_rng(3)
    same = q_pids[:, None] == g_pids
    distances = np.float32(rng.gamma(9, 1, same.shape) + np.where(same, 0, 4))
    matches, wrong = distances[same & (g_camids != 0)], distances[~same & (g_pids != -1)]
    found = score(distances, q_pids, q_camids, g_pids, g_camids)
    for far in FARS:
        assert found.tar[far] == (matches < found.threshold[far]).mean()
        assert (wrong < found.threshold[far]).mean() <= far < (wrong < found.threshold[far] * (1 + 2 / 4096)).mean()
    assert score(distances[:, :70], q_pids, q_camids, g_pids[:70], g_camids[:70]).threshold[1e-4] is None


def test_the_curve_holds_the_same_points_and_no_more_than_61():
    q_pids, q_camids, g_pids, g_camids = labels(1, 2000)
    distances = np.random.default_rng(4).gamma(9, 1, (30, 2000)) + 3 * (q_pids[:, None] != g_pids)
    found = score(distances, q_pids, q_camids, g_pids, g_camids)
    assert len(CURVE_FARS) == len(found.curve) == 61 and (CURVE_FARS[0], CURVE_FARS[-1]) == (1e-6, 1)
    curve = dict(zip(CURVE_FARS, found.curve))
    assert {far: curve[far] for far in FARS} == found.tar
    wrong = np.sum((q_pids[:, None] != g_pids) & (g_pids != -1))
    assert [tar is None for tar in found.curve] == [far * wrong < 1 for far in CURVE_FARS]
    known = [tar for tar in found.curve if tar is not None]
    assert known == sorted(known) and known[0] < known[-1] == 1
    assert found.values()["roc_curve"] == {"far": list(CURVE_FARS), "tar": list(found.curve)}


def test_equal_error_rate_by_hand():
    labels = [1], [0], [1, 1, 2, 3, 4, 5], [1] * 6
    # Wrong at 2, 4, 5, 6. Below 2: FAR 0, 1/2 missed. Below 3: 1/4, 1/2. Below 4: 1/4, none. They cross at 1/4.
    assert score([[1, 3, 2, 4, 5, 6]], *labels).eer == pytest.approx(1 / 4)
    # All equal: half way from (0, 1) to (1, 0).
    assert score([[1, 1, 1, 1, 1, 1]], *labels).eer == pytest.approx(1 / 2)
    assert score([[1, 1, 2, 2, 2, 2]], *labels).eer == 0
    assert score([[2, 2, 1, 1, 1, 1]], *labels).eer == 1
    assert score([[1]], [1], [0], [1], [1]).eer is None


@pytest.mark.parametrize("apart", [0, 2, 6])
def test_equal_error_rate_is_where_the_errors_meet(apart):
    q_pids, q_camids, g_pids, g_camids = labels(1, 2000)
    rng = np.random.default_rng(5)
    same = q_pids[:, None] == g_pids
    distances = np.float32(rng.gamma(9, 1, same.shape) + np.where(same, 0, apart))
    matches, wrong = distances[same & (g_camids != 0)], distances[~same & (g_pids != -1)]
    errors = [((wrong < at).mean(), (matches >= at).mean()) for at in np.unique(matches)]
    wanted = max(min(far, miss) for far, miss in errors)
    found = score(distances, q_pids, q_camids, g_pids, g_camids).eer
    assert found == pytest.approx(wanted, abs=1.5 / len(matches))


def slow_camera_pairs(row, pid, camid, g_pids, g_camids, own, cameras, ap):
    """{camera: (hit at once, AP)} of a query, as MARS-evaluation walks down its ranked list once a camera."""
    cells = {}
    for camera in cameras:
        good = {g for g in range(len(row)) if g_pids[g] == pid and g_camids[g] == camera and g != own and pid != -1}
        skipped = {g for g in range(len(row)) if g_pids[g] == pid and pid != -1} - good
        ranked = [g in good for g in sorted(range(len(row)), key=lambda g: (row[g], g in good)) if g not in skipped]
        if good:
            found, area, old = 0, 0.0, 1.0
            for rank, hit in enumerate(ranked):
                found += hit
                precision = found / (rank + 1)
                if hit:
                    area += ((old + precision) / 2 if ap == "trapezoid" else precision) / len(good)
                old = precision
            cells[camera] = ranked[0], area
    return cells


@pytest.mark.parametrize("ap", ["trapezoid", "rectangular"])
@pytest.mark.parametrize("seed", range(10))
def test_camera_pairs_agree_with_the_loop(seed, ap):
    rng = np.random.default_rng(seed)
    g_pids, g_camids = rng.integers(-1, 5, 40), rng.integers(0, 3, 40) * 2
    own = rng.permutation(40)[:15]  # the gallery holds the queries, as that of MARS does
    own[::5] = -1
    q_pids = np.where(own >= 0, g_pids[own], rng.integers(-1, 6, 15))
    q_camids = np.where(own >= 0, g_camids[own], rng.integers(0, 3, 15) * 2)
    distances = rng.integers(0, 30, (15, 40)) / 8
    cells = {}
    for row, pid, camid, itself in zip(distances, q_pids, q_camids, own):
        for other, values in slow_camera_pairs(row, pid, camid, g_pids, g_camids, itself, (0, 2, 4), ap).items():
            cells.setdefault((camid // 2, other // 2), []).append(values)
    found = score(distances, q_pids, q_camids, g_pids, g_camids, ap, 4, cameras=[0, 2, 4, 4], own=own.tolist()).pairs
    assert found.cameras.tolist() == [0, 2, 4]
    for a in range(3):
        for b in range(3):
            values = cells.get((a, b), [])
            assert found.queries[a, b] == len(values)
            np.testing.assert_allclose([found.rank1[a, b], found.AP[a, b]],
                                       np.mean(values, axis=0) if values else [np.nan] * 2, atol=1e-12)
    off_diagonal = [(found.rank1[a, b], found.AP[a, b]) for a, b in cells if a != b]
    assert found.means() == pytest.approx((*np.mean(off_diagonal, axis=0), len(off_diagonal)), abs=1e-12)


def test_camera_pairs_by_hand():
    #       itself  same camera  other  other  third  wrong  junk
    pids = [7, 7, 7, 7, 7, 8, -1]
    camids = [0, 0, 1, 1, 2, 1, 1]
    found = score([[0, 3, 2, 6, 5, 4, 1]], [7], [0], pids, camids, "rectangular", cameras=camids, own=[0])
    pairs = found.pairs.values()
    # Junk at 1 counts as wrong, the query and the other cameras do not count. Camera 0: 3 behind 1. Camera 1: 2 behind
    # 1, 6 behind 1, 2, 4. Camera 2: 5 behind 1, 4.
    assert pairs["AP"] == [[1 / 2, (1 / 2 + 2 / 4) / 2, 1 / 3], [None] * 3, [None] * 3]
    assert pairs["rank1"] == [[0, 0, 0], [None] * 3, [None] * 3]
    assert pairs["queries"] == [[1, 1, 1], [0] * 3, [0] * 3]
    assert (pairs["mean_rank1"], pairs["mean_AP"], pairs["mean_cells"]) == (0, pytest.approx((1 / 2 + 1 / 3) / 2), 2)
    assert found.cmc[0] == 1  # where junk is skipped
    assert score([[0, 3, 2, 6, 5, 4, 1]], [7], [0], pids, camids).pairs is None


def test_camera_pairs_over_splits_are_laid_over_one_another():
    one = score([[1, 2]], [1], [0], [1, 2], [3, 3], cameras=[0, 3])
    two = score([[2, 1, 3], [2, 1, 1]], [1, 1], [0, 1], [1, 2, 1], [1, 1, 3], cameras=[0, 1, 3])
    mean, deviation = mean_and_deviation([one, two])
    assert mean.pairs.cameras.tolist() == [0, 1, 3] and deviation.pairs is None
    assert mean.pairs.values()["rank1"] == [[None, None, 0.5], [None, None, None], [None, None, None]]
    assert mean.pairs.queries.tolist() == [[0, 1, 2], [0, 1, 1], [0, 0, 0]]
    assert mean.pairs.means() == (0.5, mean.pairs.AP[0, 2], 1)
    assert deviation.eer == pytest.approx(np.std([one.eer, two.eer], ddof=1))
    assert len(mean.curve) == 61 and mean.curve[-1] == 1 and mean.threshold == {far: None for far in FARS}


@pytest.fixture(scope="module")
def mars_eval():
    spec = importlib.util.spec_from_file_location("mars_eval", os.path.join(ROOT, "benchmarks", "mars_eval.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_benchmarks_labels_have_the_published_counts_of_mars(mars_eval):
    pids, camids, query = mars_eval.mars_labels()
    assert (len(pids), np.sum(pids == -1), np.sum(pids == 0), len(set(pids))) == (12180, 870, 3248, 636)
    assert (query.sum(), len(set(pids[query])), pids[query].min() > 0) == (1980, 626, True)
    assert np.bincount(camids[query]).tolist() == [524, 456, 319, 191, 384, 106]
    assert len(set(zip(pids[query], camids[query]))) == 1980  # one a pid and camera
    kept = ~query & (pids != -1)
    assert (kept.sum(), len(set(pids[kept]))) == (9330, 621)
    assert min(np.sum((pids == pid) & (camids != camid)) for pid, camid in zip(pids[query], camids[query])) == 1


@pytest.mark.parametrize("reading,ap,without", [("official", "trapezoid", 0), ("torchreids", "rectangular", 140)])
def test_at_the_size_of_mars_the_metrics_are_the_definitions(mars_eval, reading, ap, without):
    pids, camids, query = mars_eval.mars_labels()
    asked = np.flatnonzero(query)
    gallery = np.arange(len(pids)) if reading == "official" else np.flatnonzero(~query & (pids != -1))
    rng = np.random.default_rng(6)
    accumulator, rows = Accumulator(pids[gallery], camids[gallery], ap), []
    for some in np.array_split(asked, 20):
        distances = rng.gamma(9, 1, (len(some), len(gallery))).astype(np.float32)
        distances += 6 * (pids[some][:, None] != pids[gallery])
        accumulator.add(distances, pids[some], camids[some])
        rows += [(row, one) for row, one in zip(some, distances)]
    wanted = mars_eval.straightforward(getattr(mars_eval, reading), rows, pids, camids, gallery)
    found = accumulator.scores()
    assert 0.1 < found.mAP < 0.9 and (wanted["queries"], wanted["queries_without_match"]) == (1980, without)
    assert mars_eval.difference({**found.values(), "queries": found.queries,
                                 "queries_without_match": found.queries_without_match}, wanted) < 1e-6


def test_a_share_of_exactly_one_wrong_pair_accepts_it():
    found = score([[1.5, *range(1, 101)]], [1], [0], [1] + [2] * 100, [1] * 101)
    assert found.tar == {1e-4: None, 1e-3: None, 1e-2: 1}
    assert score([[2.5, *range(1, 101)]], [1], [0], [1] + [2] * 100, [1] * 101).tar[1e-2] == 0


def test_wrong_input_is_refused():
    for wrong in (np.nan, np.inf, -1):
        with pytest.raises(ValueError, match="finite"):
            score([[1, wrong]], [1], [0], [1, 2], [1, 1])
    with pytest.raises(InputError, match="none of the 1 queries has a match"):
        score([[1, 2]], [1], [0], [1, 2], [0, 1])
    with pytest.raises(InputError, match="'area'"):
        score([[1, 2]], [1], [0], [1, 2], [1, 1], ap="area")


def test_mean_and_deviation_over_splits():
    one = score(HAND, [1, 2, 3], [0, 0, 0], G_PIDS, G_CAMIDS)
    two = score(HAND[1:2], [2], [0], G_PIDS, G_CAMIDS)
    mean, deviation = mean_and_deviation([one, two])
    assert mean.mAP == pytest.approx((one.mAP + two.mAP) / 2)
    assert deviation.mAP == pytest.approx(abs(one.mAP - two.mAP) / 2 ** 0.5)
    assert mean.cmc[0] == 0.75 and deviation.cmc[0] == pytest.approx(0.25 * 2 ** 0.5)
    assert (mean.queries, mean.queries_without_match) == (4, 1)
    assert mean_and_deviation([one])[1] is None
