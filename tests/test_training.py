"""stal/training.py: a run in a folder is written once, trained once, resumed, and started anew when its recipe changes."""

import json
import os

import pytest

from stal import training
from stal.errors import InputError
from stal.training import train, write_run

NET = """
layer { name: "data" type: "DummyData" top: "data" top: "wanted" dummy_data_param {
  shape { dim: 4 dim: 2 } shape { dim: 4 dim: 1 } data_filler { type: "constant" value: 1 } } }
layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc" inner_product_param { num_output: 1 } }
layer { name: "loss" type: "EuclideanLoss" bottom: "fc" bottom: "wanted" top: "loss" }
"""


def solver(folder, **changes):
    values = {"train_net": f'"{folder}/train.prototxt"', "base_lr": 0.01, "lr_policy": '"fixed"', "max_iter": 20,
              "snapshot": 10, "snapshot_prefix": f'"{folder}/snapshot"', "display": 5, "solver_mode": "CPU", **changes}
    return "".join(f"{key}: {value}\n" for key, value in values.items())


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "list.csv").write_text("a list")
    return str(tmp_path / "run")


def write(folder, net=NET, inputs=("list.csv",), **changes):
    write_run(folder, net, solver(folder, **changes), [os.path.join(os.path.dirname(folder), name) for name in inputs])


def test_a_run_is_trained_once(folder):
    write(folder)
    said = []
    weights = train(folder, 20, say=said.append)
    assert weights == f"{folder}/snapshot_iter_20.caffemodel" and said[0].startswith("training: caffe train -solver")
    with open(f"{folder}/train.log") as log:
        text = log.read()
    assert "Iteration 15" in text and os.path.getsize(f"{folder}/loss.png")
    times = os.stat(weights).st_mtime_ns
    write(folder)
    said.clear()
    assert train(folder, 20, say=said.append) == weights
    assert os.stat(weights).st_mtime_ns == times and not said


def test_an_interrupted_run_goes_on_from_its_last_snapshot(folder):
    write(folder)
    train(folder, 20)
    os.remove(f"{folder}/snapshot_iter_20.caffemodel")
    os.remove(f"{folder}/snapshot_iter_20.solverstate")
    with open(f"{folder}/snapshot_iter_19.solverstate", "w") as stream:
        stream.write("a state without its weights")
    said = []
    train(folder, 20, say=said.append)
    assert f"-snapshot {folder}/snapshot_iter_10.solverstate" in said[0]
    with open(f"{folder}/train.log") as log:
        assert log.read().count("Iteration 15 (") == 2  # the log of the first part is kept


@pytest.mark.parametrize("change", ["net", "solver", "input"])
def test_another_recipe_starts_anew(folder, change):
    write(folder)
    train(folder, 20)
    if change == "input":
        with open(os.path.join(os.path.dirname(folder), "list.csv"), "a") as stream:
            stream.write("!")
    write(folder, NET.replace("value: 1", "value: 2") if change == "net" else NET,
          **(dict(base_lr=0.02) if change == "solver" else {}))
    assert not [name for name in os.listdir(folder) if name.startswith("snapshot")]
    aside = os.listdir(os.path.join(folder, "replaced_1"))  # nothing is lost
    assert {"snapshot_iter_20.caffemodel", "snapshot_iter_20.solverstate", "recipe.json", "train.log"} <= set(aside)
    with open(f"{folder}/recipe.json") as stream:
        assert json.load(stream)["train.prototxt"].count("value: 2") == (change == "net")


def test_a_killed_change_of_recipe_leaves_no_recipe_over_another_net(folder, monkeypatch):
    write(folder)
    monkeypatch.setattr(training, "write_json", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        write(folder, NET.replace("value: 1", "value: 2"))
    monkeypatch.undo()
    write(folder)
    with open(f"{folder}/train.prototxt") as stream:
        assert stream.read() == NET


def test_only_a_finished_run_of_the_same_recipe_is_trained(folder):
    inputs = [os.path.join(os.path.dirname(folder), "list.csv")]
    assert not training.is_trained(folder, NET, solver(folder), inputs, 20)
    write(folder)
    assert not training.is_trained(folder, NET, solver(folder), inputs, 20)
    train(folder, 20)
    assert training.is_trained(folder, NET, solver(folder), inputs, 20)
    assert not training.is_trained(folder, NET, solver(folder, base_lr=0.5), inputs, 20)
    assert not training.is_trained(folder, NET, solver(folder), [*inputs, "missing"], 20)
    with open(f"{folder}/run.json") as stream:
        (start,) = json.load(stream)
    assert start["command"].startswith("caffe train -solver") and start["commit"] and start["threads"] and start["machine"]


def test_two_processes_do_not_train_in_one_folder(folder):
    write(folder)
    with training._alone(folder), pytest.raises(InputError, match="another process trains in"):
        train(folder, 20)


def test_weights_are_started_from(folder):
    write(folder)
    first = train(folder, 20)
    second = folder + "2"
    write_run(second, NET, solver(second, base_lr=0), [first])
    said = []
    train(second, 20, [first], said.append)
    assert said[0].endswith(f"-weights {first}")
    with open(first, "rb") as one, open(f"{second}/snapshot_iter_20.caffemodel", "rb") as other:
        assert one.read() == other.read()


def test_wrong_input_is_told(folder):
    with pytest.raises(InputError, match=r"cannot read .*missing.csv .* write it first"):
        write(folder, inputs=["missing.csv"])
    write(folder, NET.replace('"InnerProduct"', '"NoSuchLayer"'))
    with pytest.raises(InputError, match=r"NoSuchLayer.*; its log is .*train.log"):
        train(folder, 20)
