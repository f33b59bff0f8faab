"""data_prep/weights.py: its commands from end to end, and the table of the README."""

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from data_prep import weights
from data_prep.pretrained import caffemodel, net_shapes, registry
from data_prep.pretrained.names import is_trunk, trunk_of
from prototxt import experiments
from stal.caffe_net import _options, _recipe, read_weights
from stal.errors import InputError

ROOT = Path(__file__).parents[1]
DEMO = str(ROOT / "prototxt/train_demo.prototxt")


def random_layers(shapes, names, seed=4):
    rng = np.random.default_rng(seed)
    return {name: (shapes.types[name], [rng.normal(size=shape).astype(np.float32) for shape in shapes.params[name]])
            for name in names}


@pytest.fixture(scope="module")
def demo():
    return net_shapes.read(DEMO)


@pytest.fixture(scope="module")
def published(demo, tmp_path_factory):
    """Random weights of the demo net's trunk, with a classifier of their own."""
    path = tmp_path_factory.mktemp("published") / "published.caffemodel"
    layers = random_layers(demo, filter(is_trunk, demo.params))
    layers["classifier_global"] = ("InnerProduct", [np.zeros((1000, 8), np.float32)])
    layers["loss3/classifier"] = ("InnerProduct", [np.zeros((10, 8), np.float32)])
    caffemodel.write(path, "published", layers)
    return str(path)


@pytest.fixture(scope="module")
def trunk_only(demo, tmp_path_factory):
    path = tmp_path_factory.mktemp("trunk") / "trunk.caffemodel"
    caffemodel.write(path, "trunk", random_layers(demo, filter(is_trunk, demo.params)))
    return str(path)


def run(*arguments):
    weights.main([str(argument) for argument in arguments])


# list and fetch.

def test_the_readme_has_the_table_of_the_registry():
    readme = (ROOT / "data_prep/README.md").read_text(encoding="utf-8")
    assert registry.markdown() in readme


def test_the_registry_is_whole(capsys):
    run("list")
    text = capsys.readouterr().out
    run("list", "--markdown")
    assert capsys.readouterr().out.rstrip("\n") == registry.markdown()
    assert len({model.name for model in registry.MODELS}) == len(registry.MODELS)
    for model in registry.MODELS:
        assert registry.NETS[model.net].replace("DATA", "ilids") in experiments.names()
        told = model.name, model.file, model.net, model.licence, model.note, registry.hash_text(model), *model.urls
        assert all(part in text for part in told)
        if model.hash:
            kind, value = model.hash
            assert {"sha1": 40, "git blob": 40, "sha256": 64}[kind] >= len(value) >= (8 if kind == "sha256" else 40)
            assert set(value) <= set("0123456789abcdef")
        if model.file.endswith(".pth"):  # PyTorch's convention: its name ends with the first digits of its sha256
            assert model.hash == ("sha256", model.file[:-4].rpartition("-")[2])


def test_list_and_help_need_no_caffe():
    code = ("import sys\nfrom data_prep import weights\nweights.main(['list'])\n"
            "assert not any(name.split('.')[0] == 'caffe' for name in sys.modules)")
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True)


def test_fetch_takes_a_file_of_the_users(tmp_path, monkeypatch, capsys):
    (tmp_path / "mine").write_bytes(b"weights")
    model = registry.Model("some", "inception_bn", "some.caffemodel", "7 bytes", (),
                           ("sha1", hashlib.sha1(b"weights").hexdigest()), "MIT", "somebody")
    monkeypatch.setattr(registry, "MODELS", (model,))
    run("fetch", "some", "--file", tmp_path / "mine", "--out", tmp_path / "out")
    assert (tmp_path / "out/some.caffemodel").read_bytes() == b"weights"
    out = capsys.readouterr().out
    assert "licence MIT; source somebody" in out and "as published\nFor the net inception_bn (" in out
    with pytest.raises(InputError, match="no published model other: take one of some"):
        run("fetch", "other")


# check and init.

def test_check_prints_the_table_and_passes(trunk_only, demo, capsys):
    run("check", "--net", DEMO, "--weights", trunk_only)
    lines = capsys.readouterr().out.splitlines()
    trunk = sum(map(is_trunk, demo.params))
    assert lines[-1] == f"Layers: {trunk} copied, {len(demo.params) - trunk} random start"
    assert len(lines) == len(demo.params) + 1


def test_check_ends_with_1_on_weights_of_another_net(published, tmp_path):
    def ended(path):
        return subprocess.run([sys.executable, "data_prep/weights.py", "check", "--net", DEMO, "--weights", path], cwd=ROOT,
                              capture_output=True, text=True)

    fatal = ended(published)
    assert fatal.returncode == 1 and "FATAL" in fatal.stdout and fatal.stderr.startswith("error: Caffe stops at ")
    caffemodel.write(tmp_path / "other", "other", {"fc": ("InnerProduct", [np.zeros((2, 2), np.float32)])})
    other = ended(tmp_path / "other")
    assert other.returncode == 1 and "layers of the trunk of" in other.stderr and "Traceback" not in other.stderr


