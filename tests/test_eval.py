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
    text = run(capsys, write(tmp_path / "x", noise=1), "--protocol", "mars", "--json", tmp_path / "r.json")
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
    assert sorted(result) == ["ap", "attention", "cmc", "cmc_curve", "feature_norm", "fusion", "mAP", "mINP",
                              "norm", "protocol", "queries", "queries_without_match", "splits", "tar_at_far"]
    assert (result["protocol"], result["attention"], result["fusion"], result["norm"], result["ap"]) == (
        "mars", "both", "inf", "L1", "trapezoid")
    assert (result["queries"], result["queries_without_match"]) == (24, 0)
    assert list(result["cmc"]) == ["1", "10", "20", "5"] and len(result["cmc_curve"]) == 50
    assert result["cmc"]["20"] == result["cmc_curve"][19]
    assert result["splits"]["std"] is None and len(result["splits"]["per_split"]) == 1
    assert result["tar_at_far"]["0.0001"] is None  # 24 x 47 pairs cannot tell


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
    for arguments in (["--attention", "some"], ["--fusion", "-1"], ["--fusion", "nan"]):
        with pytest.raises(InputError):
            main([str(tmp_path / "x"), "--protocol", "mars", *arguments])
