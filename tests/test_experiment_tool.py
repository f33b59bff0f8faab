"""tools/experiment.py on a tiny set: plans, trains what is missing, reuses what is there, measures, refuses."""

import json
import os

import pytest

from data_prep import ilids_vid, synthetic
from stal.errors import InputError
from stal.features import read_features
from tools import experiment, experiment_runs
from tools.experiment_runs import Dataset


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A synthetic set in iLIDS-VID's layout, 20 persons in two cameras."""
    root = tmp_path_factory.mktemp("data") / "tiny"
    synthetic.main(["--root", str(root), "--identities", "20", "--length", "2", "4", "--workers", "1"])
    return root


@pytest.fixture
def tiny(root, monkeypatch):
    """The set as a data set of the program, with the demo's small nets."""
    tiny = Dataset("synthetic", "demo", "ilids", str(root), ilids_vid, 10)
    monkeypatch.setitem(experiment_runs.DATASETS, "synthetic", tiny)
    return tiny


def run(out, name, *arguments):
    return experiment.main([name, "--dataset", "synthetic", "--out", str(out), *arguments])


def results(out, name):
    with open(out / "synthetic" / name / "results.json") as stream:
        return json.load(stream)


def test_a_table_is_trained_measured_and_recorded_and_its_runs_are_reused(tiny, tmp_path, capsys):
    run(tmp_path, "fig5", "--iterations", "2", "--splits", "0,1")
    found = results(tmp_path, "fig5")
    assert list(found["rows"]) == ["Baseline", "SAN", "STAL", "TAN"] and found["splits"] == 2  # sorted by JSON
    for row in found["rows"].values():
        assert 0 < row["cmc"]["1"] <= row["cmc"]["20"] == 1 and row["queries"] == 20 and row["rank1_std"] >= 0
    assert len(found["runs"]) == 2 and found["seed"] == 1
    (training,) = found["runs"][f"{tmp_path}/synthetic/runs/stal_2it/split1"]["training"]
    assert training["command"].startswith("caffe train") and training["commit"]
    assert found["command"].startswith("python tools/experiment.py fig5 --dataset synthetic")
    assert sorted(os.listdir(tmp_path / "synthetic" / "fig5")) == ["figure.csv", "figure.png", "results.json", "table.md"]
    assert "| STAL |" in capsys.readouterr().out
    weights = tmp_path / "synthetic/runs/stal_2it/split1/snapshot_iter_2.caffemodel"
    features = tmp_path / "synthetic/runs/stal_2it/split1/features/global.npy"
    before = os.stat(weights).st_mtime_ns, os.stat(features).st_mtime_ns
    assert not (features.parent / "frames").exists() and len(list(weights.parent.glob("snapshot*"))) == 1
    run(tmp_path, "fig8", "--iterations", "2", "--splits", "0,1")
    assert before == (os.stat(weights).st_mtime_ns, os.stat(features).st_mtime_ns)
    fig8 = results(tmp_path, "fig8")
    assert [x for x, _ in fig8["curves"]["STAL"]] == [rate / 10 for rate in range(11)]
    assert fig8["curves"]["STAL"][3][1] == found["rows"]["STAL"]["cmc"]["1"]  # the fusion rate of 0.3
    run(tmp_path, "fig11", "--iterations", "2")
    assert (tmp_path / "synthetic/runs/stal_2it/split0/features/frames").exists()
    grid = results(tmp_path, "fig11")["rank1"]
    assert len(grid) == 9 and {len(row) for row in grid} == {9}
    run(tmp_path, "fig7", "--iterations", "2")
    assert len(results(tmp_path, "fig7")["rows"]) == 7


