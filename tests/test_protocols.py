"""Protocols: who is compared with whom, and what is said when a rule leaves nothing."""

import json

import numpy as np
import pytest

from stal import protocols
from stal.distance import Metric
from stal.errors import InputError
from stal.features import Features
from stal.protocols import PROTOCOLS, chosen_splits, evaluate, get_protocol, make_split, read_splits
from stal.rerank import Rerank

#             0  1  2  3   4  5  6  7
PIDS = [1, 1, 1, -1, 0, 2, 2, 3]
CAMIDS = [0, 1, 0, 1, 1, 0, 1, 0]
QUERY = [1, 0, 0, 0, 0, 1, 1, 1]


def features(pids=PIDS, camids=CAMIDS, query=QUERY, place=None):
    """Tracklets with a global feature of one channel: their place on a line."""
    count = len(pids)
    place = np.arange(count) if place is None else place
    parts = np.zeros((count, 1, 1), np.float32)
    return Features("toy", tuple(map(str, range(count))), np.array(pids), np.array(camids),
                    np.ones(count, np.int64), np.array(query, bool), np.array(place, np.float32)[:, None],
                    parts, parts, np.ones((count, 1), np.float32), {"feature_norm": "UNNORMALIZED"})


def write_splits(path, splits):
    path.write_text(json.dumps([{"train": train, "test": test} for train, test in splits]))
    return path


def test_mars_takes_every_row_as_gallery():
    split = make_split(features(), get_protocol("mars"))
    assert split.query.tolist() == [0, 5, 6, 7] and split.gallery.tolist() == list(range(8))


def test_mars_torchreid_takes_queries_and_junk_out_of_the_gallery():
    split = make_split(features(), get_protocol("mars-torchreid"))
    assert split.query.tolist() == [0, 5, 6, 7] and split.gallery.tolist() == [1, 2, 4]


def test_the_two_readings_of_mars_differ_as_published():
    """Under mars, queries 5 and 6 find each other; mars-torchreid takes their match and leaves them out."""
    f = features(place=[0, 2, 1, 0, 3, 10, 10, 20])
    official, = evaluate(f, PROTOCOLS["mars"], make_split(f, PROTOCOLS["mars"]), [Metric(fusion=np.inf)])
    # Query 0: row 1 at distance 2 is the nearest that is not junk. 5 and 6: each other's nearest. 7: nobody.
    assert (official.queries, official.queries_without_match, official.mAP) == (4, 1, 1)
    other, = evaluate(f, PROTOCOLS["mars-torchreid"], make_split(f, PROTOCOLS["mars-torchreid"]),
                      [Metric(fusion=np.inf)])
    assert (other.queries, other.queries_without_match, other.mAP) == (4, 3, 1)
    assert (official.ap, other.ap) == ("trapezoid", "rectangular")


@pytest.mark.parametrize("name", ["ilids", "prid"])
def test_two_cameras_compare_the_first_with_the_second(name):
    f = features(pids=[1, 1, 2, 2, 3, 3, 4], camids=[0, 1, 0, 1, 1, 0, 2])
    everybody = make_split(f, get_protocol(name), "all persons")
    assert everybody.query.tolist() == [0, 2, 5] and everybody.gallery.tolist() == [1, 3, 4]
    half = make_split(f, get_protocol(name), "0", {2, 3})
    assert half.query.tolist() == [2, 5] and half.gallery.tolist() == [3, 4]
    assert "left out: 3 tracklets of other persons, 0 of cameras beyond" in "\n".join(
        protocols.describe(f, get_protocol(name), half))


def test_evaluation_scores_the_chosen_rows():
    f = features(pids=[1, 1, 2, 2, 3, 3], camids=[0, 1, 0, 1, 0, 1], place=[0, 1, 2, 3, 4, 30])
    # The gallery is at 1, 3, 30. Query at 0: a hit. At 2: 1 and 3 tie, the wrong one first. At 4: 30 is last.
    protocol = get_protocol("ilids")
    scores, = evaluate(f, protocol, make_split(f, protocol), [Metric(fusion=np.inf)])
    np.testing.assert_allclose(scores.cmc[:3], [1 / 3, 2 / 3, 1])
    assert scores.mAP == pytest.approx((1 + 1 / 2 + 1 / 3) / 3)


