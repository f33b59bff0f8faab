"""How long a training step and an extraction take on a GPU, in Caffe and in PyTorch.

    python benchmarks/gpu_step.py --torch-python /path/to/python-with-torch           # the full net, and its trunk alone
    python benchmarks/gpu_step.py --torch-python ... --layers ilids                   # and where Caffe's time goes
    python benchmarks/gpu_step.py --torch-python ... --device cpu --frames 24 --steps 1 --repeats 1 --out /tmp/x.json demo

NAME is an experiment of ``python -m prototxt.generate --list``. A step is forward, backward and the solver's update on
its training net, extraction a forward pass of its deploy net in test mode whose features are copied to the host. Both
sides get the same weights and the same frames (random, with the template's joints), which lie on the device. Caffe runs
under this interpreter (gpu_caffe.py), PyTorch eager with cudnn.benchmark and a fused SGD under the one given
(gpu_torch.py): both float32, once with TF32 allowed on both sides (Caffe: CAFFE_TF32=1), once on neither. Automatic mixed
precision would be another computation and is left out.

They take turns, --repeats times: Caffe, PyTorch in NCHW, PyTorch in channels_last; a turn is --steps runs without waiting
for the device between them. The faster layout is the peer. What is printed and written to --out:

    ms            of one run: the median over the turns, and from the fastest to the slowest
    peak_MiB      device memory, CUDA's context included, that the process added from its start to the end of its first
                  turn, as nvidia-smi saw it (--device cpu: of the process, on the host)
    floor_ms      the products of the net (net_flops.py) at the rate that a large matrix product reaches on this device
                  with the same TF32 setting
    difference    the largest relative difference of the outputs' L2 norms from Caffe's, after the first run, and
                  after the second, which has seen an update

Let nothing else use the device meanwhile; "others_MiB" is what was in use before.
"""

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
from collections import defaultdict
from dataclasses import replace

import numpy as np

from cpu_step import cpu_name
from stal.errors import InputError, run
from stal.files import replacing, write_json
from worker import Worker, foreign_environment

HERE = os.path.dirname(os.path.abspath(__file__))
SIDES = ("caffe", "nchw", "channels_last")
SEED = 1
_POLL_MS = 20  # of nvidia-smi, for the peak


