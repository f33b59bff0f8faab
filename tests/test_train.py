"""The program ``caffe train``: foreign weights refused, killed runs resumed exactly, whole snapshots."""

import os
import re
import signal
import subprocess
import sys
import time

import caffe
import numpy as np
import pytest
from caffe import layers as L
from caffe.proto import caffe_pb2

from data_prep import ilids_vid, synthetic
from prototxt.nets.layers import method_layer


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A prepared synthetic set of 8 persons."""
    root = tmp_path_factory.mktemp("data")
    synthetic.main(["--root", str(root), "--identities", "8", "--length", "3", "5", "--workers", "1"])
    ilids_vid.main(["--root", str(root)])
    return root


def write_net(path, data, layer="persons", outputs=4):
    """Writes a net with one layer to learn; returns the path."""
    spec = caffe.NetSpec()
    method_layer(spec, False, "VideoTripletData", "data", [], ["data", "label"], source=f"{data}/train.csv",
                 root_folder=f"{data}/", frames=2, new_height=32, new_width=16, scale=0.01)
    spec.pixels = L.Reshape(spec.data, shape=dict(dim=[-1, 2 * 3 * 32 * 16]))
    spec[layer] = L.InnerProduct(spec.pixels, num_output=outputs, weight_filler=dict(type="xavier"))
    spec.loss = L.SoftmaxWithLoss(spec[layer], spec.label)
    proto = spec.to_proto()
    proto.name = path.stem
    path.write_text(str(proto))
    return path


def write_solver(net, max_iter, snapshot=0, prefix="run"):
    """Writes a solver beside a net; snapshots get the prefix. Returns its path."""
    path = net.with_name(f"{prefix}_solver.prototxt")
    path.write_text(str(caffe_pb2.SolverParameter(
        net=str(net), base_lr=0.01, lr_policy="fixed", momentum=0.9, weight_decay=1e-3, max_iter=max_iter,
        snapshot=snapshot, snapshot_prefix=str(net.with_name(prefix)), random_seed=1,
        solver_mode=caffe_pb2.SolverParameter.CPU)))
    return path


def command(solver, *arguments):
    return [os.path.join(sys.prefix, "bin", "caffe"), "train", "-solver", str(solver), *map(str, arguments)]


ENVIRONMENT = {**os.environ, "GLOG_logtostderr": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def train(*arguments):
    return subprocess.run(command(*arguments), capture_output=True, text=True, env=ENVIRONMENT, timeout=60)


def refused(done, sentence):
    """A program that ended with one sentence on stderr and no trace."""
    assert done.returncode == 1
    assert "stack trace" not in done.stderr and "terminate called" not in done.stderr
    assert re.search(sentence, done.stderr.splitlines()[-1])


@pytest.mark.parametrize("layer, outputs, sentence", [
    ("colours", 4, "None of the 1 layers with weights in the file of net 'other' has the name of a layer "
                   "of net 'net': give the weights of this net"),
    ("persons", 5, "Cannot copy param 0 weights from layer 'persons'; shape mismatch. *Source param shape "
                   "is 5 3072 .*; target param shape is 4 3072 "),
])
def test_weights_of_another_net_are_refused(tmp_path, data, layer, outputs, sentence):
    other = caffe.Net(str(write_net(tmp_path / "other.prototxt", data, layer, outputs)), caffe.TRAIN)
    other.save(str(tmp_path / "other.caffemodel"))
    solver = write_solver(write_net(tmp_path / "net.prototxt", data), 1)
    refused(train(solver, "-weights", tmp_path / "other.caffemodel"), sentence)
    assert not list(tmp_path.glob("run_iter*"))


@pytest.mark.parametrize("content", [b"", b"hello world, these are no weights\n"])
def test_a_file_without_weights_is_refused(tmp_path, data, content):
    (tmp_path / "no.caffemodel").write_bytes(content)
    solver = write_solver(write_net(tmp_path / "net.prototxt", data), 1)
    refused(train(solver, "-weights", tmp_path / "no.caffemodel"),
            "(None of the 0 layers with weights|Failed to parse NetParameter file: .*no.caffemodel)")
    assert not list(tmp_path.glob("run_iter*"))


def test_weights_of_the_net_are_taken(tmp_path, data):
    path = write_net(tmp_path / "net.prototxt", data)
    net = caffe.Net(str(path), caffe.TRAIN)
    net.params["persons"][0].data[...] = 0.25
    net.save(str(tmp_path / "own.caffemodel"))
    done = train(write_solver(path, 0), "-weights", tmp_path / "own.caffemodel")
    assert done.returncode == 0, done.stderr
    assert (weights(tmp_path / "run_iter_0.caffemodel")[0] == 0.25).all()


def weights(path):
    """The blobs of a .caffemodel."""
    net = caffe_pb2.NetParameter.FromString(path.read_bytes())
    return [np.array(blob.data, np.float32) for layer in net.layer for blob in layer.blobs]


def iterations(folder, suffix):
    """Iterations of the snapshots that are there."""
    return sorted(int(path.stem.removeprefix("run_iter_")) for path in folder.glob(f"run_iter_*.{suffix}"))


def test_a_killed_run_resumes_to_the_end_of_the_unbroken_one(tmp_path, data):
    net = write_net(tmp_path / "net.prototxt", data)
    killed = subprocess.Popen(command(write_solver(net, 10 ** 8, snapshot=7)), env=ENVIRONMENT,
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while len(iterations(tmp_path, "solverstate")) < 3:
            assert killed.poll() is None, "the run must not end by itself"
            time.sleep(0.002)
    finally:
        killed.kill()
        killed.wait()
    assert killed.returncode == -signal.SIGKILL
    last = iterations(tmp_path, "solverstate")[-1]
    assert last in iterations(tmp_path, "caffemodel")
    end = last + 10
    done = train(write_solver(net, end), "-snapshot", tmp_path / f"run_iter_{last}.solverstate")
    assert done.returncode == 0, done.stderr
    done = train(write_solver(net, end, prefix="unbroken"))
    assert done.returncode == 0, done.stderr
    resumed, unbroken = (tmp_path / f"{prefix}_iter_{end}.caffemodel" for prefix in ("run", "unbroken"))
    assert resumed.read_bytes() == unbroken.read_bytes()
    before = weights(tmp_path / f"run_iter_{last}.caffemodel")
    assert not any(np.array_equal(a, b) for a, b in zip(before, weights(resumed), strict=True))


@pytest.mark.parametrize("killed", [True, False], ids=["killed", "no room"])
def test_a_snapshot_that_cannot_be_finished_leaves_the_last_whole_one(tmp_path, data, killed):
    solver = write_solver(write_net(tmp_path / "net.prototxt", data), 2)
    assert train(solver).returncode == 0
    whole = {path.name: path.read_bytes() for path in tmp_path.glob("run_iter_*")}
    assert sorted(whole) == ["run_iter_2.caffemodel", "run_iter_2.solverstate"]
    # A process that writes past its limit gets SIGXFSZ, which kills it, or where that is ignored an error.
    limit = len(whole["run_iter_2.caffemodel"]) // 2048  # KiB
    done = subprocess.run(["bash", "-c", 'ulimit -c 0 -f "$0"; exec "$@"', str(limit), *command(solver)],
                          capture_output=True, text=True, env=ENVIRONMENT, timeout=60, restore_signals=killed)
    if killed:
        assert done.returncode == -signal.SIGXFSZ
    else:
        refused(done, r"Cannot write \S*run_iter_2.caffemodel: does its folder exist, and is there room")
    assert (tmp_path / "run_iter_2.caffemodel.part").stat().st_size <= 1024 * limit
    (tmp_path / "run_iter_2.caffemodel.part").unlink()
    assert {path.name: path.read_bytes() for path in tmp_path.glob("run_iter_*")} == whole
