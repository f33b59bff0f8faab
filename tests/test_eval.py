"""tools/eval.py, from a feature directory to the text, the JSON and the plot."""

import json
import os
import re
import subprocess
import sys

import cv2
import numpy as np
import pytest

from stal import paper_numbers
from stal.errors import InputError
from stal.features import FeatureWriter
from stal.tracklets import Tracklet
from tools.eval import main

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
META = {"net": "toy", "weights_sha256": "w", "list_sha256": "l", "commit": "c", "attention_norm": "L1",
        "feature_norm": "UNNORMALIZED"}


def write(directory, noise=0.0, persons=24, meta=META, seed=0, parts=2, width=8):
    """Two cameras' tracklets of persons at random places; ``noise`` moves them there.

    The first ``parts`` parts and ``width`` channels of the global feature are kept.
    """
    rng = np.random.default_rng(seed)
    tracklets = [Tracklet(f"p{pid:02d}c{camid}", pid, camid, camid == 0, ("f",))
                 for pid in range(1, persons + 1) for camid in (0, 1)]
    place = rng.standard_normal((persons + 1, 3, 8))
    sizes = dict(parts=parts, global_width=width, part_width=8 if parts else 0)
    with FeatureWriter(directory, tracklets, meta=meta, **sizes) as writer:
        for index, tracklet in enumerate(tracklets):
            whole, *local = place[tracklet.pid] + noise * rng.standard_normal((3, 8))
            # The plain mean of the parts is worse than the weighted one.
            plain, scores = local + rng.standard_normal((2, 8)), rng.random(2) + 0.5
            writer.add(index, whole[:width], *(np.array(values)[:parts, :sizes["part_width"]] for values in (local, plain)),
                       scores[:parts])
    return str(directory)


def write_splits(path, splits):
    path.write_text(json.dumps([{"train": [], "test": test} for test in splits]))
    return str(path)


def run(capsys, *arguments):
    main([str(argument) for argument in arguments])
    return capsys.readouterr().out


def test_the_block_of_perfect_features_is_torchreids(tmp_path, capsys):
    directory = write(tmp_path / "x")
    for protocol in ("mars", "mars-torchreid", "ilids", "prid"):
        text = run(capsys, directory, "--protocol", protocol)
        assert ("Computing CMC and mAP ...\n** Results **\nmAP: 100.0%\nCMC curve\nRank-1  : 100.0%\n"
                "Rank-5  : 100.0%\nRank-10 : 100.0%\nRank-20 : 100.0%\nmINP: 100.0%\n") in text
        assert text.startswith(f"protocol {protocol} ")
        assert "queries: 24, of these without a match and left out: 0\n" in text


def test_torchreids_parser_finds_each_number_once(tmp_path, capsys):
    """The expressions of torchreid's tools/parse_test_res.py."""
    text = run(capsys, write(tmp_path / "x", noise=1), "--protocol", "mars", "--json", tmp_path / "r.json",
               "--camera-pairs", "--rerank")
    result = json.loads((tmp_path / "r.json").read_text())
    assert 0 < result["cmc"]["1"] < 1
    for expression, value in ((r"mAP: ([\.\deE+-]+)%", result["mAP"]),
                              (r"Rank-1  : ([\.\deE+-]+)%", result["cmc"]["1"]),
                              (r"Rank-5  : ([\.\deE+-]+)%", result["cmc"]["5"]),
                              (r"Rank-10 : ([\.\deE+-]+)%", result["cmc"]["10"]),
                              (r"Rank-20 : ([\.\deE+-]+)%", result["cmc"]["20"])):
        assert re.findall(expression, text) == [f"{100 * value:.1f}"]


def test_the_json_says_what_was_measured(tmp_path, capsys):
    run(capsys, write(tmp_path / "x", noise=1), "--protocol", "mars", "--json", tmp_path / "r.json",
        "--fusion", "inf")
    result = json.loads((tmp_path / "r.json").read_text())
    assert sorted(result) == ["ap", "attention", "cmc", "cmc_curve", "distance_at_far", "eer", "feature_norm", "fusion",
                              "mAP", "mINP", "norm", "protocol", "queries", "queries_without_match", "roc_curve",
                              "splits", "tar_at_far"]
    assert (result["protocol"], result["attention"], result["fusion"], result["norm"], result["ap"]) == (
        "mars", "both", "inf", "L1", "trapezoid")
    assert (result["queries"], result["queries_without_match"]) == (24, 0)
    assert list(result["cmc"]) == ["1", "10", "20", "5"] and len(result["cmc_curve"]) == 50
    assert result["cmc"]["20"] == result["cmc_curve"][19]
    assert result["splits"]["std"] is None and len(result["splits"]["per_split"]) == 1
    assert result["tar_at_far"]["0.0001"] is result["distance_at_far"]["0.0001"] is None  # 24 x 46 pairs cannot tell
    assert result["distance_at_far"]["0.001"] > 0 and 0 < result["eer"] < 1
    assert len(result["roc_curve"]["far"]) == len(result["roc_curve"]["tar"]) == 61


