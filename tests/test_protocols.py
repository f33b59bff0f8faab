"""Protocols: who is compared with whom, and what is said when a rule leaves nothing."""

import json

import numpy as np
import pytest

from stal import protocols
from stal.distance import Metric
from stal.errors import InputError
from stal.features import Features
from stal.protocols import PROTOCOLS, chosen_splits, evaluate, get_protocol, make_split, read_splits

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
    assert chosen_splits(ilids, path) == [("0", {2, 3}), ("1", {1})]
    assert chosen_splits(ilids, path, "1") == chosen_splits(ilids, path, 1) == [("1", {1})]
    assert chosen_splits(ilids) == [("all persons", None)]
    assert chosen_splits(get_protocol("mars")) == [("fixed", None)]
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
    ("prid", {"pids": [1, 3, 1, -1, 0, 2, 4, 5]}, None, "no query's pid is in the gallery"),
    ("ilids", {}, {1, 77, 78}, "tests 2 pids that toy/tracklets.csv does not hold, 77")])
def test_an_empty_side_is_explained_by_its_rule(name, changes, test_pids, said):
    with pytest.raises(InputError, match=f"{said}") as caught:
        make_split(features(**changes), get_protocol(name), "0", test_pids)
    assert "toy/tracklets.csv" in str(caught.value) and "\n" not in str(caught.value)


def test_an_unknown_protocol_is_refused():
    with pytest.raises(InputError, match="no protocol 'market'.*mars, mars-torchreid, ilids, prid"):
        get_protocol("market")
