"""No layer of any net falls back to the CPU in GPU mode, where Caffe would do so without a word."""

import json
import os
import re
import subprocess
import sys

import pytest

from prototxt.experiments import experiment, names
from prototxt.generate import KINDS

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
MOVE_NO_DATA = {"Flatten", "Input", "Reshape"}  # their tops share the bottoms' memory, wherever that is
NO_GRADIENT = {"VideoTripletData", "PoseInput", "HeatMaps", "Accuracy", "ArgMax"}
OWN_NAMES = {"Convolution": "CuDNNConvolution", "Deconvolution": "CuDNNDeconvolution"}


@pytest.fixture(scope="module")
def build():
    """The folder of the build whose kernels run on the CPU."""
    return subprocess.run([sys.executable, os.path.join(ROOT, "caffe-build", "build.py"), "--device", "emulated"],
                          stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


@pytest.fixture(scope="module")
def gpu_functions(build):
    """{(class, "Forward" or "Backward")} of the layers that have GPU code of their own for float."""
    symbols = subprocess.run(["nm", "-DC", "--defined-only", os.path.join(build, "lib", "libcaffe.so")],
                             stdout=subprocess.PIPE, text=True, check=True).stdout
    return set(re.findall(r" caffe::(\w+)Layer<float>::(Forward|Backward)_gpu\(", symbols))


@pytest.fixture(scope="module")
def types():
    """The layer types of all experiments' nets."""
    nets = [make(one.options) for one in map(experiment, names())
            for make in (KINDS[one.kind].train_net, KINDS[one.kind].deploy_net)]
    return {layer.type for net in nets for layer in net.layer}


def test_each_layer_has_gpu_code(types, gpu_functions):
    needed = {(OWN_NAMES.get(kind, kind), "Forward") for kind in types - MOVE_NO_DATA}
    needed |= {(name, "Backward") for name, _ in needed} - {(name, "Backward") for name in NO_GRADIENT}
    assert needed - gpu_functions == set()
    assert len(types) > 25


@pytest.fixture(scope="module")
def launches(build, tmp_path_factory):
    """What the demo net's training step asks of a GPU."""
    out = tmp_path_factory.mktemp("launches") / "launches.json"
    program = os.path.join(ROOT, "benchmarks", "gpu_launches.py")
    subprocess.run([sys.executable, program, "--experiment", "demo", "--frames", "2", "--out", str(out)], check=True,
                   stdout=subprocess.DEVNULL, env=dict(os.environ, OMP_NUM_THREADS="1"))
    return json.loads(out.read_text())


def test_a_training_step_copies_nothing_to_the_host(launches):
    assert [what for what in launches["copies"] if "device-to-host" in what] == []


def test_a_layer_takes_few_launches(launches):
    rows = {(part, kind): [calls / row[0] for calls in row[1:]]
            for part, kinds in launches["layers"].items() for kind, row in kinds.items()}
    assert rows["parts", "BatchNorm+Scale+ReLU"] == [1, 1]