def test_camera_pairs_are_printed_and_written(tmp_path, capsys):
    directory = write(tmp_path / "x", noise=1)
    text = run(capsys, directory, "--protocol", "mars", "--camera-pairs", "--json", tmp_path / "r.json")
    result = json.loads((tmp_path / "r.json").read_text())
    pairs = result.pop("camera_pairs")
    # One match a query, in the other camera: the one cell that is filled is the whole result.
    assert pairs == {"cameras": [0, 1], "queries": [[0, 24], [0, 0]], "rank1": [[None, result["cmc"]["1"]], [None] * 2],
                     "AP": [[None, result["mAP"]], [None] * 2], "mean_rank1": result["cmc"]["1"],
                     "mean_AP": result["mAP"], "mean_cells": 1}
    assert 0 < result["mAP"] < 1
    assert re.search(rf"AP\n +0 +1\n  camid 0 +- +{100 * result['mAP']:.1f}\n  camid 1 +- +-\n"
                     "cells of two camids: 1, their mean: Rank-1", text)
    plain = run(capsys, directory, "--protocol", "mars", "--json", tmp_path / "plain.json")
    assert "camera pairs" in text and "camera pairs" not in plain
    assert result["splits"].pop("mean").pop("camera_pairs") == result["splits"]["per_split"][0].pop("camera_pairs")
    without = json.loads((tmp_path / "plain.json").read_text())
    del without["splits"]["mean"]
    assert result == without


@pytest.mark.parametrize("switches", [[], ["--attention", "both,none"]])
def test_reranking_stands_apart(tmp_path, capsys, switches):
    directory = write(tmp_path / "x", noise=1)
    arguments = [directory, "--protocol", "mars", *switches]
    plain = run(capsys, *arguments, "--json", tmp_path / "plain.json")
    text = run(capsys, *arguments, "--rerank", "--json", tmp_path / "r.json")
    before, after = text.split("k-reciprocal re-ranking (k1 20, k2 6, lambda 0.3), per cent; not in the results above")
    sentence = ("  re-ranking N = 48 tracklets takes 9.22e-06 GB for the N x N distances and up to 5.53e-05 GB for sets of "
                "neighbours\n")
    assert sentence in before and before.replace(sentence, "") == plain
    result = json.loads((tmp_path / "r.json").read_text())
    for entry in result["switches"].values() if switches else [result]:
        reranked = entry.pop("reranked")
        assert (reranked["k1"], reranked["k2"], reranked["lambda"]) == (20, 6, 0.3)
        assert reranked["mAP"] != entry["mAP"] and reranked["queries"] == entry["queries"]
        assert f"{100 * entry['mAP']:.1f}  {100 * reranked['mAP']:9.1f}" in after
    assert result == json.loads((tmp_path / "plain.json").read_text())


def test_reranking_refuses_before_the_work_what_does_not_fit(tmp_path, capsys):
    directory = write(tmp_path / "x")
    with pytest.raises(InputError, match="N = 48 tracklets .* more than the limit of 1e-05 GB: raise --rerank-memory"):
        main([directory, "--protocol", "mars", "--rerank", "--rerank-memory", "1e-5"])
    assert "mAP" not in capsys.readouterr().out
    for limit in ("nan", "0", "-1"):
        with pytest.raises(InputError, match=f"--rerank-memory {limit} is no limit"):
            main([directory, "--protocol", "mars", "--rerank-memory", limit])


