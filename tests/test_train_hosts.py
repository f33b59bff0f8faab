"""tools/train_hosts.py: who a process is, how processes find each other, and a run of two. NCCL itself needs GPUs."""

import json
import os
import re
import socket
import subprocess
import sys
import threading

import caffe
import numpy as np
import pytest
from caffe import layers as L
from caffe.proto import caffe_pb2

from data_prep import ilids_vid, synthetic
from prototxt.nets.layers import method_layer
from stal import hosts, launch
from stal.errors import InputError
from stal.launch import FileMeeting, Place, TcpMeeting, find_device, find_master, find_place, meet
from tools.train_hosts import main

HERE = os.path.dirname(os.path.abspath(__file__))
# As the launchers set them: torchrun 2.13, mpirun of Open MPI 4.1, mpiexec of MPICH 4.0, srun 22.05.
TORCHRUN = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "TORCHELASTIC_RUN_ID": "none", "MASTER_ADDR": "host0",
            "MASTER_PORT": "29500", "TORCHELASTIC_USE_AGENT_STORE": "True"}
OPEN_MPI = {"OMPI_COMM_WORLD_RANK": "3", "OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_LOCAL_RANK": "1",
            "PMIX_NAMESPACE": "2056257537", "PMIX_RANK": "3"}
MPICH = {"PMI_RANK": "1", "PMI_SIZE": "2", "MPI_LOCALRANKID": "1"}
SRUN = {"SLURM_PROCID": "2", "SLURM_NTASKS": "4", "SLURM_LOCALID": "0", "SLURM_JOB_ID": "77", "SLURM_STEP_ID": "0"}
SBATCH = {"SLURM_PROCID": "0", "SLURM_NTASKS": "4", "SLURM_LOCALID": "0", "SLURM_JOB_ID": "77"}


@pytest.mark.parametrize("environ, place", [
    (TORCHRUN, Place(5, 8, 1, "torchrun", "none")),
    (OPEN_MPI, Place(3, 4, 1, "Open MPI", "2056257537")),
    (MPICH, Place(1, 2, 1, "MPICH", "")),
    (SRUN, Place(2, 4, 0, "Slurm", "77.0")),
    ({**SBATCH, **OPEN_MPI}, Place(3, 4, 1, "Open MPI", "2056257537")),
    ({**SRUN, **TORCHRUN}, Place(5, 8, 1, "torchrun", "none")),
    ({**SRUN, "PMI_RANK": "2", "PMI_SIZE": "4"}, Place(2, 4, 0, "Slurm", "77.0")),  # srun --mpi=pmi2
])
def test_the_launcher_says_who_a_process_is(environ, place):
    assert find_place(environ) == place


@pytest.mark.parametrize("environ, sentence", [
    ({}, "no launcher started this process: start it under mpirun, srun or torchrun"),
    ({"RANK": "0", "WORLD_SIZE": "2"}, "of torchrun's variables LOCAL_RANK is missing"),
    ({**MPICH, "PMI_RANK": "2"}, "PMI_RANK=2, PMI_SIZE=2 and MPI_LOCALRANKID=1 do not go together"),
    ({**MPICH, "PMI_RANK": "-1"}, "PMI_RANK=-1"),
    ({**MPICH, "MPI_LOCALRANKID": "2"}, "MPI_LOCALRANKID=2 do not go together"),
    ({**MPICH, "PMI_SIZE": "two"}, "PMI_SIZE=two is no number"),
])
def test_a_place_that_cannot_be_is_told(environ, sentence):
    with pytest.raises(InputError, match=sentence):
        find_place(environ)


@pytest.mark.parametrize("shown, local_rank, device", [(None, 3, 3), ("0,1,2,3", 3, 3), ("5", 3, 0), ("GPU-8,GPU-9", 1, 1)])
def test_a_process_takes_its_own_gpu(shown, local_rank, device):
    environ = {} if shown is None else {"CUDA_VISIBLE_DEVICES": shown}
    assert find_device(Place(4, 8, local_rank, "Slurm", ""), environ) == device