def test_splits_are_chosen_by_index(tmp_path):
    path = write_splits(tmp_path / "splits.json", [([1], [2, 3]), ([2], [1])])
    ilids = get_protocol("ilids")
    assert chosen_splits(ilids, path) == [("0", {2, 3}, {1}), ("1", {1}, {2})]
    assert chosen_splits(ilids, path, "1") == chosen_splits(ilids, path, 1) == [("1", {1}, {2})]
    assert chosen_splits(ilids) == [("all persons", None, None)]
    assert chosen_splits(get_protocol("mars")) == [("fixed", None, None)]
    for split in ("2", "-1", "one"):
        with pytest.raises(InputError, match=f"--split {split} is not in .*splits 0 to 1"):
            chosen_splits(ilids, path, split)
    with pytest.raises(InputError, match="mars has one fixed split"):
        chosen_splits(get_protocol("mars"), path)
    with pytest.raises(InputError, match="needs --splits"):
        chosen_splits(ilids, None, "3")


@pytest.mark.parametrize("text,said", [
    ("", "JSON list"), ("{}", "JSON list"), ("[]", "no split"), ('[{"train": [1]}]', "split 0"),
    ('[{"train": [], "test": ["1"]}]', "split 0"), ('[{"train": [1], "test": []}]', "no test persons"),
    ('[{"train": [], "test": [1]}, {"train": [1, 2], "test": [2]}]', "split 1 .* pid 2 in train and test")])
def test_a_bad_splits_file_is_refused(tmp_path, text, said):
    (tmp_path / "splits.json").write_text(text)
    with pytest.raises(InputError, match=said) as caught:
        read_splits(tmp_path / "splits.json")
    assert "splits.json" in str(caught.value)
    with pytest.raises(InputError, match="absent.json"):
        read_splits(tmp_path / "absent.json")


@pytest.mark.parametrize("name,changes,test_pids,said", [
    ("mars", {"query": [0] * 8}, None, "query = 1.*marks none"),
    ("mars", {"camids": [0] * 8}, None, "skips gallery tracklets of the query's own camera.*camids: 0"),
    ("mars", {"pids": [1, 0, 0, 0, 0, 2, 3, 4]}, None, "own camera"),
    ("mars-torchreid", {"query": [1, 1, 1, 0, 1, 1, 1, 1]}, None, "leaves queries and pid -1 out"),
    ("mars-torchreid", {"pids": [1, 0, 0, 0, 0, 2, 3, 4]}, None, "no query's pid is in the gallery"),
    ("ilids", {"camids": [1] * 8}, None, "query tracklets from camid 0.*camids there: 1"),
    ("ilids", {"camids": [0] * 8}, None, "gallery tracklets from camid 1.*camids there: 0"),
    ("prid", {}, {3}, "gallery tracklets from camid 1.*split 0"),
    ("prid", {"pids": [1, 3, 1, -1, 0, 2, 4, 5]}, None, r"no query's pid is in the gallery \(pids 1, 2, 5\)"),
    ("ilids", {}, {1, 77, 78}, r"tests 2 pids that toy/tracklets.csv does not hold, 77, 78 \(it tests 3 in all\)"),
    ("prid", {}, set(range(70, 80)), "tests 10 pids that .* does not hold, 70, 71, 72, 73, 74 and 5 more")])
def test_an_empty_side_is_explained_by_its_rule(name, changes, test_pids, said):
    with pytest.raises(InputError, match=f"{said}") as caught:
        make_split(features(**changes), get_protocol(name), "0", test_pids)
    assert "toy/tracklets.csv" in str(caught.value) and "\n" not in str(caught.value)


def told(f, name, *split):
    return "\n".join(protocols.describe(f, get_protocol(name), make_split(f, get_protocol(name), *split)))


def test_queries_without_a_match_are_counted_and_named_with_the_rule():
    f = features(pids=[1, 1, 2, 2, 3, 9, 8, 4, 4], camids=[0, 1, 0, 0, 0, 0, 0, 0, 1], query=[1, 0, 1, 0, 1, 1, 1, 1, 0])
    split = make_split(f, get_protocol("mars-torchreid"))
    assert protocols.without_match(f, split) == ([4, 5, 6], [2])
    text = told(f, "mars-torchreid")
    assert ("  queries without a match, left out of the means: 3; the gallery does not hold their pid (pids 3, 8, 9)\n"
            in text)
    assert text.endswith("  queries without a match, left out of the means: 1; the rule skips the query's own camera, "
                         "and the gallery holds their pid under no other (pids 2)")
    scores, = evaluate(f, PROTOCOLS["mars-torchreid"], split, [Metric(fusion=np.inf)])
    assert (scores.queries, scores.queries_without_match) == (6, 4)
    assert "without a match" not in told(features(pids=[1, 1], camids=[0, 1], query=[1, 0]), "mars")
    junk = features(pids=[1, 1, -1, -1], camids=[0, 1, 0, 1], query=[1, 0, 1, 0])
    assert protocols.without_match(junk, make_split(junk, get_protocol("mars"))) == ([2], [])
    many = features(pids=[1, 1, *range(10, 17)], camids=[0, 1] + [0] * 7, query=[1, 0] + [1] * 7)
    assert "(pids 10, 11, 12, 13, 14 and 2 more)" in told(many, "mars")