def test_splits_give_mean_and_deviation(tmp_path, capsys):
    directory = write(tmp_path / "x", noise=1)
    splits = write_splits(tmp_path / "splits.json", [list(range(1, 13)), list(range(13, 25))])
    text = run(capsys, directory, "--protocol", "ilids", "--splits", splits, "--json", tmp_path / "all.json")
    both = json.loads((tmp_path / "all.json").read_text())
    single = []
    for split in (0, 1):
        run(capsys, directory, "--protocol", "ilids", "--splits", splits, "--split", split,
            "--json", tmp_path / "r.json")
        single.append(json.loads((tmp_path / "r.json").read_text()))
    for key in ("mAP", "mINP"):
        values = [one[key] for one in single]
        assert values[0] != values[1]
        assert both[key] == pytest.approx(np.mean(values))
        assert both["splits"]["std"][key] == pytest.approx(np.std(values, ddof=1))
        assert [one[key] for one in both["splits"]["per_split"]] == values
    assert both["queries"] == 24
    assert f"mAP: {both['mAP']:.1%}\n" in text and "2 splits, STAL, per cent" in text


def test_each_split_may_have_its_own_network(tmp_path, capsys):
    splits = write_splits(tmp_path / "splits.json", [list(range(1, 13)), list(range(13, 25))])
    write(tmp_path / "split_0" / "f")
    write(tmp_path / "split_1" / "f", noise=2)
    run(capsys, tmp_path / "split_{split}" / "f", "--protocol", "ilids", "--splits", splits,
        "--json", tmp_path / "r.json")
    result = json.loads((tmp_path / "r.json").read_text())
    assert [one["mAP"] == 1 for one in result["splits"]["per_split"]] == [True, False]
    with pytest.raises(InputError, match="--splits"):
        main([str(tmp_path / "split_{split}" / "f"), "--protocol", "ilids"])


def test_switches_side_by_side_are_the_switches_alone(tmp_path, capsys):
    directory = write(tmp_path / "x", noise=1)
    text = run(capsys, directory, "--protocol", "ilids", "--attention", "all",
               "--json", tmp_path / "all.json")
    switches = json.loads((tmp_path / "all.json").read_text())["switches"]
    assert re.search(r"Baseline +TAN +SAN +STAL\n", text)
    for switch in ("none", "temporal", "spatial", "both"):
        alone = run(capsys, directory, "--protocol", "ilids", "--attention", switch,
                    "--json", tmp_path / "r.json")
        assert json.loads((tmp_path / "r.json").read_text()) == switches[switch]
        assert f"mAP: {switches[switch]['mAP']:.1%}\n" in alone
    assert switches["temporal"]["mAP"] > switches["none"]["mAP"]
    run(capsys, directory, "--protocol", "ilids", "--attention", "both,none", "--json", tmp_path / "two.json")
    assert json.loads((tmp_path / "two.json").read_text())["switches"] == {
        switch: switches[switch] for switch in ("none", "both")}


def test_global_features_alone_are_scored_by_themselves(tmp_path, capsys):
    alone, both = write(tmp_path / "alone", noise=1, parts=0), write(tmp_path / "both", noise=1)
    run(capsys, both, "--protocol", "ilids", "--fusion", "inf", "--json", tmp_path / "both.json")
    wanted = json.loads((tmp_path / "both.json").read_text())
    for arguments in ((), ("--attention", "none"), ("--attention", "all"), ("--fusion", "inf")):
        text = run(capsys, alone, "--protocol", "ilids", "--json", tmp_path / "r.json", *arguments)
        result = json.loads((tmp_path / "r.json").read_text())
        assert (result["mAP"], result["cmc"], result["attention"]) == (wanted["mAP"], wanted["cmc"], "none")
        assert text.count(f"{alone} holds only global features: d_g alone decides") == 1
        assert "attention none (global)\n" in text and "this global" in text and "this Baseline" not in text
    for switch in ("both", "none,temporal"):
        with pytest.raises(InputError, match="alone holds only global features and no parts, so attention"):
            main([alone, "--protocol", "ilids", "--attention", switch])
    with pytest.raises(InputError, match="no part features.*--fusion"):
        main([alone, "--protocol", "ilids", "--fusion", "0"])