@pytest.mark.parametrize("shown, count", [("0,1", 2), ("", 0)])
def test_more_processes_than_gpus_are_refused(shown, count):
    with pytest.raises(InputError, match=rf"CUDA_VISIBLE_DEVICES={shown} shows {count} GPUs: start one process a GPU"):
        find_device(Place(2, 4, 2, "Slurm", ""), {"CUDA_VISIBLE_DEVICES": shown})


def test_the_master_of_the_launcher():
    assert find_master(SRUN) is None
    assert find_master({"MASTER_ADDR": "host0", "MASTER_PORT": "29500"}) == ("host0", 29500)
    assert find_master(TORCHRUN) == ("host0", 29501)  # torchrun itself listens on its port
    for text in ("host0", "host0:", ":5", "host0:0", "host0:65535", "host0:x"):
        with pytest.raises(InputError, match="is no HOST:PORT"):
            launch.parse_address(text)
    assert launch.parse_address("[::1]:80") == ("::1", 80)


# A process of its own that prints the note or the sentence as JSON.
CHILD = """
import json, sys
from stal.errors import InputError
from stal.launch import FileMeeting, Place, TcpMeeting, meet
place, kind, where, facts, note, timeout = json.loads(sys.argv[1])
meeting = FileMeeting(where) if kind == "files" else TcpMeeting("localhost", where)
try:
    print(json.dumps(["note", meet(Place(*place), meeting, facts, note, timeout)]))
except InputError as error:
    print(json.dumps(["error", str(error)]))
"""


class Meeting:
    """Processes that meet one way; ``start`` starts one, ``end`` waits for it."""

    def __init__(self, kind, tmp_path):
        self.kind = kind
        if kind == "files":
            self.where = str(tmp_path / "shared" / "meeting")
        else:
            with socket.create_server(("", 0)) as server:
                self.where = server.getsockname()[1]

    def start(self, rank, size, timeout=60, note=None, job="job", **facts):
        given = [[rank, size, rank, "a launcher", job], self.kind, self.where, {"solver": "one", **facts}, note, timeout]
        return subprocess.Popen([sys.executable, "-c", CHILD, json.dumps(given)], stdout=subprocess.PIPE, text=True)

    @staticmethod
    def end(process):
        said, _ = process.communicate(timeout=60)
        return json.loads(said)


@pytest.fixture(params=["files", "tcp"])
def meeting(request, tmp_path):
    return Meeting(request.param, tmp_path)


NOTE = {"id": "00ff00", "state": "a b"}


def test_all_get_the_note_of_rank_0(meeting):
    processes = [meeting.start(rank, 4, note=NOTE if rank == 0 else None) for rank in (3, 1, 0, 2)]
    assert [meeting.end(process) for process in processes] == [["note", NOTE]] * 4


def test_a_late_rank_is_waited_for_and_so_is_rank_0(meeting):
    first = meeting.start(1, 3)
    with pytest.raises(subprocess.TimeoutExpired):
        first.communicate(timeout=0.5)
    zero = meeting.start(0, 3, note=NOTE)
    with pytest.raises(subprocess.TimeoutExpired):
        zero.communicate(timeout=0.5)
    assert first.poll() is None
    late = meeting.start(2, 3)
    assert [meeting.end(process) for process in (first, zero, late)] == [["note", NOTE]] * 3


def test_a_run_of_one_process_meets_nobody(meeting):
    assert meeting.end(meeting.start(0, 1, note=NOTE)) == ["note", NOTE]


def test_a_rank_that_does_not_come_is_named_to_all(meeting):
    processes = [meeting.start(0, 4, timeout=3, note=NOTE), meeting.start(2, 4)]
    for process in processes:
        kind, sentence = meeting.end(process)
        assert kind == "error" and "rank 1, 3 of 4 did not come to rank 0" in sentence and "within 3 s" in sentence


def test_rank_0_that_does_not_come_is_told(meeting):
    kind, sentence = meeting.end(meeting.start(1, 2, timeout=0.5))
    assert kind == "error" and "rank 1 of 2 heard nothing of rank 0" in sentence


