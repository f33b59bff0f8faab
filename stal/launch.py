"""The processes of one run, which an existing launcher starts: who each of them is, and how they meet.

NCCL connects processes that share an id of rank 0's. Before that they have to find each other: over files in a shared
folder (:class:`FileMeeting`) or at a TCP port of rank 0's host (:class:`TcpMeeting`). Standard library only.
"""

import contextlib
import json
import os
import secrets
import socket
import time
from typing import NamedTuple

from stal.errors import InputError
from stal.files import write_json

# Launcher: what it sets for rank, number of processes, rank on the host; what names the job. The innermost comes first:
# torchrun runs under srun, and mpirun within an allocation of Slurm's, whose variables are then still there.
LAUNCHERS = {
    "torchrun": (("RANK", "WORLD_SIZE", "LOCAL_RANK"), ("TORCHELASTIC_RUN_ID",)),
    "Open MPI": (("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK"), ("PMIX_NAMESPACE",)),
    "MPICH": (("PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID"), ()),
    "Slurm": (("SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID"), ("SLURM_JOB_ID", "SLURM_STEP_ID")),
}
_POLL = 0.1        # seconds between two looks
_PATIENCE = 5      # seconds for a connected process to say its line
_LONGEST = 65536   # bytes of a line


class Place(NamedTuple):
    """Which of the run's processes this one is."""

    rank: int        # 0 .. size - 1
    size: int        # processes of the run
    local_rank: int  # 0 .. processes on this host - 1
    launcher: str
    job: str         # the launcher's name for the run; "" if it has none


def find_place(environ):
    """The :class:`Place` that the launcher's environment variables give this process.

    Raises:
        InputError: no launcher, only a part of its variables, or numbers that do not go together.
    """
    partly = ""
    for launcher, (names, job) in LAUNCHERS.items():
        missing = [name for name in names if name not in environ]
        if not missing:
            rank, size, local_rank = (_number(name, environ[name]) for name in names)
            if not 0 <= rank < size or not 0 <= local_rank < size:
                raise InputError(f"{names[0]}={rank}, {names[1]}={size} and {names[2]}={local_rank} do not go together: "
                                 "ranks count from 0; let the launcher set them")
            return Place(rank, size, local_rank, launcher, ".".join(environ[name] for name in job if name in environ))
        if len(missing) < len(names) and not partly:
            partly = f", and of {launcher}'s variables {', '.join(missing)} is missing"
    raise InputError("no launcher started this process" + partly + ": start it under mpirun, srun or torchrun, or use "
                     "caffe train for one host")


def find_device(place, environ):
    """The number of this process's GPU among those that CUDA shows it.

    A launcher shows a process all GPUs of the host, or only its own (Slurm's --gpus-per-task=1).

    Raises:
        InputError: CUDA_VISIBLE_DEVICES shows fewer GPUs than there are processes on the host.
    """
    shown = environ.get("CUDA_VISIBLE_DEVICES")
    if shown is None:
        return place.local_rank
    count = len([name for name in shown.split(",") if name.strip()])
    if count == 1:
        return 0
    if place.local_rank >= count:
        raise InputError(f"rank {place.rank} is process {place.local_rank} of its host, counted from 0, and "
                         f"CUDA_VISIBLE_DEVICES={shown} shows {count} GPUs: start one process a GPU")
    return place.local_rank


