"""Training with one process a GPU, on one host or several: what ``caffe train`` does on one.

Every process has the whole net and reads batches of its own (the data layer of rank r reads batches r, r + size, ...).
After each backward pass the gradients are averaged over the processes, so an iteration learns from ``size`` batches.
Only rank 0 logs and writes snapshots. BatchNorm sees its process's batch; the moving averages that are saved are rank
0's.
"""

import hashlib
import os
import sys
from typing import NamedTuple

from google.protobuf import text_format

from stal.errors import InputError
from stal.launch import meet
from stal.snapshots import newest_state

UID_BYTES = 128  # of an NCCL id


class Plan(NamedTuple):
    """What a solver file asks for."""

    path: str
    prefix: str     # of the snapshots
    snapshot: int   # iterations between two; 0: none
    max_iter: int
    last: bool      # whether there is a snapshot after the last iteration
    facts: dict     # what all processes must agree in: {name: text}


class NcclMean:
    """Gradients averaged over the processes by NCCL, on GPUs. What stands in for it has the same methods."""

    def require(self):
        """Raises InputError unless this Caffe can do it."""
        import caffe
        if not caffe.has_nccl():
            raise InputError("this Caffe was built without NCCL: build it with CUDA and NCCL (caffe-build/README.md), or "
                             "train on one GPU or CPU with caffe train")

    def new_id(self):
        """Rank 0's id of the run, bytes."""
        import caffe
        uid = caffe.NCCL.new_uid()
        if len(uid) != UID_BYTES:  # upstream's pycaffe ends it at its first zero byte
            raise InputError(f"pycaffe gave {len(uid)} bytes of NCCL's {UID_BYTES}-byte id: build Caffe with the patches of "
                             "caffe-build/")
        return uid

    def use_device(self, device):
        """Takes GPU ``device`` for this process, before there is a net."""
        import caffe
        caffe.set_device(device)
        caffe.set_mode_gpu()

    def join(self, solver, uid):
        """Gives all processes rank 0's parameters, and averages gradients from now on. Returns what must be kept."""
        import caffe
        nccl = caffe.NCCL(solver, uid)
        nccl.bcast()
        solver.add_callback(nccl)
        if solver.param.layer_wise_reduce:  # then each layer's gradients travel while the next one's are computed
            solver.net.after_backward(nccl)
        return nccl


def read_plan(path):
    """Reads a solver file. Raises InputError: it cannot be read, or names no net, iterations or snapshots."""
    from caffe.proto import caffe_pb2
    solver = caffe_pb2.SolverParameter()
    try:
        with open(path, encoding="utf-8") as stream:
            text = stream.read()
        text_format.Parse(text, solver)
    except OSError as error:
        raise InputError(f"cannot read the solver {path} ({error.strerror}): it is written by "
                         "python -m prototxt.generate") from None
    except (text_format.ParseError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is no solver: {error}") from None
    net = solver.net or solver.train_net
    if not net or not solver.max_iter or not solver.snapshot_prefix:
        raise InputError(f"{path} needs a net's file, max_iter and snapshot_prefix: write it with "
                         "python -m prototxt.generate")
    try:
        with open(net, encoding="utf-8") as stream:
            net_text = stream.read()
    except OSError as error:
        raise InputError(f"cannot read the net {net} of {path} ({error.strerror}): start from the repository's root"
                         ) from None
    folder = os.path.dirname(solver.snapshot_prefix) or "."
    if not os.path.isdir(folder):
        raise InputError(f"there is no folder {folder} for the snapshots of {path}: make it, or start from the repository's "
                         "root")
    facts = {"solver and net": hashlib.sha256(f"{text}\0{net_text}".encode()).hexdigest()[:16]}
    return Plan(os.fspath(path), solver.snapshot_prefix, solver.snapshot, solver.max_iter, solver.snapshot_after_train,
                facts)


def train(plan, place, device, meeting, state="", weights=(), timeout=600.0, mean=None, say=print):
    """Trains to the solver's max_iter, from the newest snapshot if there is one.

    Args:
        place: a :class:`stal.launch.Place`; device: the number of its GPU.
        meeting: a :class:`stal.launch.FileMeeting` or ``TcpMeeting``.
        state: on rank 0, a .solverstate to go on from instead of the newest.
        weights: on rank 0, .caffemodel files to start from where there is no snapshot, copied by name.
        timeout: seconds in which all processes must have come.
        mean: how gradients are averaged; None: :class:`NcclMean`.
    Returns:
        path of the last weights.
    Raises:
        InputError: the processes did not find together, or Caffe refuses the net or its data.
    """
    import caffe
    mean = mean or NcclMean()
    mean.require()
    result = f"{plan.prefix}_iter_{plan.max_iter}.caffemodel"
    note = None
    if place.rank == 0:
        finished = not state and os.path.exists(result)
        state = state or newest_state(plan.prefix)
        note = {"id": mean.new_id().hex(), "state": state, "bytes": os.path.getsize(state) if state else 0,
                "finished": finished}
    note = meet(place, meeting, plan.facts, note, timeout)
    if note["finished"]:
        return result
    _check_state(place, note)
    if place.rank == 0:
        start = note["state"] or ", ".join(weights) or "random weights"
        say(f"size {place.size} ({place.launcher}): an iteration learns from {place.size} times the batch; from {start}")
    caffe.init_log(0 if place.rank == 0 else 2, True)
    mean.use_device(device)
    caffe.set_solver_count(place.size)
    caffe.set_solver_rank(place.rank)
    caffe.set_multiprocess(True)
    keep = None
    try:
        solver = caffe.get_solver(plan.path)
        if note["state"]:
            solver.restore(note["state"])  # also the other ranks: NCCL brings them the weights, but no momentum
        elif place.rank == 0:
            for path in weights:
                solver.net.copy_from(path)
        keep = mean.join(solver, bytes.fromhex(note["id"]))
        if place.rank == 0:
            meeting.clear()  # all have joined, so all have read it
        solver.step(plan.max_iter - solver.iter)
    except (ValueError, RuntimeError) as error:  # as layers refuse wrong input
        if keep is None:
            raise InputError(f"rank {place.rank}: {error}") from None
        # Leaving NCCL in order waits for the other ranks, which wait for this one: only the launcher can end them.
        print(f"error: rank {place.rank}: {error}", file=sys.stderr, flush=True)
        os._exit(1)
    if place.rank == 0 and plan.last and (not plan.snapshot or solver.iter % plan.snapshot):
        solver.snapshot()
    del keep
    return result


def _check_state(place, note):
    """The snapshot that rank 0 goes on from must be seen by all."""
    if note["state"] and (not os.path.exists(note["state"]) or os.path.getsize(note["state"]) != note["bytes"]):
        raise InputError(f"rank {place.rank} does not see rank 0's {note['state']} of {note['bytes']} bytes: the folder of "
                         "the snapshots must be one that all hosts share")
