"""caffe-build/overlay.py on a tiny tree: what it copies, merges and refuses."""

import importlib.util
import os

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
UPSTREAM = "syntax = \"proto2\";\n\nmessage LayerParameter {\n  optional string name = 1;\n}\n\nmessage ClipParameter {\n}\n"


@pytest.fixture
def overlay(tmp_path, monkeypatch):
    """The module, its ROOT moved to a checkout with one layer and one message."""
    spec = importlib.util.spec_from_file_location("overlay", os.path.join(ROOT, "caffe-build", "overlay.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    layer = tmp_path / "checkout" / "layers" / "foo_bar"
    layer.mkdir(parents=True)
    for name in ("foo_bar_layer.hpp", "foo_bar_layer.cpp", "test_foo_bar_layer.cpp", "helper.hpp", "foo_bar_layer.py"):
        (layer / name).write_text(f"// {name}\n")
    (layer.parent / "layers.proto").write_text(
        "message LayerParameter {\n  optional FooBarParameter foo_bar_param = 5000;\n}\n\nmessage FooBarParameter {\n}\n")
    monkeypatch.setattr(module, "ROOT", str(tmp_path / "checkout"))
    return module


@pytest.fixture
def tree(tmp_path):
    """A Caffe source tree with the folders that an overlay writes into."""
    for folder in ("include/caffe/layers", "include/caffe/util", "src/caffe/layers", "src/caffe/test", "src/caffe/proto"):
        (tmp_path / "caffe" / folder).mkdir(parents=True)
    (tmp_path / "caffe" / "src/caffe/proto/caffe.proto").write_text(UPSTREAM)
    return tmp_path / "caffe"


def test_files_go_where_caffe_looks_for_them(overlay, tree):
    overlay.apply(str(tree), UPSTREAM)
    for path in ("include/caffe/layers/foo_bar_layer.hpp", "src/caffe/layers/foo_bar_layer.cpp",
                 "src/caffe/test/test_foo_bar_layer.cpp", "include/caffe/util/helper.hpp"):
        assert (tree / path).read_text() == f"// {os.path.basename(path)}\n"
    assert not list(tree.rglob("*.py"))


def test_messages_are_merged_and_appended(overlay, tree):
    overlay.apply(str(tree), UPSTREAM)
    proto = (tree / overlay.PROTO).read_text()
    inside = proto[proto.index("message LayerParameter"):proto.index("message ClipParameter")]
    assert "name = 1" in inside and "foo_bar_param = 5000" in inside
    assert proto.count("message LayerParameter") == 1 and "message FooBarParameter" in proto


def test_second_time_touches_nothing_and_follows_removals(overlay, tree, tmp_path):
    overlay.apply(str(tree), UPSTREAM)
    target = tree / "src/caffe/layers/foo_bar_layer.cpp"
    os.utime(target, (1, 1))
    overlay.apply(str(tree), UPSTREAM)
    assert target.stat().st_mtime == 1
    (tmp_path / "checkout/layers/foo_bar/helper.hpp").unlink()
    overlay.apply(str(tree), UPSTREAM)
    assert not (tree / "include/caffe/util/helper.hpp").exists()


def test_a_file_of_upstream_is_not_overwritten(overlay, tree):
    (tree / "src/caffe/layers/foo_bar_layer.cpp").write_text("// upstream's\n")
    with pytest.raises(SystemExit, match="would overwrite Caffe's own src/caffe/layers/foo_bar_layer.cpp"):
        overlay.apply(str(tree), UPSTREAM)
    assert (tree / "src/caffe/layers/foo_bar_layer.cpp").read_text() == "// upstream's\n"


def test_a_message_of_upstream_is_not_redefined(overlay):
    with pytest.raises(SystemExit, match="ClipParameter, which Caffe has"):
        overlay.merge_proto(UPSTREAM, "message LayerParameter {\n}\nmessage ClipParameter {\n}\n")
