"""The tables and figures as data: what they ask for exists, and their numbers are those of the plain evaluation."""

from dataclasses import replace

import numpy as np
import pytest

from prototxt.experiments import VARIANTS
from stal import artifacts, figures, protocols
from stal.artifacts import ARTIFACTS, Row
from stal.distance import Metric, distance_matrix
from stal.errors import InputError
from stal.features import Features, Frames

PERSONS, PARTS, WIDTH = 6, 6, 5


def make(lengths, seed=0):
    """Features and frames of PERSONS persons under two cameras, tracklets of the given lengths in turn."""
    rng = np.random.default_rng(seed)
    count = np.array([lengths[n % len(lengths)] for n in range(2 * PERSONS)])
    offsets = np.concatenate([[0], np.cumsum(count)])
    person = rng.normal(size=(PERSONS, PARTS, WIDTH))
    pids, camids = np.repeat(np.arange(1, PERSONS + 1), 2), np.tile([0, 1], PERSONS)
    parts = np.concatenate([person[pid - 1] + rng.normal(size=(size, PARTS, WIDTH)) for pid, size in zip(pids, count)])
    frames = Frames(parts[:, 0].astype(np.float32), parts.astype(np.float32),
                    rng.uniform(0.1, 1, (len(parts), PARTS)).astype(np.float32), offsets)
    features = Features("features", tuple(map(str, range(len(pids)))), pids, camids, count, camids == 0,
                        np.zeros((len(pids), WIDTH), np.float32), np.zeros((len(pids), PARTS, WIDTH), np.float32),
                        np.zeros((len(pids), PARTS, WIDTH), np.float32), np.zeros((len(pids), PARTS), np.float32),
                        {"attention_norm": "L1", "feature_norm": "UNNORMALIZED"})
    return artifacts.shortened(features, frames, max(count)) if len(set(count)) == 1 else features, frames


PROTOCOL = protocols.get_protocol("ilids")


def test_every_row_is_of_a_variant_and_a_switch_that_there_are():
    for artifact in ARTIFACTS.values():
        assert artifact.all_rows() and set(artifact.datasets) <= {"ilids", "prid", "mars", "synthetic"}
        for row in artifact.all_rows():
            assert row.variant in VARIANTS and row.attention in ("none", "temporal", "spatial", "both")
    with pytest.raises(InputError, match="there is no table or figure 'fig4': choose from table3"):
        artifacts.get_artifact("fig4")


def test_a_curve_has_the_size_of_the_net_itself_once():
    curves = dict(ARTIFACTS["fig9"].sized({"global embedding": 128, "local embedding": 64}).curves)
    assert sorted(x for x, _ in curves["global embedding"]) == [128, 256, 512, 2048]
    assert {row.variant for x, row in curves["global embedding"] if x == 128} == {""}
    assert sorted(x for x, _ in curves["local embedding"]) == [64, 128, 256, 512, 2048]
    assert sorted(x for x, _ in dict(ARTIFACTS["fig9"].sized({}).curves)["local embedding"]) == [128, 256, 512, 1024, 2048]


def test_papers_names_are_those_of_its_numbers():
    for artifact in ARTIFACTS.values():
        paper = figures.paper_rows(artifact)
        for row in artifact.rows:
            assert not row.paper or row.paper in paper, (artifact.title, row.paper)


def test_all_frames_give_eq_9():
    features, frames = make([4])
    first = slice(0, 4)
    scores, parts = frames.attention[first], frames.parts[first]
    np.testing.assert_allclose(features.parts[0], (scores[..., None] * parts).sum(0) / scores.sum(0)[:, None], rtol=1e-5)
    np.testing.assert_allclose(features.parts_mean[0], parts.mean(0), rtol=1e-5)
    np.testing.assert_allclose(features.attention[0], scores.mean(0), rtol=1e-5)
    np.testing.assert_allclose(features.global_mean[0], frames.global_[first].mean(0), rtol=1e-5)


def test_a_longer_tracklet_gives_some_frames_a_shorter_one_all_and_some_twice():
    features, frames = make([2, 9])
    frames.attention[:] = 1
    frames.global_[:] = np.arange(len(frames.global_))[:, None]  # a frame's number is its feature
    short = artifacts.shortened(features, frames, 5)
    five = short.global_mean[1, 0] * 5  # of tracklet 1, whose frames are 2 to 10
    assert five == round(five) and 2 + 3 + 4 + 5 + 6 <= five <= 6 + 7 + 8 + 9 + 10
    both = short.global_mean[0, 0] * 5  # of tracklet 0: frames 0 and 1, three times one of them
    assert both == round(both) and 1 <= both <= 4
    assert np.array_equal(short.global_mean, artifacts.shortened(features, frames, 5).global_mean)
    assert not np.array_equal(short.global_mean, artifacts.shortened(features, frames, 5, seed=1).global_mean)
    assert artifacts.shortened(features, frames, None) is features