def test_a_query_of_pid_0_is_spoken_of():
    f = features(pids=[0, 0, 0, 1], camids=[0, 1, 1, 1], query=[1, 0, 0, 0])
    assert "  queries of pid 0: 1; for them pid 0 under another camera is a match" in told(f, "mars")
    assert "queries of pid 0" not in told(features(), "mars")


def test_a_split_of_another_data_set_is_noticed():
    f = features(pids=[1, 1, 2, 2, 3, 3, -1, 0], camids=[0, 1, 0, 1, 0, 1, 1, 1])
    assert "neither half" not in told(f, "ilids", "0", {1}, {2, 3}) + told(f, "ilids")
    assert ("0 of cameras beyond the first two; 2 pids are in neither half of the split (2, 3): check that it is of this "
            "data set") in told(f, "ilids", "0", {1}, {50})


def test_camera_pairs_leave_out_the_query_itself():
    """Queries 0 and 3 are in the gallery at distance 0; what else there is of their pid and camera is the match."""
    f = features(pids=[1, 1, 1, 2, 2], camids=[0, 0, 1, 1, 0], query=[1, 0, 0, 1, 0], place=[0, 3, 1, 2, 9])
    mars, = evaluate(f, PROTOCOLS["mars"], make_split(f, PROTOCOLS["mars"]), [Metric(fusion=np.inf)], camera_pairs=True)
    # Query 0 at 0, camera 0: row 1 is behind row 3; camera 1: row 2 is first. Query 3 at 2, camera 0: row 4 is last.
    assert mars.pairs.queries.tolist() == [[1, 1], [1, 0]]
    np.testing.assert_allclose(mars.pairs.rank1, [[0, 1], [0, np.nan]])
    plain, = evaluate(f, PROTOCOLS["mars"], make_split(f, PROTOCOLS["mars"]), [Metric(fusion=np.inf)])
    assert plain.pairs is None and (plain.mAP, plain.tar) == (mars.mAP, mars.tar)


@pytest.mark.parametrize("name", ["mars", "mars-torchreid", "ilids"])
def test_reranking_by_the_old_distance_alone_changes_no_rank(name):
    rng = np.random.default_rng(0)
    f = features(pids=np.repeat(np.arange(20), 4), camids=np.tile([0, 1, 0, 1], 20), query=np.tile([1, 1, 0, 0], 20),
                 place=np.repeat(rng.standard_normal(20), 4) + rng.standard_normal(80) / 8)
    protocol, metric = get_protocol(name), Metric(fusion=np.inf)
    split = make_split(f, protocol)
    plain, = evaluate(f, protocol, split, [metric])
    same = protocols.evaluate_reranked(f, protocol, split, metric, Rerank(weight=1))
    assert (same.mAP, same.mINP, same.queries, same.ap) == (plain.mAP, plain.mINP, plain.queries, plain.ap)
    np.testing.assert_array_equal(same.cmc, plain.cmc)
    other = protocols.evaluate_reranked(f, protocol, split, metric, Rerank(k1=4, k2=2))
    assert other.mAP != plain.mAP


def test_reranking_gains_nothing_from_the_order_of_the_list():
    """All features equal, and the list in the order of the pids: that order as neighbours would score 0.019."""
    f = features(pids=np.repeat(np.arange(1, 41), 4), camids=np.tile([0, 1, 2, 3], 40), query=[1] * 160, place=[0] * 160)
    mars = get_protocol("mars")
    scores = protocols.evaluate_reranked(f, mars, make_split(f, mars), Metric(fusion=np.inf))
    assert scores.cmc[0] == 0 and scores.mAP < 0.015


def test_an_unknown_protocol_is_refused():
    with pytest.raises(InputError, match="no protocol 'market'.*mars, mars-torchreid, ilids, prid"):
        get_protocol("market")
