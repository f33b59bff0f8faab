"""Trains on several GPUs of one or several hosts; to be started by a launcher, one process a GPU.

    mpirun -np 8 --hostfile hosts .venv/bin/python tools/train_hosts.py --solver prototxt/solver_mars.prototxt
    srun --ntasks 8 --gpus-per-task 1 --kill-on-bad-exit=1 .venv/bin/python tools/train_hosts.py --solver ...
    torchrun --nnodes 2 --nproc-per-node 4 --rdzv-backend c10d --rdzv-endpoint HOST:PORT --no-python \\
        .venv/bin/python tools/train_hosts.py --solver ...

Rank, number of processes and GPU come from the launcher's variables (Open MPI, MPICH and Intel MPI, Slurm, torchrun).
One host needs no launcher: caffe train -gpu all. It needs a Caffe built with NCCL.

Every process reads batches of its own, and their gradients are averaged: with N processes an iteration learns from N
batches of the net's size. Learning rate and number of iterations stay what the solver says.

Rank 0 logs as caffe train does and writes the snapshots, into a folder that all hosts share (as they share the data,
the nets and this checkout). Started anew, a run goes on from its newest snapshot, also with another number of processes;
move the snapshots away to start from the beginning.

The processes find each other over files beside the snapshots; with --master, or where the launcher sets MASTER_ADDR and
MASTER_PORT (torchrun), over TCP. What is left of a killed run is not taken for this one's.
"""

import argparse
import os
import re

from stal.errors import InputError, run
from stal.launch import FileMeeting, TcpMeeting, find_device, find_master, find_place, parse_address


def main(argv=None, mean=None):
    """mean: what averages the gradients; None: NCCL."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--solver", required=True, help="a solver's prototxt")
    parser.add_argument("--weights", nargs="+", default=[], metavar="FILE",
                        help=".caffemodel files to start from, copied by name; not read where there is a snapshot")
    parser.add_argument("--snapshot", default="", metavar="FILE", help="a .solverstate to go on from (default: the newest)")
    parser.add_argument("--master", metavar="HOST:PORT", help="rank 0's host and a free port there: meet over TCP")
    parser.add_argument("--folder", help="a folder that all hosts share: meet over files there (default: beside the "
                        "snapshots)")
    parser.add_argument("--job", help="a name for this run, the same for all its processes (default: the launcher's)")
    parser.add_argument("--timeout", type=float, default=600, metavar="SECONDS",
                        help="in which all processes must have come (default: %(default)g)")
    options = parser.parse_args(argv)
    if options.master and options.folder:
        raise InputError("--master and --folder are two ways to meet: give one of them")
    if not options.timeout > 0:
        raise InputError(f"--timeout {options.timeout:g} must be more than 0 seconds")
    place = find_place(os.environ)
    if options.job:
        place = place._replace(job=options.job)
    device = find_device(place, os.environ)
    os.environ["GLOG_minloglevel"] = "0" if place.rank == 0 else "2"  # before caffe: importing it reads this
    from stal import hosts  # after the arguments: --help needs no Caffe
    plan = hosts.read_plan(options.solver)
    if place.rank == 0:
        for path in filter(None, (options.snapshot, *options.weights)):
            if not os.path.exists(path):
                raise InputError(f"there is no file {path}: --snapshot wants a .solverstate, --weights a .caffemodel")
    address = parse_address(options.master) if options.master else None if options.folder else find_master(os.environ)
    if address:
        meeting = TcpMeeting(*address)
    else:
        job = re.sub(r"[^\w.-]", "_", place.job or "run")
        meeting = FileMeeting(os.path.join(options.folder, f"meeting_{job}") if options.folder else
                              f"{plan.prefix}_meeting_{job}")
    result = hosts.train(plan, place, device, meeting, options.snapshot, options.weights, options.timeout, mean)
    if place.rank == 0:
        print(f"Done, the weights are {result}")


if __name__ == "__main__":
    run(main)