def test_other_joints_other_weights_and_other_starts_are_other_runs(tiny, root, tmp_path, tmp_path_factory, capsys):
    run(tmp_path, "fig5", "--iterations", "2")
    folder = tmp_path / "synthetic/runs/stal_2it/split0"
    weights = folder / "snapshot_iter_2.caffemodel"
    first = weights.read_bytes()
    joints = root / "joints.csv"
    table = joints.read_text()
    try:
        head, *rows = table.splitlines(True)
        joints.write_text(head + "".join(row.replace(",", ",1", 1) for row in rows))  # another x of J1
        experiment_runs.prepare.cache_clear()
        run(tmp_path, "fig5", "--iterations", "2")
    finally:
        joints.write_text(table)
        experiment_runs.prepare.cache_clear()
    assert weights.read_bytes() != first and (folder / "replaced_1/snapshot_iter_2.caffemodel").read_bytes() == first
    copy = tmp_path / "start.caffemodel"
    copy.write_bytes(first)
    run(tmp_path, "fig5", "--iterations", "2", "--weights", f"stal={copy}")
    (started,) = tmp_path.glob("synthetic/runs/stal_2it_from_*/split0")
    assert f"-weights {copy}" in json.loads((started / "run.json").read_text())[0]["command"]
    capsys.readouterr()
    run(tmp_path, "fig5", "--iterations", "2", "--weights", str(copy), "--plan")
    assert f"{started}: trained" in capsys.readouterr().out


def test_variants_and_polluted_frames_are_runs_of_their_own(tiny, tmp_path):
    run(tmp_path, "table7", "--iterations", "2")
    assert sorted(os.listdir(tmp_path / "synthetic/runs")) == ["qan_2it_polluted", "stal_2it_polluted"]
    with open(tmp_path / "synthetic/runs/stal_2it_polluted/split0/train.prototxt") as stream:
        assert f"{tiny.root}_polluted/" in stream.read()
    run(tmp_path, "fig6", "--iterations", "2")
    rows = results(tmp_path, "fig6")["rows"]
    assert set(rows) == {"PGB", "PLB", "GB", "LB", "STAL without RAN", "STAL"}


def test_a_net_is_tested_on_another_data_set(tiny, tmp_path, tmp_path_factory, monkeypatch):
    other = tmp_path_factory.mktemp("prid") / "prid"
    synthetic.main(["--root", str(other), "--layout", "prid2011", "--identities", "6", "--length", "27", "28",
                    "--workers", "1"])
    monkeypatch.setitem(experiment_runs.DATASETS, "prid", experiment_runs.DATASETS["prid"]._replace(root=str(other)))
    run(tmp_path, "table6", "--iterations", "2", "--test-dataset", "prid")
    found = results(tmp_path, "table6")["rows"]
    assert set(found) == {"STAL", "QAN-style"} and found["STAL"]["queries"] == 3
    lists = read_features(tmp_path / "synthetic/runs/stal_2it/split0/features_prid").names
    assert all(name.startswith("cam_") for name in lists)


def test_a_plan_trains_nothing(tiny, tmp_path, capsys):
    run(tmp_path, "fig10", "--plan", "--iterations", "5", "--splits", "all")
    text = capsys.readouterr().out
    assert "90 training runs" in text and text.count("5 iterations") == 90 and not os.listdir(tmp_path)


@pytest.mark.parametrize("arguments, sentence", [
    (["fig4", "--dataset", "ilids"], "there is no table or figure 'fig4'"),
    (["table5", "--dataset", "ilids"], "table5 is measured on mars or synthetic, not on ilids"),
    (["table6", "--dataset", "ilids"], "table6 needs --test-dataset"),
    (["fig5", "--dataset", "ilids", "--test-dataset", "prid"], "no other experiment takes it"),
    (["fig5", "--dataset", "mars", "--splits", "3"], "mars has splits 0 to 0"),
    (["fig5", "--dataset", "ilids", "--splits", "first"], "ilids has splits 0 to 9"),
    (["fig5", "--dataset", "ilids", "--iterations", "0"], "--iterations 0 must be at least 1"),
    (["fig5", "--dataset", "ilids", "--seed", "-1"], "--seed -1 must be at least 0"),
    (["fig5", "--dataset", "ilids", "--weights", "none.caffemodel"], "there is no file none.caffemodel"),
    (["fig5", "--dataset", "ilids", "--weights", "pgb=none.caffemodel"], "trains no variant pgb")])
def test_wrong_requests_are_refused(arguments, sentence):
    with pytest.raises(InputError, match=sentence):
        experiment.main([*arguments, "--plan"])
