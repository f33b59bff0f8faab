"""VideoTripletData in C++: what batches hold, against its Python twin; resumed runs; wrong files refused."""

import os
import re
import shutil
import subprocess
import sys

import caffe
import cv2
import numpy as np
import pytest
from caffe import layers as L
from caffe.proto import caffe_pb2

from layers.twin import REQUIRED, read_options
from layers.video_triplet_data import video_triplet_data_layer as twin
from prototxt.nets.layers import method_layer
from stal.errors import InputError
from stal.images import prepare_frame, read_image
from stal.tracklets import Tracklet, read_list, write_joints, write_list

# pid: (camera, frames) of each tracklet. Person 7 is seen by one camera only, 300 in one tracklet only.
PEOPLE = {40: [(0, 12), (1, 9)], 7: [(0, 5), (0, 8)], 300: [(1, 3)], 12: [(0, 6), (1, 6), (2, 6), (0, 7)],
          1001: [(2, 1), (3, 4)]}
T = 4
BOTH = pytest.mark.parametrize("twins", [False, True], ids=["layer", "twin"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A list of PEOPLE: noise as PNG and JPEG, of several sizes. Each joint's confidence is its row."""
    folder = tmp_path_factory.mktemp("people")
    rng = np.random.default_rng(0)
    tracklets = []
    for pid, seen in PEOPLE.items():
        for k, (camid, length) in enumerate(seen):
            name = f"cam{camid}_{pid}_{k}"
            frames = tuple(f"{name}_{t}.{'jpg' if k % 2 else 'png'}" for t in range(length))
            tracklets.append(Tracklet(name, pid, camid, False, frames))
            size = rng.integers(8, 40, 2)
            for frame in frames:
                cv2.imwrite(str(folder / frame), rng.integers(0, 256, (*size, 3), np.uint8))
    write_list(folder / "train.csv", tracklets)
    joints = rng.normal(size=(sum(len(tracklet.frames) for tracklet in tracklets), 14, 3))
    joints[..., 2] = np.arange(len(joints))[:, None]
    write_joints(folder / "train.csv", joints)
    return folder


@pytest.fixture
def copy(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "people")


def write_net(path, folder, twins=False, tops=3, **options):
    """Writes a net that learns to tell the persons from the pixels."""
    options = {"source": f"{folder}/train.csv", "root_folder": f"{folder}/", "frames": T, "new_height": 16,
               "new_width": 8, **({"joints": f"{folder}/train_joints.npy"} if tops == 3 else {}), **options}
    spec = caffe.NetSpec()
    method_layer(spec, twins, "VideoTripletData", "data", [], ["data", "label", "joints"][:tops],
                 **{name: value for name, value in options.items() if value is not None})
    spec.pixels = L.Reshape(spec.data, shape=dict(dim=[-1, options["frames"] * 3 * 16 * 8]))
    spec.persons = L.InnerProduct(spec.pixels, num_output=len(PEOPLE),
                                  weight_filler=dict(type="gaussian", std=1e-4))
    spec.loss = L.SoftmaxWithLoss(spec.persons, spec.label)
    path.write_text(str(spec.to_proto()))
    return path


def net_of(tmp_path, folder, **options):
    return caffe.Net(str(write_net(tmp_path / "net.prototxt", folder, **options)), caffe.TRAIN)


def batches(net, count):
    """The data, labels and joints of the next batches."""
    for _ in range(count):
        net.forward()
        yield [net.blobs[name].data.copy() for name in ("data", "label", "joints")]


def videos(folder, joints, frames=T):
    """What a batch read, told by the confidences: (tracklet's place in the list, frames) of each video."""
    tracklets = read_list(folder / "train.csv")
    first = np.cumsum([0] + [len(tracklet.frames) for tracklet in tracklets])
    for rows in joints[:, 0, 2].astype(int).reshape(-1, frames):
        places = np.searchsorted(first, rows, side="right") - 1
        assert len(set(places)) == 1, "a video is of one tracklet"
        yield tracklets[places[0]], (rows - first[places[0]]).tolist()


OPTIONS = [
    {"mean_value": [104, 117, 123], "scale": 0.5},
    {"frames": 1, "mean_value": [7]},
    {"batch_identities": 3, "videos": 3, "seed": 2 ** 64 - 1, "identities": 5},
    {"batch_identities": 5, "videos": 1, "frames": 9, "seed": 0},
]


@pytest.mark.parametrize("options", OPTIONS)
def test_the_twin_reads_what_the_layer_reads(tmp_path, folder, options):
    nets = [net_of(tmp_path, folder, twins=twins, **options) for twins in (False, True)]
    seen = set()
    for (data, label, joints), (*twin_pixels_label, twin_joints) in zip(*(batches(net, 40) for net in nets)):
        np.testing.assert_array_equal(label, twin_pixels_label[1])
        np.testing.assert_allclose(joints, twin_joints, rtol=1e-6, atol=1e-5)
        # Two versions of OpenCV decode and resize.
        assert np.abs(data - twin_pixels_label[0]).max() <= 2 * options.get("scale", 1)
        seen.add(joints.tobytes())
    assert len(seen) == 40


def test_a_frame_and_its_joints_are_those_of_the_list(tmp_path, folder):
    mean, scale = (104, 117, 123), 0.5
    net = net_of(tmp_path, folder, mean_value=list(mean), scale=scale)
    stored = np.load(folder / "train_joints.npy")
    for data, _, joints in batches(net, 10):
        read = [tracklet.frames[t] for tracklet, frames in videos(folder, joints) for t in frames]
        for pixels, moved, frame in zip(data, joints, read, strict=True):
            image = read_image(folder / frame)
            prepared, _ = prepare_frame(image, None, 16, 8, mean, scale)
            assert np.abs(pixels - prepared).max() <= 2 * scale
            x, y, row = stored[int(moved[0, 2])].T
            height, width = image.shape[:2]
            expected = (x + 0.5) * 8 / width - 0.5, (y + 0.5) * 16 / height - 0.5, row
            np.testing.assert_allclose(moved.T, expected, rtol=1e-5, atol=1e-5)


def cameras(pid):
    return {camid for camid, _ in PEOPLE[pid]}


def check_videos(batch, label):
    """What holds for the videos of one batch, whatever its kind: labels, cameras, tracklets, frames."""
    by_pid = {}
    for (tracklet, frames), y in zip(batch, label, strict=True):
        assert y == sorted(PEOPLE).index(tracklet.pid)
        assert frames == sorted(frames) and len(frames) == T
        assert len(set(frames)) == min(T, len(tracklet.frames))  # a short one gives all it has
        by_pid.setdefault(tracklet.pid, []).append(tracklet)
    for pid, chosen in by_pid.items():
        assert len({tracklet.camid for tracklet in chosen}) == min(len(chosen), len(cameras(pid)))
        assert len({tracklet.name for tracklet in chosen}) == min(len(chosen), len(PEOPLE[pid]))


def test_a_triplet_is_two_videos_of_one_person_and_one_of_another(tmp_path, folder):
    anchors, negatives, read = [], [], set()
    for _, label, joints in batches(net_of(tmp_path, folder), 500):
        (anchor, _), (positive, _), (negative, _) = batch = list(videos(folder, joints))
        check_videos(batch, label)
        assert anchor.pid == positive.pid != negative.pid
        anchors.append(anchor.pid)
        negatives.append(negative.pid)
        read.update(joints[:, 0, 2])
    for drawn in (anchors, negatives):  # uniform: 100 each, standard deviation 9
        assert all(65 < drawn.count(pid) < 135 for pid in PEOPLE)
    assert len(read) == sum(length for seen in PEOPLE.values() for _, length in seen)


@pytest.mark.parametrize("persons, count", [(3, 2), (5, 5), (1, 1)])
def test_a_batch_of_p_persons_with_k_videos(tmp_path, folder, persons, count):
    drawn = []
    for _, label, joints in batches(net_of(tmp_path, folder, batch_identities=persons, videos=count), 100):
        batch = list(videos(folder, joints))
        check_videos(batch, label)
        pids = [tracklet.pid for tracklet, _ in batch]
        assert pids == [pid for pid in pids[::count] for _ in range(count)]
        assert len(set(pids)) == persons and len(pids) == persons * count
        drawn += pids[::count]
    assert set(drawn) == set(PEOPLE)


@BOTH
def test_a_batch_is_a_function_of_seed_and_number(tmp_path, folder, twins):
    first, again, other = ([b"".join(blob.tobytes() for blob in batch) for batch in batches(
        net_of(tmp_path, folder, twins=twins, seed=seed), 12)] for seed in (3, 3, 4))
    assert first == again and not set(first) & set(other)


@pytest.mark.parametrize("prefetch, threads", [(1, 1), (1, 4), (9, 3)])
def test_reading_ahead_changes_nothing(tmp_path, folder, prefetch, threads):
    nets = net_of(tmp_path, folder), net_of(tmp_path, folder, prefetch=prefetch, threads=threads)
    for found, wanted in zip(*(batches(net, 30) for net in nets)):
        for blob, other in zip(found, wanted):
            np.testing.assert_array_equal(blob, other)


@BOTH
def test_two_solvers_share_the_batches_out(tmp_path, folder, twins):
    whole = [joints.tobytes() for _, _, joints in batches(net_of(tmp_path, folder, twins=twins), 8)]
    for rank in (0, 1):
        caffe.set_multiprocess(True)  # else Caffe has Python layers in one solver only
        caffe.set_solver_count(2)
        caffe.set_solver_rank(rank)
        try:
            net = net_of(tmp_path, folder, twins=twins)
        finally:
            caffe.set_multiprocess(False)
            caffe.set_solver_count(1)
            caffe.set_solver_rank(0)
        assert [joints.tobytes() for _, _, joints in batches(net, 4)] == whole[rank::2]


def test_two_tops_are_enough(tmp_path, folder):
    for twins in (False, True):
        nets = [net_of(tmp_path, folder, twins=twins, tops=tops) for tops in (2, 3)]
        for net in nets:
            net.forward()
        np.testing.assert_array_equal(*(net.blobs["data"].data for net in nets))


def test_the_random_numbers_are_splitmix64():
    random = twin.BatchRandom(0, 0)
    random.state = 1234567  # the generator's published test values
    assert [random.below(2 ** 64) for _ in range(3)] == [
        6457827717110365317, 3203168211198807973, 9817491932198370423]
    random.state = 1234567
    assert [random.below(6) for _ in range(3)] == [2, 1, 3]  # 6 * value / 2^64, rounded down


def test_the_twins_options_are_the_layers():
    fields = {field.name: field for field in caffe_pb2.VideoTripletDataParameter.DESCRIPTOR.fields}
    assert set(twin.OPTIONS) == {*fields, "start"}
    for name, field in fields.items():
        if field.has_default_value:
            assert twin.OPTIONS[name][1] == field.default_value
    assert twin.OPTIONS["source"][1] is REQUIRED


@pytest.mark.parametrize("options, sentence", [
    ("{}", "VideoTripletData needs the option source"),
    ('{"source": 1}', "source must be a string"),
    ('{"source": "", "mean_value": [1, 2]}', "mean_value must be a list of no number, one, or three"),
    ('{"source": "", "seed": -1}', "seed must be an integer of at least 0"),
    ('{"source": "", "seed": 18446744073709551616}', "seed must be an integer"),
])
def test_a_wrong_option_of_the_twin_is_refused(options, sentence):
    with pytest.raises(InputError, match=sentence):
        read_options(twin.NAME, options, twin.OPTIONS)


# A run broken off and resumed.

def write_solver(tmp_path, folder, iter_size=1, max_iter=10, **options):
    path = tmp_path / "solver.prototxt"
    proto = caffe_pb2.SolverParameter(
        net=str(write_net(tmp_path / "net.prototxt", folder, **options)), base_lr=1e-5, lr_policy="fixed",
        momentum=0.9, weight_decay=1e-3, max_iter=max_iter, iter_size=iter_size, random_seed=1,
        snapshot_prefix=str(tmp_path / "snap"), snapshot_after_train=False,
        solver_mode=caffe_pb2.SolverParameter.CPU)
    path.write_text(str(proto))
    return path


def solver_of(tmp_path, folder, **options):
    return caffe.SGDSolver(str(write_solver(tmp_path, folder, **options)))


def weights(solver):
    return b"".join(blob.data.tobytes() for blobs in solver.net.params.values() for blob in blobs)


@pytest.mark.parametrize("iter_size", [1, 3])
def test_a_resumed_run_ends_as_the_unbroken_one(tmp_path, folder, iter_size):
    unbroken = solver_of(tmp_path, folder, iter_size=iter_size)
    unbroken.step(5)
    unbroken.snapshot()
    before = weights(unbroken)
    unbroken.step(5)
    resumed = solver_of(tmp_path, folder, iter_size=iter_size)
    for solver in (resumed, unbroken):  # a fresh solver, and one that has read ahead
        ended = weights(unbroken)
        solver.restore(str(tmp_path / "snap_iter_5.solverstate"))
        assert weights(solver) == before != ended
        solver.step(5)
        assert weights(solver) == ended


def test_the_twin_resumes_with_start(tmp_path, folder):
    unbroken = solver_of(tmp_path, folder, twins=True)
    unbroken.step(5)
    unbroken.snapshot()
    unbroken.step(5)
    for start, same in ((5, True), (0, False)):
        resumed = solver_of(tmp_path, folder, twins=True, start=start)
        resumed.restore(str(tmp_path / "snap_iter_5.solverstate"))
        resumed.step(5)
        assert (weights(resumed) == weights(unbroken)) == same


# Wrong files. Each function spoils the folder and returns the options that the net needs then.

def edit_list(change):
    def spoil(folder):
        lines = (folder / "train.csv").read_text().splitlines()
        (folder / "train.csv").write_text("".join(f"{line}\n" for line in change(lines)))
        return {}
    return spoil


def edit_row(number, column, value):
    def change(lines):
        fields = lines[number - 1].split(",")
        fields[column] = value
        return [*lines[:number - 1], ",".join(fields), *lines[number:]]
    return edit_list(change)


def edit_images(kind, change):
    def spoil(folder):
        for path in folder.glob(f"*.{kind}"):
            path.write_bytes(change(path.read_bytes()))
        return {}
    return spoil


def remove(name):
    def spoil(folder):
        (folder / name).unlink()
        return {}
    return spoil


def edit_joints(change):
    def spoil(folder):
        np.save(folder / "train_joints.npy", change(np.load(folder / "train_joints.npy")))
        return {}
    return spoil


def cut_joints(folder):
    path = folder / "train_joints.npy"
    path.write_bytes(path.read_bytes()[:-100])
    return {}


def one_person(folder):
    edit_list(lambda lines: lines[:3])(folder)
    return {"tops": 2}


def options(**values):
    return lambda folder: values


OTHER_JOINTS = r"train_joints.npy .*float32 .*\(67, 14, 3\): write both anew with data_prep/"
NO_HEADER = "train.csv is no tracklet list: its first line must be tracklet,pid,camid,query,frames"
BAD = {
    "missing image": (remove("cam0_7_0_2.png"),
                      r"cannot read the image \S*cam0_7_0_2.png of \S*train.csv: restore it"),
    "truncated JPEG": (edit_images("jpg", lambda content: content[:-100]),
                       r"_\d.jpg is a JPEG file that is cut short: restore it"),
    "truncated PNG": (edit_images("png", lambda content: content[:-100]),
                      r"_\d.png is a PNG file that is cut short: restore it"),
    "empty image": (edit_images("png", lambda content: b""), r"_\d.png is no readable image: restore it"),
    "no image": (edit_images("jpg", lambda content: b"text"), r"_\d.jpg is no readable image: restore it"),
    "missing list": (remove("train.csv"),
                     r"there is no tracklet list \S*train.csv: write it with a program of data_prep/"),
    "empty list": (edit_list(lambda lines: []), NO_HEADER),
    "only a header": (edit_list(lambda lines: lines[:1]), "train.csv lists no tracklet: write it anew"),
    "wrong header": (edit_row(1, 0, "name"), NO_HEADER),
    "a field too many": (edit_row(4, 3, "0,0"), "train.csv line 4 has 6 fields, not the 5 of tracklet,pid"),
    "pid that is no number": (edit_row(3, 1, "one"), "train.csv line 3: .*'one'.* must be"),
    "negative camid": (edit_row(3, 2, "-1"), "train.csv line 3: camid counts from 0 and query is 0 or 1, not -1"),
    "query that is no flag": (edit_row(3, 3, "yes"), "train.csv line 3: camid counts from 0 and query is 0 or 1, not .*yes"),
    "no frames": (edit_row(3, 4, ""), "train.csv line 3: tracklet cam0_12_3 has no frames; remove the row"),
    "repeated tracklet": (edit_row(3, 0, "cam0_12_0"),
                          "train.csv line 3 repeats tracklet cam0_12_0 of line 2: remove one"),
    "missing joints": (remove("train_joints.npy"),
                       r"there is no joints file \S*train_joints.npy: write it with data_prep/"),
    "joints of fewer frames": (edit_joints(lambda joints: joints[1:]), OTHER_JOINTS),
    "joints without confidence": (edit_joints(lambda joints: joints[..., :2]), OTHER_JOINTS),
    "joints as doubles": (edit_joints(lambda joints: joints.astype(float)), OTHER_JOINTS),
    "joints cut short": (cut_joints, "train_joints.npy is (cut short|no complete .npy file.*): write it"),
    "no joints given": (options(joints=None), "the third top needs a joints file; data_prep/ writes one"),
    "net of more persons": (options(identities=150),
                            "train.csv has 5 identities, but the net is made for 150: prepare that split, or "
                            "write the net anew with python -m prototxt.generate --identities 5"),
    "batch of more persons": (options(batch_identities=6), "train.csv has 5 identities, but a batch needs 6"),
    "one person": (one_person, "train.csv has 1 identities, but a batch needs 2"),
    "no threads": (options(threads=0), "threads must be"),
    "two means": (options(mean_value=[1, 2]), "mean_value.* one, or three"),
}


@BOTH
@pytest.mark.parametrize("name", BAD)
def test_wrong_input_raises_a_sentence(tmp_path, copy, name, twins):
    spoil, sentence = BAD[name]
    start = "" if twins else r"layer 'data' \(VideoTripletData\): "
    with pytest.raises(ValueError, match=f"^{start}.*({sentence})"):
        for _ in batches(net_of(tmp_path, copy, twins=twins, **spoil(copy)), 30):
            pass


@pytest.mark.parametrize("name", BAD)
def test_the_program_ends_with_the_sentence(tmp_path, copy, name):
    spoil, sentence = BAD[name]
    path = write_solver(tmp_path, copy, max_iter=30, **spoil(copy))
    caffe_program = os.path.join(sys.prefix, "bin", "caffe")
    done = subprocess.run([caffe_program, "train", "-solver", path], capture_output=True, text=True,
                          env={**os.environ, "GLOG_logtostderr": "1"}, timeout=60)
    assert done.returncode == 1
    assert "stack trace" not in done.stderr and "terminate called" not in done.stderr
    last = done.stderr.splitlines()[-1]
    assert re.match(rf"caffe: layer 'data' \(VideoTripletData\): .*({sentence})", last)