@pytest.mark.parametrize("other, sentence", [
    (dict(size=3), "has the number of processes 3, but rank 0 on .* has 2: start all"),
    (dict(size=2, solver="another"), "has the solver another, but rank 0 on .* has one: start all"),
])
def test_processes_that_disagree_are_told_at_once(meeting, other, sentence):
    processes = [meeting.start(0, 2, note=NOTE), meeting.start(1, **other)]
    for process in processes:
        kind, said = meeting.end(process)
        assert kind == "error" and re.search(f"rank 1 on .* {sentence}", said)


def test_what_a_killed_run_left_is_not_taken(tmp_path):
    """All files of an earlier meeting with the same name, and rank 1 looks at them before rank 0 has come."""
    meeting = Meeting("files", tmp_path)
    stale = {"id": "stale"}
    for process in [meeting.start(rank, 3, note=stale) for rank in range(3)]:
        assert meeting.end(process) == ["note", stale]
    left = sorted(os.listdir(meeting.where))
    assert left == ["answer.json", "call.json", "hello_1.json", "hello_2.json"]
    before = open(os.path.join(meeting.where, "hello_1.json")).read()
    first = meeting.start(1, 3)
    while open(os.path.join(meeting.where, "hello_1.json")).read() == before:  # it answers the stale call
        assert first.poll() is None
    zero = meeting.start(0, 3, note=NOTE)
    with pytest.raises(subprocess.TimeoutExpired):  # the stale hello of rank 2 does not count
        zero.communicate(timeout=0.5)
    second = meeting.start(2, 3)
    assert [meeting.end(process) for process in (zero, first, second)] == [["note", NOTE]] * 3


def test_the_files_are_removed(tmp_path):
    meeting = FileMeeting(tmp_path / "meeting")
    assert meet(Place(0, 1, 0, "", ""), meeting, {}, NOTE) == NOTE
    meeting.clear()
    assert not os.listdir(tmp_path)


def test_half_written_files_are_waited_for(tmp_path):
    meeting = Meeting("files", tmp_path)
    os.makedirs(meeting.where)
    for name in ("call.json", "answer.json", "hello_1.json"):
        with open(os.path.join(meeting.where, name), "w") as stream:
            stream.write('{"call": ')
    processes = [meeting.start(1, 2), meeting.start(0, 2, note=NOTE)]
    assert [meeting.end(process) for process in processes] == [["note", NOTE]] * 2


def test_what_else_finds_the_port_is_sent_away(tmp_path):
    """Nonsense, a silent visitor who leaves, a process of another run, and then the right one."""
    meeting = Meeting("tcp", tmp_path)
    zero = meeting.start(0, 2, note=NOTE)
    visits = [b"GET / HTTP/1.1\r\n\r\n\n", b"[1, 2]\n", b'{"job": "job", "rank": 1}\n', b""]
    for line in visits:
        while True:
            try:
                with socket.create_connection(("localhost", meeting.where)) as visitor:
                    visitor.sendall(line)
                break
            except ConnectionRefusedError:
                assert zero.poll() is None
    foreign = meeting.start(1, 2, job="another job", timeout=2)
    assert meeting.end(foreign)[0] == "error"
    assert zero.poll() is None
    assert [meeting.end(process) for process in (meeting.start(1, 2), zero)] == [["note", NOTE]] * 2


def test_a_rank_that_comes_twice_is_refused(tmp_path):
    meeting = Meeting("tcp", tmp_path)
    processes = [meeting.start(rank, 3, note=NOTE) for rank in (0, 1, 1)]
    for process in processes:
        kind, said = meeting.end(process)
        assert kind == "error" and re.search("rank 1 on .* came twice: let the launcher", said)


def test_a_rank_that_died_and_comes_again_is_taken():
    with socket.create_server(("", 0)) as server:
        port = server.getsockname()[1]
    meeting, hellos = TcpMeeting("localhost", port), []
    hello = {"job": "", "rank": 1, "host": "h", "facts": {}}
    with meeting:
        visits = threading.Thread(target=lambda: [_visit(port, hello), _visit(port, hello)])
        visits.start()
        for heard in meeting.hear(Place(0, 3, 0, "", ""), launch.time.monotonic() + 30):
            hellos.append(heard["twice"])
            if len(hellos) == 2:
                break
        visits.join()
    assert hellos == [False, False]