def test_part_features_alone_are_scored_under_all_switches(tmp_path, capsys):
    alone, both = write(tmp_path / "alone", noise=1, width=0), write(tmp_path / "both", noise=1)
    results = []
    for directory, fusion in ((alone, 0.3), (both, 0)):
        text = run(capsys, directory, "--protocol", "ilids", "--fusion", fusion, "--attention", "all",
                   "--json", tmp_path / "r.json")
        results.append(json.loads((tmp_path / "r.json").read_text())["switches"])
        assert text.count("holds only part features: d_l alone decides\n") == (directory == alone)
    assert results[0].keys() == results[1].keys() == {"none", "temporal", "spatial", "both"}
    for switch, result in results[0].items():
        assert result["cmc_curve"] == results[1][switch]["cmc_curve"]
    with pytest.raises(InputError, match="no global features.*--fusion"):
        main([alone, "--protocol", "ilids", "--fusion", "inf"])


def test_one_score_a_frame_is_not_called_by_the_papers_names(tmp_path, capsys):
    directory = write(tmp_path / "x", noise=1, parts=1)
    text = run(capsys, directory, "--protocol", "ilids", "--attention", "all")
    assert re.search(r"none +temporal +spatial +both\n", text) and "STAL " not in text.split("paper (")[0]
    assert "holds only" not in text


def test_splits_of_nets_with_other_branches_are_not_mixed(tmp_path):
    splits = write_splits(tmp_path / "splits.json", [list(range(1, 13)), list(range(13, 25))])
    write(tmp_path / "split_0" / "f", width=0)
    write(tmp_path / "split_1" / "f")
    with pytest.raises(InputError, match="split_1/f holds part and global features and .*split_0/f part features"):
        main([str(tmp_path / "split_{split}" / "f"), "--protocol", "ilids", "--splits", splits])


@pytest.mark.parametrize("key,value,said", [("feature_norm", "L2_UNIT", "features of feature_norm L2_UNIT and .*UNNORM"),
                                            ("attention_norm", "L2", "features trained with scores of norm L2 and .*L1")])
def test_splits_of_nets_with_other_norms_are_not_mixed(tmp_path, capsys, key, value, said):
    splits = write_splits(tmp_path / "splits.json", [list(range(1, 13)), list(range(13, 25))])
    write(tmp_path / "split_0" / "f")
    write(tmp_path / "split_1" / "f", meta={**META, key: value})
    arguments = [str(tmp_path / "split_{split}" / "f"), "--protocol", "ilids", "--splits", splits]
    with pytest.raises(InputError, match=f"split_1/f holds {said}"):
        main(arguments)
    if key == "attention_norm":  # which --norm replaces
        main([*arguments, "--norm", "L1"])


def test_the_norm_is_the_trained_one_unless_named(tmp_path, capsys):
    trained = write(tmp_path / "x", noise=1, meta={**META, "attention_norm": "L2"})
    other = write(tmp_path / "y", noise=1)
    results = []
    for arguments in ((trained,), (trained, "--norm", "L2"), (other, "--norm", "L2"), (other,)):
        run(capsys, *arguments, "--protocol", "mars", "--json", tmp_path / "r.json")
        results.append(json.loads((tmp_path / "r.json").read_text()))
    assert results[0] == results[1] == results[2] and results[0]["norm"] == "L2"
    assert results[3]["norm"] == "L1"


@pytest.mark.parametrize("protocol,source,row", [
    ("ilids", "paper (Table III): iLIDS-VID", r"Rank-1 +\d+\.\d +82\.8 +76\.7\n"),
    ("prid", "paper (Table IV): PRID-2011", r"Rank-20 +\d+\.\d +100\.0 +99\.6\n"),
    ("mars", "paper (Table V): MARS", r"mAP +\d+\.\d +73\.5 +64\.5 +50\.8\n")])
def test_the_papers_numbers_stand_beside(tmp_path, capsys, protocol, source, row):
    text = run(capsys, write(tmp_path / "x"), "--protocol", protocol)
    assert source in text and re.search(row, text)


def test_the_papers_numbers_are_all_there():
    rows = paper_numbers.read_paper_numbers()
    assert len(rows) == 297 and {row[0] for row in rows} == {"III", "IV", "V", "VI", "VII", "Fig.11"}
    assert ("VI", "iLIDS-VID->PRID-2011", "STAL", "rank1", 63.7) in rows
    assert paper_numbers.comparison("nothing") == (None, {})


