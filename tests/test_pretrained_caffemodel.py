"""data_prep/pretrained/caffemodel.py and arrays.py: old and new files, exact values, what is refused."""

import json
import struct

import caffe
import numpy as np
import pytest
from caffe.proto import caffe_pb2
from safetensors.numpy import save_file

from data_prep.pretrained import arrays, caffemodel
from stal.errors import InputError

RNG = np.random.default_rng(2)
LAYERS = {"conv1/7x7_s2": ("Convolution", [RNG.normal(size=(4, 3, 5, 5)).astype(np.float32),
                                           RNG.normal(size=4).astype(np.float32)]),
          "fc": ("InnerProduct", [RNG.normal(size=(2, 4)).astype(np.float32)])}
LEGACY = {"conv1/7x7_s2": [(4, 3, 5, 5), (1, 1, 1, 4)], "fc": [(1, 1, 2, 4)]}
NET = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 5 dim: 5 } } }
layer { name: "conv1/7x7_s2" type: "Convolution" bottom: "data" top: "a" convolution_param { num_output: 4 kernel_size: 5 } }
layer { name: "fc" type: "InnerProduct" bottom: "a" top: "b" inner_product_param { num_output: 2 bias_term: false } }
"""


def write_v1(path):
    """LAYERS as Caffe wrote them in 2014: V1LayerParameter, four numbers a shape; with a layer without blobs."""
    net = caffe_pb2.NetParameter()
    net.layers.add(name="relu", type=caffe_pb2.V1LayerParameter.RELU)
    kinds = {"Convolution": caffe_pb2.V1LayerParameter.CONVOLUTION, "InnerProduct": caffe_pb2.V1LayerParameter.INNER_PRODUCT}
    for name, (kind, blobs) in LAYERS.items():
        layer = net.layers.add(name=name, type=kinds[kind])
        for blob, shape in zip(blobs, LEGACY[name]):
            layer.blobs.add(num=shape[0], channels=shape[1], height=shape[2], width=shape[3], data=blob.ravel())
    path.write_bytes(net.SerializeToString())
    return path


def loaded(tmp_path, weights):
    """What Caffe itself makes of a weights file."""
    (tmp_path / "net.prototxt").write_text(NET)
    net = caffe.Net(str(tmp_path / "net.prototxt"), caffe.TEST)
    net.copy_from(str(weights))
    return {name: [blob.data.copy() for blob in blobs] for name, blobs in net.params.items()}


def same(found, wanted):
    return found.keys() == wanted.keys() and all(
        len(blobs) == len(found[name]) and all(np.array_equal(a, b) for a, b in zip(found[name], blobs))
        for name, blobs in wanted.items())


def test_what_is_written_is_read_and_loaded_by_caffe(tmp_path):
    path = tmp_path / "w.caffemodel"
    caffemodel.write(path, "some", LAYERS)
    wanted = {name: blobs for name, (_, blobs) in LAYERS.items()}
    read = caffemodel.read(path)
    assert same({name: layer.blobs for name, layer in read.items()}, wanted)
    assert [(layer.type, layer.legacy) for layer in read.values()] == [("Convolution", False), ("InnerProduct", False)]
    assert same(loaded(tmp_path, path), wanted)


def test_an_old_file_is_read_with_its_own_shapes(tmp_path):
    path = write_v1(tmp_path / "old.caffemodel")
    read = caffemodel.read(path)
    assert list(read) == ["relu", "conv1/7x7_s2", "fc"] and read["relu"].blobs == []
    for name, (_, blobs) in LAYERS.items():
        assert read[name].legacy and [blob.shape for blob in read[name].blobs] == LEGACY[name]
        assert all(np.array_equal(old.ravel(), blob.ravel()) for old, blob in zip(read[name].blobs, blobs))


def test_old_shapes_that_fit_are_those_that_caffe_takes(tmp_path):
    net = loaded(tmp_path, write_v1(tmp_path / "old.caffemodel"))  # Caffe ends the process if one does not fit
    for name, layer in caffemodel.read(tmp_path / "old.caffemodel").items():
        for wanted, blob in zip(net.get(name, []), layer.blobs):
            assert caffemodel.shape_equals(wanted.shape, blob.shape, legacy=True)
            assert np.array_equal(wanted.ravel(), blob.ravel())


@pytest.mark.parametrize("wanted, stored, legacy, fits", [
    ((4, 3), (4, 3), False, True), ((4, 3), (1, 1, 4, 3), False, False), ((4, 3), (1, 1, 4, 3), True, True),
    ((4,), (1, 1, 1, 4), True, True), ((4,), (4, 1, 1, 1), True, False), ((4, 3), (4, 3, 1, 1), True, False),
    ((4, 3, 1, 1), (4, 3, 1, 1), True, True), ((1, 1, 1, 1, 4), (1, 1, 1, 4), True, False), ((), (1, 1, 1, 1), True, True)])
def test_which_shapes_fit(wanted, stored, legacy, fits):
    assert caffemodel.shape_equals(wanted, stored, legacy) is fits


def test_double_values_are_read(tmp_path):
    net = caffe_pb2.NetParameter()
    blob = net.layer.add(name="a", type="Scale").blobs.add(double_data=[1.5, -2.0])
    blob.shape.dim.append(2)
    (tmp_path / "w").write_bytes(net.SerializeToString())
    read = caffemodel.read(tmp_path / "w")["a"].blobs[0]
    assert read.dtype == np.float32 and read.tolist() == [1.5, -2.0]


def test_differences_beside_the_values_are_passed_over(tmp_path):
    net = caffe_pb2.NetParameter()
    blob = net.layer.add(name="a", type="Scale").blobs.add(data=[1.5, -2.0], diff=[7.0, 8.0])
    blob.shape.dim.append(2)
    (tmp_path / "w").write_bytes(net.SerializeToString())
    assert caffemodel.read(tmp_path / "w")["a"].blobs[0].tolist() == [1.5, -2.0]


def test_files_that_are_no_weights_are_refused(tmp_path):
    path = tmp_path / "w.caffemodel"
    with pytest.raises(InputError, match="cannot read the weights"):
        caffemodel.read(path)
    caffemodel.write(path, "some", LAYERS)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(InputError, match="no .caffemodel, or cut short"):
        caffemodel.read(path)
    path.write_bytes(caffe_pb2.NetParameter(name="empty").SerializeToString())
    with pytest.raises(InputError, match="holds no weights"):
        caffemodel.read(path)
    net = caffe_pb2.NetParameter()
    net.layer.add(name="a").blobs.add(data=[1.0, 2.0]).shape.dim.append(3)
    path.write_bytes(net.SerializeToString())
    with pytest.raises(InputError, match=r"is damaged: the layer a has 2 numbers in the shape \(3,\)"):
        caffemodel.read(path)
    with pytest.raises(InputError, match="cannot write"):
        caffemodel.write(path / "below", "some", LAYERS)


# Arrays.

def test_npz_keeps_names_order_and_bits(tmp_path):
    odd = np.array([np.nan, -0.0, np.float32(1e-42), np.inf], np.float32)
    layers = {"inception_4c/1x1/bn": [odd, odd[:1]], "a:b": [np.float32(3).reshape(())], "file": [odd]}
    arrays.write_blobs(tmp_path / "a.npz", layers)
    assert list(np.load(tmp_path / "a.npz").keys()) == ["inception_4c/1x1/bn:0", "inception_4c/1x1/bn:1", "a:b:0", "file:0"]
    read = arrays.read_blobs(tmp_path / "a.npz")
    assert [(name, [(blob.shape, blob.tobytes()) for blob in blobs]) for name, blobs in read.items()] == \
        [(name, [(blob.shape, blob.tobytes()) for blob in blobs]) for name, blobs in layers.items()]
    arrays.write_blobs(tmp_path / "b.npz", layers)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


@pytest.mark.parametrize("blobs, sentence", [
    ({"a": np.zeros(2, np.float32)}, "has the key a, which is not LAYER:NUMBER"),
    ({"a:x": np.zeros(2, np.float32)}, "has the key a:x"), ({":0": np.zeros(2, np.float32)}, "has the key :0"),
    ({"a:0": np.zeros(2)}, "has float64 values in a:0"),
    ({"a:0": np.zeros(2, np.float32), "a:2": np.zeros(2, np.float32)}, r"has the blobs \[0, 2\] of the layer a"),
    ({"a:0": np.array([{}])}, "no .npz of plain arrays")])
def test_npz_files_of_another_kind_are_refused(tmp_path, blobs, sentence):
    np.savez(tmp_path / "a.npz", **blobs)
    with pytest.raises(InputError, match=sentence):
        arrays.read_blobs(tmp_path / "a.npz")


def test_a_state_dict_is_the_same_from_both_kinds_of_file(tmp_path):
    state = {"conv.weight": RNG.normal(size=(2, 3)), "half": np.array([1.5], np.float16), "count": np.array(7)}
    np.savez(tmp_path / "s.npz", **state)
    save_file(state, tmp_path / "s.safetensors")
    for name in ("s.npz", "s.safetensors"):
        read = arrays.read_state_dict(str(tmp_path / name))
        assert read.keys() == state.keys() and read["count"] == 7 and read["half"].dtype == np.float32
        assert np.array_equal(read["conv.weight"], state["conv.weight"].astype(np.float32))


def test_state_dicts_that_cannot_be_read_are_refused(tmp_path):
    for name, content, sentence in (("a.pth", b"x", "neither .npz nor .safetensors"),
                                    ("a.npz", b"x" * 99, "no .npz of plain"), ("a.safetensors", b"x" * 99, "is damaged"),
                                    ("b.npz", None, "cannot read"), ("b.safetensors", None, "cannot read")):
        if content:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=sentence):
            arrays.read_state_dict(str(tmp_path / name))
    for kind, size in (("BF16", 2), ("F8_E4M3", 1)):
        header = json.dumps({"a": {"dtype": kind, "shape": [3], "data_offsets": [0, 3 * size]}}).encode()
        (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(3 * size))
        with pytest.raises(InputError, match="of a type that NumPy has not .*: write it as float32"):
            arrays.read_state_dict(str(tmp_path / "a.safetensors"))
    np.save(tmp_path / "c.npy", np.zeros(3))
    (tmp_path / "c.npy").rename(tmp_path / "c.npz")
    with pytest.raises(InputError, match="no .npz of plain arrays"):
        arrays.read_state_dict(str(tmp_path / "c.npz"))
    np.savez(tmp_path / "d.npz", a=np.array([1.0, np.nan]))
    with pytest.raises(InputError, match="values in a that are not finite"):
        arrays.read_state_dict(str(tmp_path / "d.npz"))