def _visit(port, hello):
    """Says its line and leaves; returns once the other side can see that."""
    with socket.create_connection(("localhost", port)) as connection:
        connection.sendall(json.dumps(hello).encode() + b"\n")


def test_a_taken_port_is_told():
    with socket.create_server(("", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(InputError, match=rf"rank 0 cannot listen on port {port} \(Address already in use\): give"):
            meet(Place(0, 2, 0, "", ""), TcpMeeting("localhost", port), {}, NOTE, 5)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A prepared synthetic set of 8 persons."""
    root = tmp_path_factory.mktemp("data")
    synthetic.main(["--root", str(root), "--identities", "8", "--length", "3", "5", "--workers", "1"])
    ilids_vid.main(["--root", str(root)])
    return root


def write_run(folder, data, max_iter=6, **options):
    """A net with one layer to learn and its solver, in ``folder``; returns the solver's path."""
    os.makedirs(folder, exist_ok=True)
    spec = caffe.NetSpec()
    method_layer(spec, False, "VideoTripletData", "data", [], ["data", "label"], source=f"{data}/train.csv",
                 root_folder=f"{data}/", frames=2, new_height=32, new_width=16, scale=0.01)
    spec.pixels = L.Reshape(spec.data, shape=dict(dim=[-1, 2 * 3 * 32 * 16]))
    spec.persons = L.InnerProduct(spec.pixels, num_output=4, weight_filler=dict(type="xavier"))
    spec.loss = L.SoftmaxWithLoss(spec.persons, spec.label)
    (folder / "net.prototxt").write_text(str(spec.to_proto()))
    (folder / "solver.prototxt").write_text(str(caffe_pb2.SolverParameter(**{**dict(
        train_net=f"{folder}/net.prototxt", base_lr=0.01, lr_policy="fixed", momentum=0.9, weight_decay=1e-3,
        max_iter=max_iter, snapshot=4, snapshot_prefix=f"{folder}/run", random_seed=1, display=1), **options})))
    return folder / "solver.prototxt"


def start(rank, size, *arguments, folder=None, **environ):
    environ = {**{name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "OMPI_", "PMI"))},
               "RANK": str(rank), "WORLD_SIZE": str(size), "LOCAL_RANK": str(rank), "OMP_NUM_THREADS": "1",
               "OPENBLAS_NUM_THREADS": "1", "GLOG_minloglevel": "0", **environ}
    return subprocess.Popen([sys.executable, os.path.join(HERE, "host_mean.py"), *map(str, arguments)], env=environ,
                            cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def train(size, *arguments, **environ):
    """Output and errors of each rank of a run that must end well."""
    processes = [start(rank, size, *arguments, **environ) for rank in range(size)]
    outputs = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0] * size, outputs
    return outputs


def weights(path):
    net = caffe_pb2.NetParameter.FromString(path.read_bytes())
    return np.concatenate([np.array(blob.data) for layer in net.layer for blob in layer.blobs])


@pytest.mark.parametrize("way", ["files", "tcp"])
def test_two_processes_learn_what_one_learns_from_both_batches(tmp_path, data, way):
    """iter_size 2 sums the gradients of batches 0 and 1, 2 and 3, ..., which two processes read one each."""
    with socket.create_server(("", 0)) as server:
        port = server.getsockname()[1]
    solver = write_run(tmp_path / "two", data)
    outputs = train(2, "--solver", solver, *(["--master", f"localhost:{port}"] if way == "tcp" else []))
    assert outputs[0][0] == ("size 2 (torchrun): an iteration learns from 2 times the batch; from random weights\n"
                             f"Done, the weights are {tmp_path}/two/run_iter_6.caffemodel\n")
    assert "Iteration 5 (" in outputs[0][1] and "Snapshotting solver state" in outputs[0][1]
    assert outputs[1] == ("", "")
    assert sorted(path.name for path in (tmp_path / "two").glob("run*")) == [
        f"run_iter_{n}.{kind}" for n in (4, 6) for kind in ("caffemodel", "solverstate")]  # and no files of the meeting
    train(1, "--solver", write_run(tmp_path / "one", data, iter_size=2))
    two, one = (weights(tmp_path / name / "run_iter_6.caffemodel") for name in ("two", "one"))
    assert np.abs(two - one).max() < 1e-6
    assert np.abs(one - weights(tmp_path / "one" / "run_iter_4.caffemodel")).max() > 1e-4
    train(1, "--solver", write_run(tmp_path / "half", data))
    assert np.abs(one - weights(tmp_path / "half" / "run_iter_6.caffemodel")).max() > 1e-4


