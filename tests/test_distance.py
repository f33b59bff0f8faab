"""The blockwise distance against Eq. 8 written out, and its behaviour near zero."""

from dataclasses import replace

import numpy as np
import pytest

from stal import distance
from stal.distance import Metric, branches, chosen_switches, distance_blocks, distance_matrix, part_weights
from stal.errors import InputError
from stal.features import Features

SWITCHES = ["none", "temporal", "spatial", "both"]


def features(count=12, parts=3, width=5, feature_norm="UNNORMALIZED", seed=0):
    rng = np.random.default_rng(seed)
    def array(*shape):
        return rng.standard_normal(shape).astype(np.float32)
    attention = rng.random((count, parts), np.float32)
    attention[1] = 0       # no score at all
    attention[2, :1] = 0   # a part that does not count
    made = array(count, width), array(count, parts, width), array(count, parts, width)
    for values in made:
        values[3] = 0      # a zero vector
    ones = np.ones(count, np.int64)
    return Features("toy", tuple(map(str, range(count))), ones, ones, ones, ones > 0, *made, attention,
                    {"feature_norm": feature_norm, "attention_norm": "L1"})


def eq8(f, i, j, attention, fusion, norm, unit):
    """d_l + fusion * d_g of one pair, in the words of the paper."""
    def vector(values):
        values = values.astype(np.float64)
        length = np.sqrt((values ** 2).sum())
        return values / length if unit and length > 0 else values

    def weights(row):
        scores = [float(score) for score in f.attention[row]]
        if attention in ("none", "temporal") or not any(scores):
            scores = [1.0] * len(scores)
        size = sum(scores) if norm == "L1" else sum(score ** 2 for score in scores) ** 0.5
        return [score / size for score in scores]

    local = 0.0
    parts = f.parts if attention in ("temporal", "both") else f.parts_mean
    for r in range(f.parts.shape[1]):
        difference = vector(parts[i, r]) - vector(parts[j, r])
        local += weights(i)[r] * weights(j)[r] * (difference ** 2).sum() ** 0.5
    difference = vector(f.global_mean[i]) - vector(f.global_mean[j])
    whole = (difference ** 2).sum() ** 0.5
    return whole if fusion == np.inf else local + fusion * whole


@pytest.mark.parametrize("attention", SWITCHES)
@pytest.mark.parametrize("norm", ["L1", "L2"])
@pytest.mark.parametrize("feature_norm", ["UNNORMALIZED", "L2_UNIT"])
@pytest.mark.parametrize("fusion", [0, 0.3, np.inf])
def test_every_switch_is_equation_8(attention, norm, feature_norm, fusion):
    f = features(feature_norm=feature_norm)
    query, gallery = [0, 1, 2, 3, 7], [11, 3, 2, 1, 0, 5]
    unit = feature_norm == "L2_UNIT"
    wanted = [[eq8(f, i, j, attention, fusion, norm, unit) for j in gallery] for i in query]
    found = distance_matrix(f, query, gallery, Metric(attention, fusion, norm))
    np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-7)


def test_switched_off_attention_keeps_the_scale_of_equation_8():
    f = features(parts=4)
    np.testing.assert_allclose(part_weights(f.attention, "L1", spatial=False), 1 / 4)
    np.testing.assert_allclose(part_weights(f.attention, "L2", spatial=False), 1 / 2)
    np.testing.assert_allclose(part_weights(f.attention, "L1").sum(axis=1), 1)
    np.testing.assert_allclose((part_weights(f.attention, "L2") ** 2).sum(axis=1), 1)
    np.testing.assert_allclose(part_weights([[3e-30, 4e-30]], "L2"), [[0.6, 0.8]])
    np.testing.assert_allclose(part_weights([[0, 0]], "L1"), [[0.5, 0.5]])


def test_blocks_and_metrics_together_give_what_each_gives_alone(monkeypatch):
    f = features(count=40, width=17)
    query, gallery = np.arange(0, 40, 3), np.arange(39, -1, -1)
    metrics = [Metric(attention, fusion, norm) for attention in SWITCHES for fusion in (0, 0.3, np.inf)
               for norm in ("L1", "L2")]
    alone = [distance_matrix(f, query, gallery, metric) for metric in metrics]
    monkeypatch.setattr(distance, "_TILE", 7)
    covered = 0
    for rows, blocks in distance_blocks(f, query, gallery, metrics, block_rows=4):
        assert rows.start == covered
        covered = rows.stop
        for block, whole in zip(blocks, alone, strict=True):
            assert block.dtype == np.float32
            np.testing.assert_allclose(block, whole[rows], rtol=2e-7)
    assert covered == len(query)