def find_master(environ):
    """(host, port) of MASTER_ADDR and MASTER_PORT, or None where they are not both set.

    Where torchrun itself listens on that port it is the next one.
    """
    if "MASTER_ADDR" not in environ or "MASTER_PORT" not in environ:
        return None
    host, port = parse_address(f"{environ['MASTER_ADDR']}:{environ['MASTER_PORT']}")
    return host, port + (environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True")


def parse_address(text):
    """(host, port) of HOST:PORT. Raises InputError."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65535:
        raise InputError(f"{text} is no HOST:PORT with a port from 1 to 65534: give rank 0's host and a free port there")
    return host.strip("[]"), int(port)


def meet(place, meeting, facts, note=None, timeout=600.0):
    """Brings all processes of a run together; returns rank 0's ``note``, to each of them.

    Args:
        meeting: a :class:`FileMeeting` or :class:`TcpMeeting`, the same for all.
        facts: {name: text} in which all processes must agree with rank 0.
        note: on rank 0 a dict for JSON, else not read.
        timeout: seconds from now within which all must have come.
    Raises:
        InputError: they did not all come, or do not agree; each process that came is told and raises it too.
    """
    deadline = time.monotonic() + timeout
    facts = {"number of processes": str(place.size), **facts}
    if place.rank:
        answer = meeting.ask(place, {"rank": place.rank, "host": socket.gethostname(), "facts": facts}, deadline)
        if answer is None:
            raise InputError(f"rank {place.rank} of {place.size} heard nothing of rank 0 {meeting.where} within "
                             f"{timeout:g} s: look at rank 0's output, or give another place or a longer --timeout")
    else:
        with meeting:
            answer = {"refusal": _hear_all(place, meeting, facts, deadline, timeout), "note": note}
            meeting.publish(answer)
    if answer["refusal"]:
        raise InputError(answer["refusal"])
    return answer["note"]


class FileMeeting:
    """Processes that meet in a folder which all of them see.

    ============  ================================================================================
    call.json     rank 0's random number
    hello_R.json  rank R's answer: that number, its facts and a random number of its own
    answer.json   rank 0's: all their numbers, and the note
    ============  ================================================================================

    Who reads a file looks for its own number in it. So what a killed run left is never taken for today's, whatever it
    is called.
    """

    def __init__(self, folder):
        self.where = f"in {folder}"
        self._folder = folder
        self._number = secrets.token_hex(8)
        self._heard = {}  # rank: its number

    def __enter__(self):
        self._write("call.json", {"call": self._number})
        return self

    def __exit__(self, *error):
        pass

    def hear(self, place, deadline):
        """Rank 0: yields the hellos of the other ranks as they come, until the deadline."""
        while time.monotonic() < deadline:
            for rank in range(1, place.size):
                hello = self._read(f"hello_{rank}.json")
                if hello and hello["call"] == self._number and hello["number"] != self._heard.get(str(rank)):
                    self._heard[str(rank)] = hello["number"]
                    yield hello
            time.sleep(_POLL)

    def publish(self, answer):
        """Rank 0: answers all that it heard."""
        self._write("answer.json", {"heard": self._heard, **answer})

    def ask(self, place, hello, deadline):
        """Another rank: rank 0's answer to ``hello``, or None."""
        answered = None
        while time.monotonic() < deadline:
            call = (self._read("call.json") or {}).get("call")
            if call != answered:
                self._write(f"hello_{place.rank}.json", {"call": call, "number": self._number, **hello})
                answered = call
            answer = self._read("answer.json")
            if answer and answer["heard"].get(str(place.rank)) == self._number:  # it heard this process, not an old one
                return answer
            time.sleep(_POLL)
        return None

    def clear(self):
        """Rank 0, once all have read the answer: removes the files."""
        for name in self._names():
            if name in ("call.json", "answer.json") or name.startswith("hello_"):
                with contextlib.suppress(OSError):
                    os.remove(os.path.join(self._folder, name))
        with contextlib.suppress(OSError):
            os.rmdir(self._folder)

    def _write(self, name, value):
        write_json(os.path.join(self._folder, name), value)

    def _read(self, name):
        """A file's value, None where there is none. Listing the folder first makes NFS look at the server."""
        if name not in self._names():
            return None
        try:
            with open(os.path.join(self._folder, name), encoding="utf-8") as stream:
                return json.load(stream)
        except (OSError, ValueError):
            return None

    def _names(self):
        try:
            return os.listdir(self._folder)
        except OSError:
            return []


class TcpMeeting:
    """Processes that meet at a TCP port of rank 0's host. Each says one line of JSON, and gets one."""

    def __init__(self, host, port):
        self.where = f"at {host}:{port}"
        self._address = host, port
        self._connections = []  # (rank, socket) of all that said who they are

    def __enter__(self):
        try:
            family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET
            self._server = socket.create_server(("", self._address[1]), family=family, backlog=1024,
                                                dualstack_ipv6=family == socket.AF_INET6)
        except OSError as error:
            raise InputError(f"rank 0 cannot listen on port {self._address[1]} ({os.strerror(error.errno)}): give another "
                             "free port with --master HOST:PORT") from None
        return self

    def __exit__(self, *error):
        for _, connection in self._connections:
            connection.close()
        self._server.close()

    def hear(self, place, deadline):
        """Rank 0: yields the hellos of the other ranks as they come, until the deadline."""
        while (left := deadline - time.monotonic()) > 0:
            self._server.settimeout(left)
            hello = None
            with contextlib.suppress(OSError):  # nobody came any more, or what came has left
                connection, _ = self._server.accept()
                connection.settimeout(min(left, _PATIENCE))
                hello = _line(connection)
            if hello and hello.get("job") == place.job and {"rank", "host", "facts"} <= hello.keys():
                hello["twice"] = any(rank == hello["rank"] and not _closed(earlier) for rank, earlier in self._connections)
                self._connections.append((hello["rank"], connection))
                yield hello  # anything else found the port by chance; its connection closes with the variable

    def publish(self, answer):
        """Rank 0: answers all that it heard."""
        for _, connection in self._connections:
            with contextlib.suppress(OSError):
                connection.sendall(json.dumps(answer).encode() + b"\n")

    def ask(self, place, hello, deadline):
        """Another rank: rank 0's answer to ``hello``, or None."""
        while (left := deadline - time.monotonic()) > 0:
            with contextlib.suppress(OSError):  # rank 0 does not listen yet, or went away
                with socket.create_connection(self._address, timeout=left) as connection:
                    connection.sendall(json.dumps({"job": place.job, **hello}).encode() + b"\n")
                    connection.settimeout(max(deadline - time.monotonic(), _POLL))
                    answer = _line(connection)
                    if answer and "refusal" in answer:
                        return answer
            time.sleep(_POLL)
        return None

    def clear(self):
        """There is nothing to remove."""


def _hear_all(place, meeting, facts, deadline, timeout):
    """Rank 0 waits for all. Returns why the run cannot start, in a sentence for all its processes; "" if it can."""
    missing = set(range(1, place.size))
    for hello in meeting.hear(place, deadline) if missing else ():
        who = f"rank {hello['rank']} on {hello['host']}"
        for name, value in facts.items():
            other = hello["facts"].get(name)
            if other != value:
                return (f"{who} has the {name} {other}, but rank 0 on {socket.gethostname()} has {value}: start all "
                        "processes with one command, over the same files")
        if hello.get("twice"):
            return f"{who} came twice: let the launcher number the processes"
        missing.discard(hello["rank"])
        if not missing:
            break
    if not missing:
        return ""
    ranks = ", ".join(map(str, sorted(missing)[:8])) + (" and more" if len(missing) > 8 else "")
    return (f"rank {ranks} of {place.size} did not come to rank 0 {meeting.where} within {timeout:g} s: look at its output, "
            "start all processes together, or give another place or a longer --timeout")


def _number(name, text):
    try:
        return int(text)
    except ValueError:
        raise InputError(f"{name}={text} is no number: let the launcher set it") from None


def _line(connection):
    """The dict of JSON that the other side's line holds, None for anything else."""
    received = b""
    while not received.endswith(b"\n") and len(received) < _LONGEST:
        more = connection.recv(4096)
        if not more:
            return None
        received += more
    try:
        value = json.loads(received)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _closed(connection):
    """Whether the other side has closed it."""
    connection.setblocking(False)
    try:
        return not connection.recv(1)
    except BlockingIOError:
        connection.settimeout(_PATIENCE)
        return False
    except OSError:
        return True