def test_a_run_goes_on_from_its_newest_snapshot(tmp_path, data):
    unbroken, broken = (write_run(tmp_path / name, data, max_iter=10) for name in ("unbroken", "broken"))
    train(2, "--solver", unbroken)
    train(2, "--solver", broken)
    for path in (tmp_path / "broken").glob("run_iter_10.*"):
        path.unlink()
    (tmp_path / "broken" / "run_iter_9.solverstate").write_text("without its weights")
    outputs = train(2, "--solver", broken)
    assert f"from {tmp_path}/broken/run_iter_8.solverstate\n" in outputs[0][0]
    assert "Iteration 8 (" in outputs[0][1] and "Iteration 7 (" not in outputs[0][1]
    ends = [(tmp_path / name / "run_iter_10.caffemodel").read_bytes() for name in ("unbroken", "broken")]
    assert ends[0] == ends[1]
    outputs = train(2, "--solver", broken)  # it is finished
    assert outputs[0] == (f"Done, the weights are {tmp_path}/broken/run_iter_10.caffemodel\n", "")


def test_weights_are_started_from(tmp_path, data):
    train(1, "--solver", write_run(tmp_path / "first", data))
    first = tmp_path / "first" / "run_iter_6.caffemodel"
    train(2, "--solver", write_run(tmp_path / "second", data, base_lr=0.0), "--weights", first)
    assert np.array_equal(weights(first), weights(tmp_path / "second" / "run_iter_6.caffemodel"))


def test_another_net_on_another_host_is_refused_by_both(tmp_path, data):
    processes = [start(0, 2, "--solver", write_run(tmp_path / "a", data), "--folder", tmp_path / "meeting"),
                 start(1, 2, "--solver", write_run(tmp_path / "b", data, momentum=0.5), "--folder", tmp_path / "meeting")]
    for process in processes:
        _, said = process.communicate(timeout=60)
        assert process.returncode == 1
        assert re.fullmatch(r"error: rank 1 on .* has the solver and net \w+, but rank 0 on .* has \w+: start .*\n", said)


def test_a_snapshot_that_another_host_does_not_see_is_told(tmp_path, data):
    """Two folders with the same solver and net stand for two hosts that share only the place to meet."""
    for name in ("one", "two"):
        write_run(tmp_path / name, data, max_iter=8, train_net="net.prototxt", snapshot_prefix="run")
    common = ["--solver", "solver.prototxt", "--folder", tmp_path / "meeting"]
    end = [process.communicate(timeout=60) for process in [start(0, 1, *common, folder=tmp_path / "one")]]
    (tmp_path / "one" / "run_iter_8.caffemodel").unlink()
    state = tmp_path / "one" / "run_iter_4.solverstate"
    assert state.exists(), end
    for content in (None, "half a state"):
        if content:
            (tmp_path / "two" / state.name).write_text(content)
        zero, one = (start(rank, 2, *common, folder=tmp_path / name) for rank, name in enumerate(("one", "two")))
        try:
            _, said = one.communicate(timeout=60)
            assert one.returncode == 1
            assert said == (f"error: rank 1 does not see rank 0's {state.name} of {state.stat().st_size} bytes: the folder "
                            "of the snapshots must be one that all hosts share\n")
        finally:
            zero.kill()  # as the launcher would
            zero.communicate()


def test_a_run_goes_on_from_the_snapshot_given(tmp_path, data):
    solver = write_run(tmp_path / "run", data)
    train(1, "--solver", solver)
    end = tmp_path / "run" / "run_iter_6.caffemodel"
    whole = end.read_bytes()
    end.write_bytes(b"")
    outputs = train(1, "--solver", solver, "--snapshot", tmp_path / "run" / "run_iter_4.solverstate")
    assert f"batch; from {tmp_path}/run/run_iter_4.solverstate\n" in outputs[0][0]
    assert end.read_bytes() == whole