@pytest.mark.parametrize("width", [1, 64, 1024, 2048])
@pytest.mark.parametrize("feature_norm", ["UNNORMALIZED", "L2_UNIT"])
def test_equal_tracklets_are_at_distance_zero_and_tie_exactly(width, feature_norm):
    f = features(count=50, parts=2, width=width, feature_norm=feature_norm)
    for values in (f.global_mean, f.parts, f.parts_mean):
        values[:] = np.abs(values) + 3                # as after a ReLU: far from the origin
        values[10:20] = np.float32(0.1)               # rounding errors of one sign
        values[30::7] = values[5]
    f.attention[:] = f.attention[0]
    found = distance_matrix(f, np.arange(50), np.arange(50))
    assert (np.diag(found) == 0).all()
    assert (found[10:20, 10:20] == 0).all() and (found[5, 30::7] == 0).all()
    for row in found:
        assert len(set(row[[5, *range(30, 50, 7)]])) == 1 and len(set(row[10:20])) == 1


@pytest.mark.parametrize("apart", [1e-2, 1e-3, 1e-4, 1e-5])
def test_small_distances_are_accurate(apart):
    f = features(count=6, parts=2, width=512)
    rng = np.random.default_rng(1)
    for values in (f.global_mean, f.parts):
        values[:] = 100 + rng.random(values.shape)
        values[5] = values[4] * np.float32(1 + apart * rng.standard_normal(values[4].shape))
    wanted = eq8(f, 4, 5, "both", 0.3, "L1", False)
    assert distance_matrix(f, [4], [0, 5])[0, 1] == pytest.approx(wanted, rel=1e-3)


def test_what_cannot_be_computed_is_said():
    f = features()
    for metric, said in ((Metric("time"), "'time'"), (Metric(norm="L3"), "'L3'"), (Metric(fusion=-1), "-1"),
                         (Metric(fusion=np.nan), "nan")):
        with pytest.raises(InputError, match=said):
            distance_matrix(f, [0], [1], metric)
    only_global = features(parts=0)
    assert distance_matrix(only_global, [0], [4])[0, 0] > 0
    with pytest.raises(InputError, match="no part features.*--fusion"):
        distance_matrix(only_global, [0], [4], Metric(fusion=0))


@pytest.mark.parametrize("attention", SWITCHES)
def test_of_one_branch_alone_the_distance_is_its_term(attention):
    both = features()
    nothing = np.zeros((12, 0), np.float32)
    only_parts = replace(both, global_mean=nothing)
    only_global = replace(both, parts=nothing[..., None], parts_mean=nothing[..., None], attention=nothing)
    assert (branches(both), branches(only_parts), branches(only_global)) == (("part", "global"), ("part",), ("global",))
    query, gallery = [0, 3, 7], [1, 2, 5]
    np.testing.assert_array_equal(distance_matrix(only_parts, query, gallery, Metric(attention, 0.3)),
                                  distance_matrix(both, query, gallery, Metric(attention, 0)))
    np.testing.assert_allclose(distance_matrix(only_global, query, gallery, Metric(attention, 0.3)),
                               0.3 * distance_matrix(both, query, gallery, Metric(attention, np.inf)), rtol=1e-6)
    with pytest.raises(InputError, match="no global features.*--fusion"):
        distance_matrix(only_parts, [0], [4], Metric(attention, np.inf))


def test_of_a_single_part_the_spatial_switch_changes_nothing():
    quality = features(parts=1)
    matrices = {attention: distance_matrix(quality, [0, 3], [4, 5], Metric(attention, 0)) for attention in SWITCHES}
    np.testing.assert_array_equal(matrices["both"], matrices["temporal"])
    np.testing.assert_array_equal(matrices["spatial"], matrices["none"])
    assert (matrices["both"] != matrices["none"]).all()


def test_switches_go_with_parts():
    f, only_global = features(), features(parts=0)
    assert chosen_switches(f) == ["both"] and chosen_switches(f, "all") == SWITCHES
    assert chosen_switches(f, "both,none,both") == ["both", "none"]
    for text in (None, "all", "none"):
        assert chosen_switches(only_global, text) == ["none"]
    with pytest.raises(InputError, match="toy holds only global features and no parts, so attention spatial has"):
        chosen_switches(only_global, "none,spatial")
    for some in (f, only_global):
        with pytest.raises(InputError, match="no attention switch 'time'"):
            chosen_switches(some, "none,time")


def test_mapped_features_give_the_same_distances_and_lose_no_change(tmp_path, monkeypatch):
    f = features(count=40, width=17)
    monkeypatch.setattr(distance, "_TILE", 7)
    wanted = distance_matrix(f, np.arange(40), np.arange(40))
    for mode in ("r", "c"):  # pages of the first are handed back, of the second they are the only copy
        mapped = {}
        for name in ("global_mean", "parts", "parts_mean"):
            np.save(tmp_path / f"{name}.npy", getattr(f, name) if mode == "r" else 0 * getattr(f, name))
            mapped[name] = np.load(tmp_path / f"{name}.npy", mmap_mode=mode)
            if mode == "c":
                mapped[name][:] = getattr(f, name)
        np.testing.assert_array_equal(distance_matrix(replace(f, **mapped), np.arange(40), np.arange(40)), wanted)


def test_distances_beyond_float32_are_refused():
    f = features()
    f.global_mean[:] *= np.float32(1e38)
    assert np.isfinite(f.global_mean).all()
    with pytest.raises(InputError, match="features in toy are so large that their distances overflow: check the weights"):
        distance_matrix(f, range(12), range(12), Metric(fusion=1000))