@pytest.mark.parametrize("parts", ["copy", "xavier"])
def test_init_writes_what_a_training_starts_from(published, demo, tmp_path, parts, capsys):
    out = tmp_path / "init.caffemodel"
    run("init", "--net", DEMO, "--weights", published, "--out", out, "--parts", parts)
    assert "1 left out, 1 ignored" in capsys.readouterr().out
    start, given = caffemodel.read(out), caffemodel.read(published)
    copies = [name for name in demo.params if trunk_of(name)] if parts == "copy" else []
    assert sorted(start) == sorted([*filter(is_trunk, demo.params), *copies])
    for name, layer in start.items():
        source = given[trunk_of(name) or name]
        assert layer.type == demo.types[name]
        assert all(np.array_equal(a, b) for a, b in zip(layer.blobs, source.blobs, strict=True))
    run("check", "--net", DEMO, "--weights", out)
    run("init", "--net", DEMO, "--weights", published, "--out", tmp_path / "again", "--parts", parts)
    assert out.read_bytes() == (tmp_path / "again").read_bytes()


def test_init_gives_old_blobs_the_net_s_shapes(demo, trunk_only, tmp_path):
    net = caffemodel.caffe_pb2.NetParameter()
    for name, layer in caffemodel.read(trunk_only).items():
        old = net.layers.add(name=name)
        for blob in layer.blobs:
            shape = (1,) * (4 - blob.ndim) + blob.shape
            old.blobs.add(num=shape[0], channels=shape[1], height=shape[2], width=shape[3], data=blob.ravel())
    (tmp_path / "old").write_bytes(net.SerializeToString())
    for path, out in ((tmp_path / "old", tmp_path / "a"), (trunk_only, tmp_path / "b")):
        run("init", "--net", DEMO, "--weights", path, "--out", out)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_init_writes_nothing_when_the_trunk_is_not_filled(demo, tmp_path):
    names = [name for name in demo.params if is_trunk(name)][:-1]
    caffemodel.write(tmp_path / "w", "w", random_layers(demo, names))
    with pytest.raises(InputError, match="leaves 1 of the"):
        run("init", "--net", DEMO, "--weights", tmp_path / "w", "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


# export and import.

def test_there_and_back_the_values_stay_the_same(trunk_only, tmp_path, capsys):
    run("export", trunk_only, tmp_path / "a.npz")
    run("import", tmp_path / "a.npz", tmp_path / "b.caffemodel", "--net", DEMO)
    run("export", tmp_path / "b.caffemodel", tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    before, after = caffemodel.read(trunk_only), caffemodel.read(tmp_path / "b.caffemodel")
    stored = [[(name, layer.type, [blob.tobytes() for blob in layer.blobs]) for name, layer in layers.items() if layer.blobs]
              for layers in (before, after)]
    assert stored[0] == stored[1]


def test_an_imported_file_says_how_frames_are_prepared(trunk_only, tmp_path):
    """As one of caffe train does: the training net is in it."""
    run("export", trunk_only, tmp_path / "a.npz")
    run("import", tmp_path / "a.npz", tmp_path / "b.caffemodel", "--net", DEMO)
    recipe = _recipe(_options(read_weights(tmp_path / "b.caffemodel")))
    assert (recipe.mean, recipe.scale) == ((104, 117, 123), 1 / 64)
    assert (recipe.attention_norm, recipe.feature_norm) == ("L2", "L2_UNIT")


@pytest.mark.parametrize("changes, sentence", [
    ({"foreign:0": np.zeros(3, np.float32)}, "the blobs 3 for the layer foreign and .* has none"),
    ({"conv1/7x7_s2:0": np.zeros((1, 3, 7, 7), np.float32)}, "the blobs 1x3x7x7 for the layer conv1/7x7_s2"),
    ({"conv1/7x7_s2:1": np.zeros(3, np.float32)}, "for the layer conv1/7x7_s2")])
def test_import_takes_the_net_s_layers_only(trunk_only, tmp_path, changes, sentence):
    run("export", trunk_only, tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz", **{**np.load(tmp_path / "a.npz"), **changes})
    with pytest.raises(InputError, match=sentence):
        run("import", tmp_path / "b.npz", tmp_path / "out", "--net", DEMO)
    assert not (tmp_path / "out").exists()


def test_old_blobs_are_exported_as_they_are_and_come_back(demo, tmp_path):
    scale = next(name for name in demo.params if demo.types[name] == "Scale")
    channels = demo.params[scale][0][0]
    net = caffemodel.caffe_pb2.NetParameter()
    layer = net.layers.add(name=scale)
    for start in (0, 100):
        layer.blobs.add(num=1, channels=1, height=1, width=channels, data=range(start, start + channels))
    (tmp_path / "old").write_bytes(net.SerializeToString())
    run("export", tmp_path / "old", tmp_path / "a.npz")
    assert np.load(tmp_path / "a.npz")[f"{scale}:1"].shape == (1, 1, 1, channels)
    run("import", tmp_path / "a.npz", tmp_path / "new", "--net", DEMO)
    assert [blob.tolist() for blob in caffemodel.read(tmp_path / "new")[scale].blobs] == \
        [list(range(channels)), list(range(100, 100 + channels))]
