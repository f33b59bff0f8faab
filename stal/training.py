"""One run of ``caffe train`` in a folder of its own, which a second call finishes, or finds finished.

==================  =========================================================================
train.prototxt      the net
solver.prototxt     the solver
recipe.json         both texts and the SHA-256 of what was read; written last
snapshot_iter_*     weights and solver states, as the solver writes them
train.log, loss.png what caffe train printed; its losses
run.json            command, commit, machine and threads of each start
replaced_N/         the same of an earlier recipe, moved aside; nothing is deleted
==================  =========================================================================
"""

import contextlib
import fcntl
import glob
import json
import os
import platform
import re
import subprocess
import sys

from stal.errors import InputError
from stal.extraction import commit, file_sha256
from stal.files import replacing, write_json
from stal.snapshots import newest_state
from stal.training_log import loss_lines, plot_losses

PREFIX = "snapshot"
_OF_A_RUN = ("recipe.json", "train.prototxt", "solver.prototxt", "train.log", "loss.png", "run.json")


def write_run(folder, net_text, solver_text, inputs):
    """Writes the net and the solver; moves a run of another recipe aside.

    Args:
        net_text, solver_text: prototxt; the solver names ``folder``/train.prototxt and the prefix ``folder``/snapshot.
        inputs: paths of the files that the run reads: its tracklet list, its joints, the weights it starts from.
    Raises:
        InputError: an input is missing.
    """
    recipe = _recipe(net_text, solver_text, inputs)
    if _read(os.path.join(folder, "recipe.json")) == recipe:
        return
    _move_aside(folder)
    for name in ("train.prototxt", "solver.prototxt"):
        with replacing(os.path.join(folder, name)) as stream:
            stream.write(recipe[name])
    write_json(os.path.join(folder, "recipe.json"), recipe)


def is_trained(folder, net_text, solver_text, inputs, iterations):
    """Whether this very run is finished in ``folder``."""
    return (os.path.exists(_weights(folder, iterations)) and all(os.path.exists(path) for path in inputs)
            and _read(os.path.join(folder, "recipe.json")) == _recipe(net_text, solver_text, inputs))


def _recipe(net_text, solver_text, inputs):
    return {"train.prototxt": net_text, "solver.prototxt": solver_text,
            "inputs": {os.fspath(path): _sha256(path) for path in inputs}}


def _move_aside(folder):
    """Moves what another recipe left, its stamp first: a killed move leaves no stamp over another recipe's files."""
    names = [name for name in _OF_A_RUN if os.path.exists(os.path.join(folder, name))]
    names += [os.path.basename(path) for path in sorted(glob.glob(f"{glob.escape(folder)}/{PREFIX}_iter_*"))]
    if names:
        number = 1
        while os.path.exists(os.path.join(folder, f"replaced_{number}")):
            number += 1
        aside = os.path.join(folder, f"replaced_{number}")
        os.makedirs(aside)
        for name in names:
            os.replace(os.path.join(folder, name), os.path.join(aside, name))
        print(f"{folder} held a run of another recipe; it is in {aside} now")


def train(folder, iterations, weights=(), say=print):
    """Runs caffe train on the run in ``folder`` unless it is finished; goes on from its last snapshot.

    Args:
        iterations: the solver's max_iter.
        weights: .caffemodel files to start from, copied by name.
        say: is given each hundredth iteration's line.
    Returns:
        path of the last weights.
    Raises:
        InputError: caffe train ended without them, and the sentence is its own; or another process trains there.
    """
    result, log_path = _weights(folder, iterations), f"{folder}/train.log"
    with _alone(folder):
        if not os.path.exists(result):
            _caffe_train(folder, result, log_path, weights, say)
        if os.path.exists(log_path):
            with open(log_path) as log:
                plot_losses(f"{folder}/loss.png", loss_lines(log))
    return result


def _caffe_train(folder, result, log_path, weights, say):
    state = newest_state(f"{folder}/{PREFIX}")
    start = ["-snapshot", state] if state else ["-weights", ",".join(weights)] if weights else []
    command = [os.path.join(os.path.dirname(sys.executable), "caffe"), "train", "-solver", f"{folder}/solver.prototxt",
               *start]
    said = " ".join(["caffe", *command[1:]])
    say(f"training: {said}")
    # Threads that wait for work sleep instead of spinning: on a machine that does other things too, spinning costs
    # far more than it saves on an idle one.
    environment = {"OMP_WAIT_POLICY": "passive", **os.environ, "GLOG_minloglevel": "0"}
    starts = (_read(f"{folder}/run.json") or []) if state else []
    write_json(f"{folder}/run.json", [*starts, {"command": said, "commit": commit(), "machine": machine(),
                                                "threads": environment.get("OMP_NUM_THREADS", str(os.cpu_count()))}])
    last = ""
    with open(log_path, "a" if state else "w") as log:
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
            for line in process.stderr:
                log.write(line)
                if re.search(r"Iteration \d+00 \(", line):
                    say("  " + line.split("] ", 1)[1].rstrip())
                if line.startswith(("caffe: ", "F")):
                    last = line.strip()
    if process.returncode or not os.path.exists(result):
        raise InputError((last or "caffe train stopped") + f"; its log is {log_path}")


def machine():
    """The machine in words, without its name."""
    return f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}"


@contextlib.contextmanager
def _alone(folder):
    """Holds the folder's lock, so that two processes do not write the same snapshots."""
    with open(os.path.join(folder, "lock"), "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(f"another process trains in {folder}: wait for it, or stop it") from None
        yield


def _weights(folder, iterations):
    return f"{folder}/{PREFIX}_iter_{iterations}.caffemodel"


def _sha256(path):
    try:
        return file_sha256(path)
    except OSError as error:
        raise InputError(f"cannot read {path} ({error.strerror}), which the training needs: write it first") from None


def _read(path):
    """A JSON file's value, or None where there is none or half of one."""
    try:
        with open(path, encoding="utf-8") as stream:
            return json.load(stream)
    except (OSError, ValueError):
        return None
