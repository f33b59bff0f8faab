"""Counts what one training step gives a GPU to do, layer by layer, without a GPU: kernels, library calls, copies.

    OMP_NUM_THREADS=1 python benchmarks/gpu_launches.py             # the full iLIDS net
    OMP_NUM_THREADS=1 python benchmarks/gpu_launches.py --experiment demo

Caffe built for the emulation (caffe-build/emulation) runs the step and counts; the second step is the one that counts, since
the first finds cuDNN's algorithms. A GPU of today needs 2 to 4 microseconds to start a kernel, whatever it does: what many
layers with little work cost. The number depends neither on the batch nor on the frames' size, which are small here, but for
BatchNorm and Scale, which take three and two launches instead of one for channels of over 16,383 values
(layers/common/channel_walk.cuh): of 24 frames of 224 x 224 those down to 28 x 28. Prints a table and writes
results/gpu_launches.json.
"""

import argparse
import ctypes
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter

from passes import passes

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PARTS = re.compile(r"_part\d")
IDLE = re.compile(r"Malloc|Free|Create|Destroy|Set|Get|Stream|Event|Math|Handle|host-to-host")


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiment", default="ilids", help="a name of `python -m prototxt.generate --list`")
    parser.add_argument("--frames", type=int, default=1, help="frames of each of the three videos")
    parser.add_argument("--size", type=int, nargs=2, metavar=("HEIGHT", "WIDTH"), default=(64, 64), help="of the frames")
    parser.add_argument("--out", default=os.path.join(ROOT, "benchmarks", "results", "gpu_launches.json"))
    options = parser.parse_args(argv)
    if "STAL_EMULATED_BUILD" not in os.environ:
        again_with_emulation()
    from stal.files import write_json
    solver, counts = load(options.experiment, options.frames, *options.size)
    result = count_step(solver, counts)
    result.update(experiment=options.experiment, frames=3 * options.frames)
    show(result)
    write_json(options.out, result)


def again_with_emulation():
    """Runs this program anew with the emulated build's pycaffe."""
    build = subprocess.run([sys.executable, os.path.join(ROOT, "caffe-build", "build.py"), "--device", "emulated"],
                           stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
    environment = dict(os.environ, STAL_EMULATED_BUILD=build, GLOG_minloglevel="2",
                       PYTHONPATH=os.path.join(build, "python"), LD_LIBRARY_PATH=os.path.join(build, "lib"))
    sys.exit(subprocess.run([sys.executable, *sys.argv], env=environment).returncode)


def load(experiment, frames, height, width):
    """(the experiment's solver for three videos of ``frames`` random frames, a function that gives the counts since its last
    call)."""
    import caffe
    import numpy as np

    from gpu_step import write_inputs
    library = ctypes.CDLL(os.path.join(os.environ["STAL_EMULATED_BUILD"], "lib", "libcaffe.so"))
    library.emulation_counts.restype = ctypes.c_char_p

    def counts():
        rows = library.emulation_counts().decode().splitlines()
        library.emulation_reset_counts()
        return Counter({row.rpartition(",")[0]: int(row.rpartition(",")[2]) for row in rows})

    caffe.set_mode_gpu()
    caffe.set_device(0)
    with tempfile.TemporaryDirectory() as folder:
        write_inputs(experiment, "step", folder, 3 * frames, frames=frames, height=height, width=width)
        solver = caffe.get_solver(os.path.join(folder, "solver.prototxt"))
        with np.load(os.path.join(folder, "inputs.npz")) as inputs:
            for name in inputs:
                solver.net.blobs[name].data[...] = inputs[name]
    return solver, counts


def count_step(solver, counts):
    """Of the second step, in calls that start work on the GPU: {"layers": {part of the net: {layer type, or types run in one
    pass: [number, forward, backward]}}, "update": calls, "clear": calls, "copies": {direction: calls}, "parameters": blobs}.
    """
    net = solver.net
    solver.step(1)
    layers, copies = {}, Counter()
    spans = passes([layer.type for layer in net.layers])
    for backward, order in ((False, spans), (True, spans[::-1])):
        net.clear_param_diffs()
        counts()
        for first, last, kind in order:
            if backward:
                net._backward(last, first)
            else:
                net._forward(first, last)
            called = counts()
            part = "parts" if PARTS.search(net._layer_names[first]) else "rest"
            row = layers.setdefault(part, {}).setdefault(kind, [0, 0, 0])
            row[0] += not backward
            row[1 + backward] += work(called)
            copies.update({what: calls for what, calls in called.items() if "to-host" in what or "to-device" in what})
    counts()
    solver.apply_update()
    update = counts()
    net.clear_param_diffs()
    cleared = counts()
    return {"layers": layers, "copies": dict(copies), "update": work(update), "clear": work(cleared),
            "parameters": sum(len(blobs) for blobs in net.params.values())}


def work(called):
    """How many of the counted calls start a kernel: launches, calls of cuBLAS and cuDNN that compute, fills, copies."""
    return sum(calls for what, calls in called.items() if not IDLE.search(what))


def show(result):
    print(f"{result['experiment']}, {result['frames']} frames: calls that start work on the GPU, second step")
    print(f"{'':10}{'layer type':20}{'number':>8}{'forward':>9}{'backward':>10}")
    total = [0, 0, 0]
    for part, rows in result["layers"].items():
        for kind, row in sorted(rows.items(), key=lambda item: -sum(item[1][1:])):
            print(f"{part:10}{kind:20}{row[0]:8}{row[1]:9}{row[2]:10}")
            total = [one + other for one, other in zip(total, row)]
    print(f"{'all':10}{'':20}{total[0]:8}{total[1]:9}{total[2]:10}")
    print(f"{result['parameters']} parameter blobs: update {result['update']}, clearing their gradients {result['clear']}")
    print("copies: " + (", ".join(f"{what} {calls}" for what, calls in sorted(result["copies"].items())) or "none"))


if __name__ == "__main__":
    main()
