"""data_prep/check.py: what is there, what is missing and where it belongs; the exit status says whether it suffices."""

import subprocess
import sys

import numpy as np
import pytest
import scipy.io

from data_prep import check, ilids_vid, synthetic
from stal.errors import InputError

FILES = {
    "ilids": ["i-LIDS-VID/sequences/cam1/person001/a.png", "i-LIDS-VID/sequences/cam2/person001/a.png"],
    "prid": [f"prid_2011/multi_shot/cam_{camera}/person_{person:04d}/{number:04d}.png"
             for camera in "ab" for person in (1, 2) for number in range(27)],
    "mars": ["bbox_train/0001/0001C1T0001F001.jpg", "bbox_test/0002/0002C1T0001F001.jpg"],
    "mpii": ["images/1.jpg", "mpii_human_pose_v1_u12_2/mpii_human_pose_v1_u12_1.mat"]}
NEEDED = {
    "ilids": ["i-LIDS-VID/sequences/cam1", "i-LIDS-VID/sequences/cam2"],
    "prid": ["prid_2011/multi_shot/cam_a", "prid_2011/multi_shot/cam_b"],
    "mars": ["bbox_train", "bbox_test", "info/tracks_train_info.mat", "info/tracks_test_info.mat", "info/query_IDX.mat"],
    "mpii": ["images", "mpii_human_pose_v1_u12_2/mpii_human_pose_v1_u12_1.mat"]}
NAMES = {"ilids": "iLIDS-VID", "prid": "PRID-2011", "mars": "MARS", "mpii": "MPII Human Pose"}


def tree(root, dataset):
    """Writes what a set needs, its pictures empty: they are counted, not read."""
    for name in FILES[dataset]:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")
    if dataset == "mars":
        (root / "info").mkdir()
        for side, row in (("train", [1, 1, 1, 1]), ("test", [1, 1, 2, 1])):
            scipy.io.savemat(root / f"info/tracks_{side}_info.mat", {f"track_{side}_info": np.array([row])})
        scipy.io.savemat(root / "info/query_IDX.mat", {"query_IDX": np.array([[1]])})
    return root


def said(capsys, root, dataset):
    """Exit status and lines of one data set."""
    status = check.main(["--dataset", dataset, "--root", str(root)])
    return status, capsys.readouterr().out.splitlines()


@pytest.mark.parametrize("dataset", FILES)
def test_a_set_with_everything_is_complete(tmp_path, capsys, dataset):
    status, lines = said(capsys, tree(tmp_path, dataset), dataset)
    assert status == 0 and lines[0] == f"{NAMES[dataset]} in {tmp_path}: everything needed is there"
    assert not any(line.split()[0] in ("MISSING", "WRONG") for line in lines)
    found = [line.split(maxsplit=1)[1] for line in lines if line.startswith("  found")]
    assert len(found) == len(NEEDED[dataset]) and all(map(str.startswith, found, NEEDED[dataset]))
    assert any("Note: " in line for line in lines)  # so few are not what is published
    assert lines[-1].startswith("  to do ") and f"--root {tmp_path} writes them" in lines[-1]


@pytest.mark.parametrize("dataset", FILES)
def test_an_empty_root_lacks_everything(tmp_path, capsys, dataset):
    for root in (tmp_path, tmp_path / "nowhere"):
        status, lines = said(capsys, root, dataset)
        assert status == 1 and lines[0].startswith(f"{NAMES[dataset]} in {root}: not complete; ")
        missing = [line for line in lines if line.startswith("  MISSING")]
        assert len(missing) == len(NEEDED[dataset])
        for line, name in zip(missing, NEEDED[dataset]):
            assert f" {root / name} is not there: " in line