def test_wrong_data_end_the_run_with_the_layers_sentence(tmp_path, data):
    solver = write_run(tmp_path / "run", data)
    net = tmp_path / "run" / "net.prototxt"
    net.write_text(net.read_text().replace("train.csv", "no.csv"))
    _, said = (process := start(0, 1, "--solver", solver)).communicate(timeout=60)
    assert process.returncode == 1
    assert re.fullmatch(r"error: rank 0: layer 'data' .*no.csv.*", said.splitlines()[-1])


@pytest.fixture
def launched(monkeypatch):
    """As the only process of a launcher."""
    for name in [name for name in os.environ if name.startswith(("SLURM_", "OMPI_", "PMI", "MASTER_", "CUDA_"))]:
        monkeypatch.delenv(name)
    for name, value in (("RANK", "0"), ("WORLD_SIZE", "1"), ("LOCAL_RANK", "0"), ("GLOG_minloglevel", "2")):
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize("arguments, sentence", [
    (["--master", "host"], "host is no HOST:PORT"),
    (["--master", "host:1", "--folder", "x"], "--master and --folder are two ways to meet"),
    (["--timeout", "0"], "--timeout 0 must be more than 0 seconds"),
    (["--weights", "no.caffemodel"], "there is no file no.caffemodel: --snapshot wants"),
    (["--snapshot", "no.solverstate"], "there is no file no.solverstate"),
    (["--solver", "no.prototxt"], "cannot read the solver no.prototxt .*: it is written by"),
    (["--solver", os.path.join(HERE, "README.md")], "README.md is no solver"),
])
def test_wrong_arguments_are_told(tmp_path, data, launched, arguments, sentence):
    solver = [] if "--solver" in arguments else ["--solver", str(write_run(tmp_path, data))]
    with pytest.raises(InputError, match=sentence):
        main([*solver, *arguments])


@pytest.mark.parametrize("options, sentence", [
    (dict(max_iter=0), "solver.prototxt needs a net's file, max_iter and snapshot_prefix"),
    (dict(train_net="no.prototxt"), "cannot read the net no.prototxt of .*solver.prototxt"),
    (dict(snapshot_prefix="nowhere/run"), "there is no folder nowhere for the snapshots of .*solver.prototxt"),
])
def test_wrong_solvers_are_told(tmp_path, data, options, sentence):
    with pytest.raises(InputError, match=sentence):
        hosts.read_plan(write_run(tmp_path, data, **options))


@pytest.mark.parametrize("missing", ["nccl", "patch"])
def test_a_caffe_without_nccl_is_told(tmp_path, data, launched, monkeypatch, missing):
    class Nccl:
        @staticmethod
        def new_uid():
            return b"\x02"  # as upstream's pycaffe cuts an id at its first zero byte

    monkeypatch.setattr(caffe, "has_nccl", lambda: missing != "nccl")
    monkeypatch.setattr(caffe, "NCCL", Nccl)
    with pytest.raises(InputError, match={"nccl": "this Caffe was built without NCCL: build it with",
                                          "patch": "pycaffe gave 1 bytes of NCCL's 128-byte id: build Caffe with"}[missing]):
        main(["--solver", str(write_run(tmp_path, data))])


def test_nccl_is_joined_as_caffe_wants_it(monkeypatch):
    """Broadcast first; layer-wise reduction, Caffe's default, averages nothing unless the net calls it too."""
    calls = []

    class Fake:
        def __init__(self, name):
            self.name = name

        def __getattr__(self, name):
            return lambda *given: calls.append((self.name, name, *given))

    for layer_wise in (True, False):
        calls.clear()
        nccl, solver = Fake("nccl"), Fake("solver")
        solver.param, solver.net = type("Param", (), {"layer_wise_reduce": layer_wise}), Fake("net")
        monkeypatch.setattr(caffe, "NCCL", lambda given, uid: (calls.append(("NCCL", given, uid)), nccl)[1])
        assert hosts.NcclMean().join(solver, b"id") is nccl
        assert calls == [("NCCL", solver, b"id"), ("nccl", "bcast"), ("solver", "add_callback", nccl),
                         *([("net", "after_backward", nccl)] if layer_wise else [])]