def test_the_plot_is_a_picture_and_always_the_same(tmp_path, capsys):
    directory = write(tmp_path / "x", noise=1)
    for name in ("a.png", "b.png"):
        run(capsys, directory, "--protocol", "ilids", "--attention", "all", "--plot", tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert min(cv2.imread(str(tmp_path / "a.png")).shape[:2]) > 300


def test_wrong_input_ends_in_one_sentence(tmp_path):
    for arguments, said in ((["absent", "--protocol", "mars"], "there is no feature directory absent"),
                            ([write(tmp_path / "x"), "--protocol", "market"], "no protocol 'market'")):
        ended = subprocess.run([sys.executable, "tools/eval.py", *arguments], cwd=ROOT, capture_output=True,
                               text=True)
        assert ended.returncode == 1 and ended.stdout == ""
        assert ended.stderr.startswith("error: ") and said in ended.stderr and ended.stderr.count("\n") == 1
    for path in (tmp_path, "/proc/nowhere/r"):
        for option in ("--json", "--plot"):
            with pytest.raises(InputError, match=f"{path}.*name a"):
                main(["absent", "--protocol", "mars", option, str(path)])
    for arguments in (["--attention", "some"], ["--fusion", "-1"], ["--fusion", "nan"]):
        with pytest.raises(InputError):
            main([str(tmp_path / "x"), "--protocol", "mars", *arguments])


@pytest.mark.parametrize("name,value,said", [
    ("parts.npy", lambda array: array * np.nan, "parts.npy holds a value that is NaN.*for tracklet p01c0"),
    ("global.npy", lambda array: array[:-1], "global.npy holds float32 .47, 8., but tracklets.csv needs .* 48 rows"),
    ("parts_mean.npy", lambda array: array[:, :1], "parts_mean.npy holds .48, 1, 8., which does not go with parts.npy"),
    ("attention.npy", lambda array: array.astype(float), "attention.npy holds float64")])
def test_a_directory_whose_files_do_not_belong_together_is_refused(tmp_path, name, value, said):
    directory = write(tmp_path / "x")
    np.save(f"{directory}/{name}", value(np.load(f"{directory}/{name}")))
    with pytest.raises(InputError, match=said):
        main([directory, "--protocol", "ilids"])


def test_data_of_one_camera_and_splits_of_another_set_are_refused_with_the_rule(tmp_path, capsys):
    directory = write(tmp_path / "x")
    other = write_splits(tmp_path / "other.json", [[3, 100, 101]])
    with pytest.raises(InputError, match="split 0 tests 2 pids that .*tracklets.csv does not hold, 100, 101"):
        main([directory, "--protocol", "ilids", "--splits", other])
    known = write_splits(tmp_path / "known.json", [[3, 4]])
    assert "22 pids are in neither half of the split (1, 2, 5, 6, 7 and 17 more)" in run(
        capsys, directory, "--protocol", "ilids", "--splits", known)
    table = tmp_path / "x" / "tracklets.csv"
    table.write_text(re.sub(r"(p\d\dc1,\d+),1,", r"\1,0,", table.read_text()))
    with pytest.raises(InputError, match="gallery tracklets from camid 1.*camids there: 0"):
        main([directory, "--protocol", "ilids"])
    with pytest.raises(InputError, match="skips gallery tracklets of the query's own camera.*camids: 0"):
        main([directory, "--protocol", "mars"])


def test_queries_without_a_match_are_told(tmp_path, capsys):
    directory = write(tmp_path / "x")
    table = tmp_path / "x" / "tracklets.csv"
    table.write_text(re.sub(r"p0([12])c1,\d+,", r"p0\1c1,90\1,", table.read_text()))
    text = run(capsys, directory, "--protocol", "ilids")
    assert "queries without a match, left out of the means: 2; the gallery does not hold their pid (pids 1, 2)" in text
    assert "queries: 24, of these without a match and left out: 2\n" in text


def test_the_benchmark_at_the_size_of_mars_agrees_with_the_definitions(tmp_path):
    """The program of benchmarks/ on a fiftieth of the pids."""
    out = str(tmp_path / "r.json")
    ended = subprocess.run([sys.executable, "benchmarks/mars_eval.py", "--scale", "0.02", "--width", "4", "--out", out],
                           cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    with open(out, encoding="utf-8") as stream:
        cases = json.load(stream)["cases"]
    assert list(cases) == ["four switches", "mars-torchreid", "one metric", "re-ranking"]
    for case in ("one metric", "mars-torchreid"):
        assert 0 < cases[case]["mAP"] < 1 and cases[case]["largest_difference_from_the_definition"] < 1e-6
        assert f"{case} " in ended.stdout
    assert all(case["peak_GB"] > 0.01 and case["seconds"] > 0 for case in cases.values())
