"""How long a training step and an extraction of the STAL net take on a CPU, in Caffe and in PyTorch.

    python benchmarks/cpu_step.py --torch-python /path/to/python-with-torch

One run measures both on the same machine with the same number of threads, weights and inputs (random frames,
the template's joints): a training step is forward and backward of prototxt/train_NET.prototxt without the
update, extraction is a forward pass of the deploy net in test mode. Caffe runs here, PyTorch eager
(torch_net.py) under the interpreter given, which needs torch and numpy and no more. They take turns: Caffe,
PyTorch in NCHW, PyTorch in channels_last, --repeats times after --warmup rounds; while one works the others
wait. The faster of the two layouts is the peer.

Prints the medians, and writes them with every single time to --out. "difference" is the largest relative
difference between the L2 norms of Caffe's and PyTorch's outputs (the losses, or the features): both did the
same work. Let nothing else run meanwhile; "load" is the machine's load average at the start.
"""

import argparse
import ctypes
import os
import platform
import statistics
import subprocess
import tempfile
import time

from stal.errors import InputError, run
from stal.files import write_json
from worker import Worker, foreign_environment

HERE = os.path.dirname(os.path.abspath(__file__))
LAYOUTS = ("nchw", "channels_last")
SEED = 1


def torch_time(worker, layout):
    """One repetition: milliseconds and {output: L2 norm}."""
    answer = worker.ask(layout)
    return answer["ms"], answer["norms"]


def check_torch(python):
    """Raises InputError unless the interpreter ``python`` has torch and numpy."""
    try:
        subprocess.run([python, "-c", "import numpy, torch"], check=True, capture_output=True,
                       env=foreign_environment())
    except (OSError, subprocess.CalledProcessError):
        raise InputError(f"{python} cannot import torch and numpy: give --torch-python an interpreter that can") from None


def caffe_net(net, phase, folder, inputs):
    """A caffe.Net of a NetParameter in TRAIN or TEST phase, its Inputs filled."""
    import caffe
    from google.protobuf import text_format
    path = os.path.join(folder, "net.prototxt")
    with open(path, "w", encoding="utf-8") as stream:
        stream.write(text_format.MessageToString(net))
    made = caffe.Net(path, getattr(caffe, phase))
    for name, value in inputs.items():
        made.blobs[name].data[...] = value
    return made


def time_caffe(net, backward):
    """One repetition: milliseconds and {output: L2 norm}. Gradients are cleared first, as a solver does."""
    import numpy as np
    start = time.perf_counter()
    if backward:
        net.clear_param_diffs()
    net.forward()
    if backward:
        net.backward()
    ms = 1000 * (time.perf_counter() - start)
    return ms, {name: float(np.linalg.norm(net.blobs[name].data)) for name in net.outputs}


def measure(work, net, proto, inputs, folder, options):
    """Takes turns on one kind of work.

    Args:
        work: "step" or "extract"; net: the caffe.Net, proto: its NetParameter.
    Returns:
        A dict of the times, and PyTorch's versions.
    """
    import plain_net
    parameters = {name: [blob.data for blob in blobs] for name, blobs in net.params.items()}
    plain_net.write(folder, proto, parameters, inputs)
    times, norms = {"caffe": [], **{layout: [] for layout in LAYOUTS}}, {}
    command = [options.torch_python, os.path.join(HERE, "torch_net.py"), folder, work, "--threads", str(options.threads)]
    with Worker("PyTorch", command, foreign_environment()) as worker:
        for turn in range(options.warmup + options.repeats):
            for name in times:
                ms, norms[name] = time_caffe(net, work == "step") if name == "caffe" else torch_time(worker, name)
                if turn >= options.warmup:
                    times[name].append(ms)
    result = {name: {"ms": statistics.median(values), "all_ms": values,
                     "frames_per_s": 1000 * options.frames / statistics.median(values)}
              for name, values in times.items()}
    peer = min(LAYOUTS, key=lambda name: result[name]["ms"])
    result.update(peer=peer, caffe_over_peer=result["caffe"]["ms"] / result[peer]["ms"],
                  difference=max(abs(norms[name][top] - value) / max(abs(value), 1e-12)
                                 for name in LAYOUTS for top, value in norms["caffe"].items()))
    return result, worker.first