class Memory:
    """Device memory in use, as nvidia-smi sees it; on a CPU there is none."""

    def __init__(self, device):
        self.now = self.peak = 0
        self._process = None
        if device == "gpu":
            self._process = subprocess.Popen(
                ["nvidia-smi", f"--id={_first_gpu()}", "--query-gpu=memory.used", "--format=csv,noheader,nounits",
                 f"--loop-ms={_POLL_MS}"], stdout=subprocess.PIPE, text=True)
            self._read(self._process.stdout.readline())
            threading.Thread(target=lambda: [self._read(line) for line in self._process.stdout], daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        if self._process:
            self._process.kill()
            self._process.wait()

    def restart(self):
        """The peak counts from now on; returns what is in use (MiB)."""
        self.peak = self.now
        return self.now

    def _read(self, line):
        if not line.strip().isdecimal():
            raise InputError(f"nvidia-smi says {line.strip()!r} for the memory in use: this GPU, or a part of one (MIG), "
                             "does not tell; measure on a whole GPU with memory of its own")
        self.now = int(line)
        self.peak = max(self.peak, self.now)


def start(side, folder, work, tf32, options):
    """A Worker that runs gpu_caffe.py or gpu_torch.py."""
    script = [options.caffe_python, os.path.join(HERE, "gpu_caffe.py"), folder, work]
    if side != "caffe":
        script = [options.torch_python, os.path.join(HERE, "gpu_torch.py"), folder, work, "--tf32", str(tf32)]
        script += ["--layout", side] * (work != "gemm")
    if side == "caffe":
        return Worker("Caffe", [*script, "--device", options.device], _environment(dict(os.environ), tf32))
    return Worker("PyTorch", [*script, "--device", options.device], _environment(foreign_environment(), tf32))


def measure(name, work, tf32, folder, memory, options):
    """One experiment's step or extraction on all sides, as it is written."""
    proto, solver = write_inputs(name, work, folder, options.frames)
    result = {"experiment": name, "work": work, "tf32": bool(tf32), "frames": options.frames,
              "others_MiB": memory.now}
    workers, norms = {}, {}
    try:
        for side in SIDES:
            before = memory.restart()
            workers[side] = start(side, folder, work, tf32, options)
            first = workers[side].ask(1)
            norms[side] = [first["norms"], workers[side].ask(1)["norms"]]
            warm = workers[side].ask(options.steps)
            peak = memory.peak - before if options.device == "gpu" else warm["host_MiB"]
            result[side] = {"first_ms": first["ms"], "peak_MiB": peak,
                            **{key: value for key, value in warm.items() if key.endswith("ed_MiB")}}
            if side == "caffe":
                _write_update(proto, solver, workers[side].first, folder)
        turns = {side: [] for side in SIDES}
        for _ in range(options.repeats):
            for side in SIDES:
                turns[side].append(workers[side].ask(options.steps)["ms"])
        if options.layers:
            result["layers"] = workers["caffe"].ask(f"layers {options.repeats}")["layers"]
    finally:
        for worker in workers.values():
            worker.__exit__()
    for side, times in turns.items():
        ms = statistics.median(times)
        result[side].update(ms=ms, fastest_ms=min(times), slowest_ms=max(times), all_ms=times,
                            frames_per_s=1000 * options.frames / ms)
    peer = min(SIDES[1:], key=lambda side: result[side]["ms"])
    shapes = workers["caffe"].first
    from net_flops import count
    forward, step = count(proto, shapes["shapes"], shapes["parameters"])
    result.update(peer=peer, caffe_over_peer=result["caffe"]["ms"] / result[peer]["ms"],
                  gflop=(step if work == "step" else forward) / 1e9,
                  difference=[max(_difference(norms["caffe"][run], norms[side][run]) for side in SIDES[1:])
                              for run in (0, 1)])
    return result, {**workers["caffe"].first["versions"], **workers["nchw"].first["versions"]}


def write_inputs(name, work, folder, count, **changed):
    """Leaves net.prototxt, solver.prototxt and inputs.npz of an experiment on ``count`` frames, with ``changed`` Options.
    Returns the NetParameter and the SolverParameter."""
    import plain_net
    from google.protobuf import text_format
    from prototxt.experiments import experiment
    from prototxt.generate import KINDS
    from prototxt.nets.solver import solver
    found = experiment(name)
    kind, net_options = KINDS[found.kind], replace(found.options, **changed)
    net = kind.train_net(net_options) if work == "step" else kind.deploy_net(net_options)
    proto = plain_net.with_inputs(net, count)
    inputs = plain_net.random_inputs(proto, SEED, found.options.scale)
    update = solver(os.path.join(folder, "net.prototxt"), "", found.solver)
    for field in ("snapshot", "display", "stepvalue", "gamma", "power"):
        update.ClearField(field)
    update.lr_policy = "fixed"
    for file, message in (("net.prototxt", proto), ("solver.prototxt", update)):
        with replacing(os.path.join(folder, file)) as stream:
            stream.write(text_format.MessageToString(message))
    with replacing(os.path.join(folder, "inputs.npz"), "wb") as stream:
        np.savez(stream, **inputs)
    return proto, update


def _write_update(proto, solver, shapes, folder):
    """Leaves update.json: the solver's rates, and [lr_mult, decay_mult] of each parameter blob."""
    parameters = {}
    for layer in proto.layer:
        blobs = len(shapes["parameters"].get(layer.name, ()))
        given = [[param.lr_mult, param.decay_mult] for param in layer.param]
        parameters[layer.name] = (given + [[1, 1]] * blobs)[:blobs]
    write_json(os.path.join(folder, "update.json"),
               {"base_lr": solver.base_lr, "momentum": solver.momentum, "weight_decay": solver.weight_decay,
                "parameters": parameters})


def _difference(norms, others):
    """The largest relative difference."""
    return max(abs(others[name] - norm) / max(abs(norm), 1e-12) for name, norm in norms.items())


def _environment(environment, tf32):
    """Both sides' environment: TF32 by their own switches only, GPUs counted as nvidia-smi counts them."""
    environment.pop("NVIDIA_TF32_OVERRIDE", None)
    return {**environment, "CAFFE_TF32": str(tf32), "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}


def _first_gpu():
    return (os.environ.get("CUDA_VISIBLE_DEVICES") or "0").split(",")[0]


def device_names(kind):
    """{"device", "driver"} of the GPU. Raises InputError where there is none."""
    if kind == "cpu":
        return {"device": cpu_name(), "driver": None}
    try:
        answer = subprocess.run(["nvidia-smi", f"--id={_first_gpu()}", "--query-gpu=name,driver_version",
                                 "--format=csv,noheader"], capture_output=True, text=True, check=True).stdout
        name, driver = (text.strip() for text in answer.splitlines()[0].split(","))
    except (OSError, subprocess.CalledProcessError, IndexError, ValueError):
        raise InputError("there is no NVIDIA GPU here, as nvidia-smi has it: run this on a machine with one, or give "
                         "--device cpu to see that it runs") from None
    return {"device": name, "driver": driver}


def measure_all(options):
    """The whole run: a dict, as it is written."""
    from stal.extraction import commit
    settings = (1, 0) if options.device == "gpu" else (0,)
    result = {**device_names(options.device), "commit": commit(), "steps": options.steps, "repeats": options.repeats,
              "load": os.getloadavg()[0], "tflops": {}, "rows": []}
    versions = {"python": platform.python_version(), "numpy": np.__version__}
    with Memory(options.device) as memory:
        for tf32 in settings:
            with start("gemm", "-", "gemm", tf32, options) as worker:
                result["tflops"]["tf32" if tf32 else "float32"] = worker.first["tflops"]
        for name in options.names:
            for work in ("step", "extract"):
                for tf32 in settings:
                    with tempfile.TemporaryDirectory() as folder:
                        row, found = measure(name, work, tf32, folder, memory, options)
                    versions.update(found)
                    row["floor_ms"] = row["gflop"] / result["tflops"]["tf32" if tf32 else "float32"]
                    result["rows"].append(row)
                    print(row_text(row), flush=True)
    result["versions"] = versions
    return result


def row_text(row):
    """What a measurement says on the terminal."""
    what = f"{row['experiment']} {row['work']}, {row['frames']} frames, TF32 {'allowed' if row['tf32'] else 'off'}"
    lines = [f"\n{what}: {row['gflop']:.4g} GFLOP, floor {row['floor_ms']:.2f} ms"]
    for side in SIDES:
        values = row[side]
        lines.append(f"{side:14} {values['ms']:10.2f} ms ({values['fastest_ms']:.2f}-{values['slowest_ms']:.2f}) "
                     f"{values['frames_per_s']:10.1f} frames/s {values['peak_MiB']:8.0f} MiB")
    first, second = row["difference"]
    lines.append(f"Caffe takes {row['caffe_over_peer']:.2f} times as long as PyTorch ({row['peer']}); outputs differ by "
                 f"{first:.1e}, in the second run by {second:.1e}")
    return "\n".join(lines + layer_lines(row.get("layers", [])))


def layer_lines(layers):
    """The slowest layers, and all layers by type, as text; times are forward and, of a step, backward."""
    if not layers:
        return []
    by_type = defaultdict(lambda: np.zeros(len(layers[0]) - 1))
    for _, kind, *times in layers:
        by_type[kind] += [1, *times]
    total = sum(values[1:].sum() for values in by_type.values())
    lines = [f"Layer by layer, each waited for: {total:.2f} ms in all"]
    for kind, values in sorted(by_type.items(), key=lambda item: -item[1][1:].sum()):
        times = " ".join(f"{value:9.3f}" for value in values[1:])
        lines.append(f"  {kind:20} {int(values[0]):4} layers {times} ms {values[1:].sum() / total:6.1%}")
    lines.append("The slowest:")
    for name, kind, *times in sorted(layers, key=lambda layer: -sum(layer[2:]))[:20]:
        lines.append(f"  {name:32} {kind:20} " + " ".join(f"{value:9.3f}" for value in times) + " ms")
    return lines


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="(default: ilids ilids_plain)")
    parser.add_argument("--torch-python", required=True, help="interpreter that has torch and numpy")
    parser.add_argument("--caffe-python", default=sys.executable, help="interpreter that has caffe (default: this one)")
    parser.add_argument("--device", choices=("gpu", "cpu"), default="gpu", help="(default: %(default)s)")
    parser.add_argument("--frames", type=int, default=24, help="of a batch, a multiple of 24 (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=10, help="runs of a turn (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=9, help="turns (default: %(default)s)")
    parser.add_argument("--layers", action="store_true", help="time Caffe's layers one by one too")
    parser.add_argument("--out", default=os.path.join("benchmarks", "results", "gpu_step.json"),
                        help="(default: %(default)s)")
    options = parser.parse_args(argv)
    options.names = options.names or ["ilids", "ilids_plain"]
    for name, least in (("frames", 24), ("steps", 1), ("repeats", 1)):
        if getattr(options, name) < least:
            raise InputError(f"--{name} {getattr(options, name)} must be at least {least}")
    device_names(options.device)
    from cpu_step import check_torch
    check_torch(options.torch_python)
    os.environ["GLOG_minloglevel"] = "2"  # before caffe
    from prototxt.experiments import experiment
    for name in options.names:
        if experiment(name).kind == "pose":
            raise InputError(f"{name} is a pose net: name an experiment that gives features")
    result = measure_all(options)
    write_json(options.out, result)
    print(f"\n{result['device']}, {', '.join(f'{key} {value:.3g} TFLOP/s' for key, value in result['tflops'].items())}\n"
          + ", ".join(f"{name} {value}" for name, value in sorted(result["versions"].items())))


if __name__ == "__main__":
    run(main)
