"""The metrics against loops that follow the published evaluation codes, and against hand-worked cases."""

import numpy as np
import pytest

from stal.errors import InputError
from stal.metrics import Accumulator, mean_and_deviation, rank_gallery


def score(distances, q_pids, q_camids, g_pids, g_camids, ap="trapezoid", step=None, max_rank=50):
    accumulator = Accumulator(np.array(g_pids), np.array(g_camids), ap, max_rank)
    q_pids, q_camids, distances = np.array(q_pids), np.array(q_camids), np.array(distances, np.float32)
    for start in range(0, len(q_pids), step or len(q_pids)):
        rows = slice(start, start + (step or len(q_pids)))
        accumulator.add(distances[rows], q_pids[rows], q_camids[rows])
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