def measure_both(options):
    """The whole run: a dict, as it is written."""
    import caffe
    import numpy as np
    import plain_net
    from stal.caffe_net import read_prototxt
    deploy_name = "deploy_demo" if options.net == "demo" else "deploy"
    train, deploy = (plain_net.with_inputs(read_prototxt(f"prototxt/{name}.prototxt"), options.frames)
                     for name in (f"train_{options.net}", deploy_name))
    result = {"net": options.net, "frames": options.frames, "repeats": options.repeats,
              "warmup": options.warmup, "threads": options.threads, "cpu": cpu_name(), "cpus": os.cpu_count(),
              "load": os.getloadavg()[0]}
    inputs = plain_net.random_inputs(train, SEED)
    caffe.set_mode_cpu()
    caffe.set_random_seed(SEED)
    with tempfile.TemporaryDirectory() as folder:
        net = caffe_net(train, "TRAIN", folder, inputs)
        result["step"], versions = measure("step", net, train, inputs, folder, options)
        inputs = plain_net.random_inputs(deploy, SEED)
        deployed = caffe_net(deploy, "TEST", folder, inputs)
        deployed.share_with(net)   # the training steps have filled BatchNorm's averages
        del net
        result["extract"], _ = measure("extract", deployed, deploy, inputs, folder, options)
    result["versions"] = {"python": platform.python_version(), "numpy": np.__version__,
                          "caffe": caffe.__version__, "blas": blas_name(), **versions}
    return result


def cpu_name():
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as stream:
            names = (line.split(":")[1].strip() for line in stream if line.startswith("model name"))
            return next(names)
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def blas_name():
    """OpenBLAS's version and kernels, as it says itself."""
    try:
        config = ctypes.CDLL("libopenblas.so.0").openblas_get_config
    except (OSError, AttributeError):
        return "not OpenBLAS"
    config.restype = ctypes.c_char_p
    return config().decode()


def report(result):
    """What a run says on the terminal."""
    versions = ", ".join(f"{name} {value}" for name, value in sorted(result["versions"].items()))
    cpus = f"{result['threads']} of {result['cpus']} CPUs"
    lines = [f"{result['cpu']}, {cpus}, load {result['load']:.2f} at the start", versions,
             f"net {result['net']}, {result['frames']} frames, median of {result['repeats']} repeats", ""]
    for work, name in (("step", "training step"), ("extract", "extraction")):
        times = result[work]
        for kind in ("caffe", *LAYOUTS):
            ms, rate = times[kind]["ms"], times[kind]["frames_per_s"]
            lines.append(f"{name:14} {kind:14} {ms:10.0f} ms {rate:8.2f} frames/s")
        lines.append(f"{name:14} Caffe takes {times['caffe_over_peer']:.2f} times as long as PyTorch "
                     f"({times['peer']}); outputs differ by {times['difference']:.1e}")
    return "\n".join(lines)


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--torch-python", required=True, help="interpreter that has torch and numpy")
    parser.add_argument("--net", default="ilids", choices=("ilids", "prid", "mars", "demo"),
                        help="prototxt/train_NET.prototxt and its deploy net (default: %(default)s)")
    parser.add_argument("--frames", type=int, default=24,
                        help="of a batch, a multiple of 24 (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=7, help="measured rounds (default: %(default)s)")
    parser.add_argument("--warmup", type=int, default=1, help="rounds before them (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=os.cpu_count(),
                        help="of each side (default: %(default)s)")
    parser.add_argument("--out", default=os.path.join("benchmarks", "results", "cpu_step.json"),
                        help="(default: %(default)s)")
    options = parser.parse_args(argv)
    for name, least in (("frames", 24), ("repeats", 1), ("warmup", 0), ("threads", 1)):
        if getattr(options, name) < least:
            raise InputError(f"--{name} {getattr(options, name)} must be at least {least}")
    check_torch(options.torch_python)
    # Read when the libraries are loaded, so before Caffe and NumPy are imported and the worker is started.
    os.environ.update(OMP_NUM_THREADS=str(options.threads), OPENBLAS_NUM_THREADS=str(options.threads))
    result = measure_both(options)
    write_json(options.out, result)
    print(report(result))


if __name__ == "__main__":
    run(main)
