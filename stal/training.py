"""One run of ``caffe train`` in a folder of its own, which a second call finishes, or finds finished.

==================  =========================================================================
train.prototxt      the net
solver.prototxt     the solver
recipe.json         both texts and the SHA-256 of what was read: another recipe starts anew
snapshot_iter_*     weights and solver states, as the solver writes them
train.log, loss.png what caffe train printed; its losses
==================  =========================================================================
"""

import glob
import hashlib
import json
import os
import re
import subprocess
import sys

from stal.errors import InputError
from stal.files import replacing, write_json
from stal.training_log import loss_lines, plot_losses

PREFIX = "snapshot"


def write_run(folder, net_text, solver_text, inputs):
    """Writes the net and the solver; removes what another recipe left.

    Args:
        net_text, solver_text: prototxt; the solver names ``folder``/train.prototxt and the prefix ``folder``/snapshot.
        inputs: paths of the files that the run reads: its tracklet list, the weights it starts from.
    Raises:
        InputError: an input is missing.
    """
    recipe = {"train.prototxt": net_text, "solver.prototxt": solver_text,
              "inputs": {os.fspath(path): _sha256(path) for path in inputs}}
    stamp = os.path.join(folder, "recipe.json")
    if _read(stamp) == recipe:
        return
    for path in glob.glob(f"{glob.escape(folder)}/{PREFIX}_iter_*"):
        os.remove(path)
    for name in ("train.prototxt", "solver.prototxt"):
        with replacing(os.path.join(folder, name)) as stream:
            stream.write(recipe[name])
    write_json(stamp, recipe)


def train(folder, iterations, weights=(), say=print):
    """Runs caffe train on the run in ``folder`` unless it is finished; goes on from its last snapshot.

    Args:
        iterations: the solver's max_iter.
        weights: .caffemodel files to start from, copied by name.
        say: is given each hundredth iteration's line.
    Returns:
        path of the last weights.
    Raises:
        InputError: caffe train ended without them; the sentence is its own.
    """
    result, log_path = f"{folder}/{PREFIX}_iter_{iterations}.caffemodel", f"{folder}/train.log"
    if not os.path.exists(result):
        states = sorted(glob.glob(f"{glob.escape(folder)}/{PREFIX}_iter_*.solverstate"),
                        key=lambda path: int(re.findall(r"\d+", path)[-1]))
        start = ["-snapshot", states[-1]] if states else ["-weights", ",".join(weights)] if weights else []
        command = [os.path.join(os.path.dirname(sys.executable), "caffe"), "train", "-solver", f"{folder}/solver.prototxt",
                   *start]
        say("training: " + " ".join(["caffe", *command[1:]]))
        # Threads that wait for work sleep instead of spinning: on a machine that does other things too, spinning costs
        # far more than it saves on an idle one.
        environment = {"OMP_WAIT_POLICY": "passive", **os.environ, "GLOG_minloglevel": "0"}
        with open(log_path, "a" if states else "w") as log:
            with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
                for line in process.stderr:
                    log.write(line)
                    if re.search(r"Iteration \d+00 \(", line):
                        say("  " + line.split("] ", 1)[1].rstrip())
        if process.returncode or not os.path.exists(result):
            with open(log_path) as log:
                last = [line for line in log if line.startswith(("caffe: ", "F"))]
            raise InputError((last[-1].strip() if last else "caffe train stopped") + f"; its log is {log_path}")
    with open(log_path) as log:
        plot_losses(f"{folder}/loss.png", loss_lines(log))
    return result


def _sha256(path):
    try:
        with open(path, "rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"cannot read {path} ({error.strerror}), which the training needs: write it first") from None


def _read(path):
    """A JSON file's value, or None where there is none or half of one."""
    try:
        with open(path, encoding="utf-8") as stream:
            return json.load(stream)
    except (OSError, ValueError):
        return None
