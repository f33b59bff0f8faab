"""k-reciprocal re-ranking against the paper's equations in sets and dictionaries."""

import math

import numpy as np
import pytest

from stal.errors import InputError
from stal.rerank import Rerank, check_memory, memory, reranked_blocks


def rerank(distances, query, gallery, options=Rerank()):
    distances = np.array(distances, np.float32)
    blocks = [(rows, block) for rows, block in reranked_blocks(distances, query, gallery, options)]
    assert [rows.start for rows, _ in blocks] == list(range(0, len(query), 256))
    return np.concatenate([block for _, block in blocks])


def slow(distances, query, gallery, k1, k2, weight):
    """The equations one by one, a set or a dictionary for each symbol."""
    everybody = range(len(distances))
    distances = [[float(value) for value in row] for row in np.array(distances, np.float32)]

    def d(p, g):
        return (distances[p][g] / (max(distances[p]) or 1)) ** 2

    def ranked(p):
        return [p] + sorted((g for g in everybody if g != p), key=lambda g: (distances[p][g], g))

    def R(p, k):
        return {g for g in ranked(p)[:k + 1] if p in ranked(g)[:k + 1]}

    def R_star(p):
        core = R(p, k1)
        joined = set(core)
        for q in core:
            few = R(q, k1 // 2)
            if len(core & few) >= 2 / 3 * len(few) - 1e-9:
                joined |= few
        return joined

    V = [{g: math.exp(-d(p, g)) for g in R_star(p)} for p in everybody]
    expanded = [{g: sum(V[n].get(g, 0) for n in ranked(p)[:k2]) / len(ranked(p)[:k2]) for g in everybody}
                for p in everybody]

    def jaccard(p, g):
        pairs = [(expanded[p][n], expanded[g][n]) for n in everybody]
        return 1 - sum(map(min, pairs)) / sum(map(max, pairs))

    return [[(1 - weight) * jaccard(p, g) + weight * d(p, g) for g in gallery] for p in query]


def random_case(seed, count=24):
    """Distances of places on a plane; on odd seeds on a grid, so that many are equal."""
    rng = np.random.default_rng(seed)
    places = rng.integers(0, 5, (count, 2)) if seed % 2 else rng.standard_normal((count, 2))
    distances = np.sqrt(((places[:, None] - places) ** 2).sum(axis=2))
    return distances, np.arange(0, count, 3), rng.permutation(count)[:count - 5]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("options", [Rerank(), Rerank(6, 3, 0.3), Rerank(4, 1, 0), Rerank(3, 2, 0.7), Rerank(40, 30, 0.3)])
def test_it_is_the_papers_equations(seed, options):
    distances, query, gallery = random_case(seed)
    np.testing.assert_allclose(rerank(distances, query, gallery, options), slow(distances, query, gallery, *options),
                               atol=1e-6)


def test_four_tracklets_by_hand():
    """0 and 1 are each other's nearest, so are 2 and 3: two sets that share nobody."""
    distances = [[0, 1, 4, 5], [1, 0, 4, 5], [4, 4, 0, 1], [5, 5, 1, 0]]
    found = rerank(distances, [0], [0, 1, 2, 3], Rerank(1, 1, 0))
    # V_0 = {0: 1, 1: exp(-1/25)} = V_1 the other way round; both sum to the same.
    near = math.exp(-1 / 25)
    np.testing.assert_allclose(found, [[0, 1 - 2 * near / 2, 1, 1]], atol=1e-7)


def test_of_the_old_distance_alone_the_order_stays():
    distances, query, gallery = random_case(0)
    found = rerank(distances, query, gallery, Rerank(20, 6, 1))
    np.testing.assert_array_equal(np.argsort(found, axis=1), np.argsort(distances[query][:, gallery], axis=1))


def test_the_given_distances_stay_as_they_are():
    distances = np.array(random_case(2)[0], np.float32)
    before = distances.copy()
    list(reranked_blocks(distances, [0, 1], [2, 3]))
    np.testing.assert_array_equal(distances, before)


def test_equal_tracklets_are_at_distance_zero():
    found = rerank(np.zeros((30, 30)), [3, 29], range(30), Rerank(30, 6, 0.3))
    np.testing.assert_array_equal(found, np.zeros((2, 30)))


def test_blocks_join_seamlessly():
    distances, _, gallery = random_case(4, 300)
    every = rerank(distances, range(300), gallery)
    np.testing.assert_array_equal(every[250:270], rerank(distances, range(250, 270), gallery))


def test_memory_is_said_and_bounded():
    # Of MARS: 4 bytes a distance; sets of at most 21 * 11 tracklets, 6 of them joined, 24 bytes a member.
    assert memory(12180) == (4 * 12180 ** 2, 24 * 12180 * 6 * 21 * 11)
    assert memory(100) == (40000, 24 * 100 * 100)
    assert check_memory(12180, 4) == ("re-ranking N = 12180 tracklets takes 0.593 GB for the N x N distances and up to "
                                      "0.405 GB for sets of neighbours")
    for limit in (0.99, float("nan")):
        with pytest.raises(InputError, match="N = 12180.*more than the limit of .* GB: raise --rerank-memory"):
            check_memory(12180, limit)