@pytest.mark.parametrize("dataset, name", [(dataset, name) for dataset, names in NEEDED.items() for name in names])
def test_each_thing_that_is_needed_is_missed(tmp_path, capsys, dataset, name):
    path = tree(tmp_path, dataset) / name
    path.rename(tmp_path / "elsewhere")
    status, lines = said(capsys, tmp_path, dataset)
    assert status == 1 and [line for line in lines if "MISSING" in line][0].startswith(f"  MISSING   {path} is not there")
    if path.suffix != ".mat":
        path.mkdir()
        status, lines = said(capsys, tmp_path, dataset)
        assert status == 1 and any(line.startswith(f"  MISSING   {path} is empty: ") for line in lines)


def test_what_is_optional_changes_no_status(tmp_path, capsys):
    status, lines = said(capsys, tree(tmp_path, "prid"), "prid")
    optional = [line for line in lines if line.startswith("  optional")]
    assert status == 0 and len(optional) == 2 and "random halves are drawn" in optional[0] and "joints.csv" in optional[1]
    (tmp_path / "train-test people splits").mkdir()
    (tmp_path / "train-test people splits/train_test_splits_prid.mat").write_bytes(b"")
    (tmp_path / "joints.csv").write_text("")
    status, lines = said(capsys, tmp_path, "prid")
    assert status == 0 and not any(line.startswith("  optional") for line in lines)
    assert "  found     train-test people splits/train_test_splits_prid.mat" in lines


@pytest.mark.parametrize("dataset, name, sentence", [
    ("ilids", "i-LIDS-VID/sequences/cam3/eve/a.png", "eve is not named personNNN"),
    ("prid", "prid_2011/multi_shot/cam_b/eve/a.png", "eve is not named person_NNNN"),
    ("mars", "bbox_test/eve/a.jpg", "eve is not named NNNN or 00-1"),
    ("mars", "bbox_test/0001/0001C1T0001F001.jpg", "restore the missing images"),
    ("mars", "polluted.unfinished.json", "run data_prep/pollute.py again"),
])
def test_what_is_wrong_is_told_with_its_fix(tmp_path, capsys, dataset, name, sentence):
    path = tree(tmp_path, dataset) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("")
    status, lines = said(capsys, tmp_path, dataset)
    wrong = [line for line in lines if line.startswith("  WRONG")]
    assert status == 1 and len(wrong) == 1 and sentence in wrong[0]


def test_persons_below_the_rule_are_told(tmp_path, capsys):
    next(tree(tmp_path, "prid").rglob("cam_b/person_0002/0003.png")).unlink()
    status, lines = said(capsys, tmp_path, "prid")
    assert status == 1 and "has 1 persons with at least 27 frames in both cameras" in lines[-1]


def test_a_prepared_set_is_told(tmp_path, capsys):
    synthetic.main(["--root", str(tmp_path), "--identities", "2", "--length", "1", "1", "--workers", "1"])
    ilids_vid.main(["--root", str(tmp_path)])
    capsys.readouterr()
    status, lines = said(capsys, tmp_path, "ilids")
    assert status == 0 and "identities 2, tracklets 4" in "".join(lines)
    assert lines[-1].startswith("  prepared ") and lines[-1].endswith("has written them")
    (tmp_path / "test.csv").unlink()
    assert said(capsys, tmp_path, "ilids")[1][-1].endswith("writes them")


def test_all_sets_are_looked_for_under_data(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number, dataset in enumerate(FILES):
        assert check.main([]) == 1
        tree(tmp_path / "data" / dataset, dataset)
        printed = capsys.readouterr().out
        assert printed.count(": everything needed is there") == number and printed.count(": not complete;") == 4 - number
    assert check.main([]) == 0


def test_a_root_alone_is_refused():
    with pytest.raises(InputError, match="--root data needs --dataset"):
        check.main(["--root", "data"])


def test_it_runs_as_a_program_without_caffe(tmp_path):
    code = ("import sys; sys.modules['caffe'] = None; from data_prep import check; from stal.errors import run; "
            "run(check.main)")
    done = subprocess.run([sys.executable, "-c", code, "--dataset", "mars", "--root", str(tmp_path)], capture_output=True,
                          text=True)
    assert done.returncode == 1 and done.stderr == "" and "MISSING" in done.stdout