def test_one_part_is_compared_by_its_plain_distance():
    features, _ = make([4])
    one = artifacts.one_part(features, 2)
    query, gallery = np.flatnonzero(features.camids == 0), np.flatnonzero(features.camids == 1)
    found = distance_matrix(one, query, gallery, Metric("temporal", 0, "L1"))
    wanted = np.linalg.norm(features.parts[query, None, 2] - features.parts[None, gallery, 2], axis=-1)
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


def test_the_grid_of_lengths_mixes_probes_and_galleries():
    features, frames = make([6])
    split = protocols.make_split(features, PROTOCOL)
    grid = artifacts.length_grid(features, frames, PROTOCOL, split, Row("STAL"), lengths=(1, 3, None))
    assert grid.shape == (3, 3)
    whole = artifacts.score(features, PROTOCOL, split, Row("STAL")).cmc[0]
    assert grid[2, 2] == whole
    one = artifacts.shortened(features, frames, 1)
    mixed = replace(features, **{name: np.where((features.camids == 0).reshape(-1, *[1] * (getattr(one, name).ndim - 1)),
                                                getattr(one, name), getattr(features, name))
                                 for name in ("global_mean", "parts", "parts_mean", "attention")})
    assert grid[0, 2] == artifacts.score(mixed, PROTOCOL, split, Row("STAL")).cmc[0]
    assert len(np.unique(grid)) > 1


def values(rank1, std=None):
    curve = [min(1, rank1 + k / 40) for k in range(50)]
    return {"cmc": {str(rank): curve[rank - 1] for rank in (1, 5, 10, 20)}, "cmc_curve": curve, "mAP": rank1 / 2,
            "rank1_std": std}


OF_PAPER = {"dataset": "ilids", "test_dataset": None}
RESULTS = {
    "table3": {**OF_PAPER, "kind": "cmc", "splits": 10, "rows": {row.label: values(0.3 + k / 10, 0.02)
                                                     for k, row in enumerate(ARTIFACTS["table3"].rows)}},
    "fig8": {**OF_PAPER, "kind": "curve", "splits": 1, "curves": {"STAL": [[0.0, 0.25], [0.5, 0.5]]}},
    "fig11": {**OF_PAPER, "kind": "lengths", "splits": 1, "lengths": [1, "all"], "rank1": [[0.1, 0.2], [0.3, 0.4]]},
}


@pytest.mark.parametrize("name, lines", [
    ("table3", ["| STAL | 30.0 ± 2.0 | 40.0 | 52.5 | 77.5 | 15.0 | 82.8 | 95.3 | 97.7 | 98.8 | - |",
                "| QAN-style | 50.0 ± 2.0 | 60.0 | 72.5 | 97.5 | 25.0 | 68.0 | 86.6 | 95.4 | 97.4 | - |"]),
    ("fig8", ["| fusion rate | 0 | 0.5 |", "| rank-1 | 25.0 | 50.0 |"]),
    ("fig11", ["| 1 | 10 (55) | 20 (69) |", "| all | 30 (68) | 40 (82) |"])])
def test_results_are_written_beside_the_papers(name, lines, tmp_path):
    text = figures.markdown(ARTIFACTS[name], RESULTS[name])
    for line in lines:
        assert line in text.splitlines()
    elsewhere = figures.markdown(ARTIFACTS[name], {**RESULTS[name], "dataset": "synthetic"})
    assert "Measured on synthetic, " in elsewhere and ("no comparison" in elsewhere) == bool(ARTIFACTS[name].source)
    assert not any(number in elsewhere for number in ("82.8", "(55)", "paper:"))
    figures.draw(str(tmp_path / "figure"), ARTIFACTS[name], RESULTS[name])
    assert (tmp_path / "figure.png").read_bytes()[:4] == b"\x89PNG"
    with open(tmp_path / "figure.csv") as stream:
        table = [line.split(",") for line in stream.read().splitlines()]
    drawn = {"table3": ["1", "0.300000", "0.400000", "0.500000"], "fig8": ["STAL", "0.5", "0.500000"],
             "fig11": ["1", "all", "0.200000"]}[name]
    assert drawn in table
