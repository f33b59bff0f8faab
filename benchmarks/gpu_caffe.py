"""Caffe's side of gpu_step.py, which starts it; no program of its own.

    python benchmarks/gpu_caffe.py FOLDER step|extract --device gpu|cpu

FOLDER holds net.prototxt, solver.prototxt and inputs.npz. It builds the net on the CPU, leaves its weights there
(plain_net.write), moves to the device and prints a line of JSON: versions, shapes. Then for each number n that it reads
it runs n times and prints {"ms": of one, "norms": {output: L2 norm}}; for "layers n", {"layers": [[name, type, forward
ms, backward ms], ...]}, each layer alone with the device waited for, medians of n.
"""

import argparse
import ctypes
import json
import os
import resource
import statistics
import sys
import time

os.environ.setdefault("GLOG_minloglevel", "2")  # before caffe

import caffe  # noqa: E402
import numpy as np  # noqa: E402

import plain_net  # noqa: E402
from passes import passes  # noqa: E402
from stal.caffe_net import read_prototxt  # noqa: E402

SEED = 1


class Device:
    """A GPU through CUDA's driver, which knows the context that Caffe made; on a CPU there is nothing to wait for."""

    def __init__(self, kind):
        self._driver = None
        if kind == "gpu":
            caffe.set_device(0)
            caffe.set_mode_gpu()
            self._driver = ctypes.CDLL("libcuda.so.1")
        else:
            caffe.set_mode_cpu()

    def wait(self):
        """Until all that was started is done."""
        status = self._driver.cuCtxSynchronize() if self._driver else 0
        if status:
            sys.exit(f"CUDA failed with status {status}")


class Step:
    """Forward, backward and update."""

    def __init__(self, folder):
        self._solver = caffe.get_solver(os.path.join(folder, "solver.prototxt"))
        self.net = self._solver.net

    def run(self, times):
        self._solver.step(times)


class Extraction:
    """Forward of a net in test mode, its outputs copied to the host."""

    def __init__(self, folder):
        self.net = caffe.Net(os.path.join(folder, "net.prototxt"), caffe.TEST)
        for blobs in self.net.params.values():
            if len(blobs) == 3:  # a BatchNorm that has seen no batch: mean 0, variance 1
                for blob, value in zip(blobs, (0, 1, 1)):
                    blob.data[...] = value

    def run(self, times):
        for _ in range(times):
            self.net.forward()


def layer_times(net, device, times, backward):
    """[[name, type, forward ms, backward ms], ...], medians of ``times`` passes; layers that a net runs in one pass as one,
    under the first one's name."""
    spans = passes([layer.type for layer in net.layers])
    ms = [[[] for _ in range(1 + backward)] for _ in spans]
    for _ in range(times):
        net.clear_param_diffs()
        for direction in range(1 + backward):
            for number in range(len(spans))[::-1 if direction else 1]:
                first, last, _ = spans[number]
                device.wait()
                start = time.perf_counter()
                if direction:
                    net._backward(last, first)
                else:
                    net._forward(first, last)
                device.wait()
                ms[number][direction].append(1000 * (time.perf_counter() - start))
    return [[net._layer_names[first], kind, *map(statistics.median, values)] for (first, _, kind), values in zip(spans, ms)]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("work", choices=("step", "extract"))
    parser.add_argument("--device", choices=("gpu", "cpu"), required=True)
    options = parser.parse_args()
    device = Device(options.device)
    caffe.set_random_seed(SEED)
    work = {"step": Step, "extract": Extraction}[options.work](options.folder)
    with np.load(os.path.join(options.folder, "inputs.npz"), allow_pickle=False) as stored:
        inputs = dict(stored)
    for name, value in inputs.items():
        work.net.blobs[name].data[...] = value
    parameters = {layer: [blob.data for blob in blobs] for layer, blobs in work.net.params.items()}
    proto = read_prototxt(os.path.join(options.folder, "net.prototxt"))
    plain_net.write(options.folder, proto, parameters, inputs)
    print(json.dumps({"versions": {"caffe": caffe.__version__, "caffe_build": _build()},
                      "shapes": {name: list(blob.shape) for name, blob in work.net.blobs.items()},
                      "parameters": {layer: [list(blob.shape) for blob in blobs] for layer, blobs in parameters.items()}}),
          flush=True)
    for line in sys.stdin:
        if line.startswith("layers "):
            print(json.dumps({"layers": layer_times(work.net, device, int(line.split()[1]), options.work == "step")}),
                  flush=True)
            continue
        device.wait()
        start = time.perf_counter()
        work.run(int(line))
        device.wait()
        ms = 1000 * (time.perf_counter() - start) / int(line)
        norms = {name: float(np.linalg.norm(work.net.blobs[name].data)) for name in work.net.outputs}
        print(json.dumps({"ms": ms, "norms": norms,
                          "host_MiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}), flush=True)


def _build():
    """The hash under which caffe-build/ installed this Caffe."""
    try:
        with open(os.path.join(sys.prefix, "caffe-build"), encoding="utf-8") as stream:
            return stream.read().strip()
    except OSError:
        return ""


if __name__ == "__main__":
    main()
