"""How many frames a second the data layer delivers: files read, decoded, squashed to 224 x 224, less the mean, in planes.

    python benchmarks/input_rate.py                                        # synthetic people
    python benchmarks/input_rate.py --clip one-by-one-person-detection.mp4 --out benchmarks/results/input_rate_film.json
    python benchmarks/input_rate.py --device gpu                           # bytes go to the GPU, which makes the planes

A net that is only VideoTripletData, with joints and the paper's batches (3 videos of 8 frames), reads pictures of the
published sizes from files that the system's cache holds. For each number of the layer's threads:

    frames_per_s      as a training loop would get them that does nothing else
    cpu_ms_per_frame  of all threads together: what a frame costs. It is hardly disturbed by what else the machine does;
                      1000 over it, times the cores that are free, is the rate to expect

Prints a table and writes --out. JPEG is of quality 95 and PNG of compression 1, as data_prep/synthetic.py writes them.
The clip's first 20 frames must show the empty scene (data_prep/footage.py).
"""

import argparse
import functools
import os
import resource
import tempfile
import time

import cv2
import numpy as np

from cpu_step import cpu_name
from stal.errors import InputError, run
from stal.files import replacing, write_json

# Width, height and kind of the published pictures.
KINDS = {"MARS, 128 x 256 JPEG": (128, 256, ".jpg"), "iLIDS-VID and PRID-2011, 64 x 128 PNG": (64, 128, ".png"),
         "64 x 128 JPEG": (64, 128, ".jpg")}
PERSONS, CAMERAS, LENGTH = 6, 2, 16  # of the set that is read
SIDE, FRAMES = 224, 8                # of a frame; of a video


def people(clip, size):
    """PERSONS x CAMERAS lists of LENGTH pictures (H, W, 3) uint8, BGR.

    Args:
        clip: a film, or None for drawn people; size: (width, height).
    """
    from data_prep import scene
    if clip is None:
        options = scene.Options()
        return [[[frame.image for frame in scene.render(options, person, camera, LENGTH, size).frames]
                 for camera in range(CAMERAS)] for person in range(PERSONS)]
    return [[[cv2.resize(image, size, interpolation=cv2.INTER_AREA) for image in half] for half in pair]
            for pair in cut_people(clip)]


@functools.cache
def cut_people(clip):
    """As :func:`people`, as large as the film shows them."""
    from data_prep import footage
    halves = [footage.choose(visit, LENGTH) for visit in footage.find_visits(clip)][:PERSONS]
    if len(halves) < 2 or min(len(half) for pair in halves for half in pair) < 1:
        raise InputError(f"{clip} shows fewer than two people long enough: give another film, or leave out --clip")
    boxes = {sighting.number: sighting.box for pair in halves for half in pair for sighting in half}
    cut = {}
    for number, frame in enumerate(footage.read_frames(clip)):
        if number in boxes:
            x1, y1, x2, y2 = boxes[number]
            cut[number] = frame[y1:y2, x1:x2]
    return [[[cut[sighting.number] for sighting in half] for half in pair] for pair in halves]


def write_set(folder, clip, width, height, kind):
    """Writes pictures, list and joints; returns the mean size of a file in bytes."""
    from data_prep.joints import upright_template
    from data_prep.layouts import encode
    from stal.tracklets import Tracklet, write_joints, write_list
    tracklets, sizes = [], []
    for person, cameras in enumerate(people(clip, (width, height))):
        for camera, images in enumerate(cameras):
            paths = [f"{person}_{camera}_{t:02}{kind}" for t in range(len(images))]
            for path, image in zip(paths, images):
                with replacing(os.path.join(folder, path), "wb") as stream:
                    sizes.append(stream.write(encode(path, image)))
            tracklets.append(Tracklet(f"{person}_{camera}", person, camera, False, tuple(paths)))
    write_list(os.path.join(folder, "train.csv"), tracklets)
    write_joints(os.path.join(folder, "train.csv"), np.tile(upright_template(width, height), (len(sizes), 1, 1)))
    return sum(sizes) / len(sizes)


def data_net(folder, threads):
    """The path of a net that reads the set in ``folder`` with so many threads."""
    import caffe
    from prototxt.nets.layers import method_layer
    spec = caffe.NetSpec()
    method_layer(spec, False, "VideoTripletData", "data", [], ["data", "label", "joints"],
                 source=f"{folder}/train.csv", root_folder=f"{folder}/", joints=f"{folder}/train_joints.npy",
                 frames=FRAMES, new_height=SIDE, new_width=SIDE, mean_value=[104, 117, 123], threads=threads,
                 prefetch=max(4, 2 * threads))
    path = os.path.join(folder, f"net_{threads}.prototxt")
    with replacing(path) as stream:
        stream.write(str(spec.to_proto()))
    return path


def measure(path, seconds):
    """Reads batches for about ``seconds``; returns frames_per_s and cpu_ms_per_frame."""
    import caffe
    net = caffe.Net(path, caffe.TRAIN)
    for _ in range(20):  # the threads run, the queue is full, the files are in the cache
        net._forward(0, 0)
    frames, start, cpu = 0, time.perf_counter(), _cpu_seconds()
    while time.perf_counter() - start < seconds:
        net._forward(0, 0)
        frames += net.blobs["data"].shape[0]
    wall, cpu = time.perf_counter() - start, _cpu_seconds() - cpu
    return {"frames_per_s": frames / wall, "cpu_ms_per_frame": 1000 * cpu / frames}


def _cpu_seconds():
    """Of all threads of this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def measure_all(options):
    """The whole run: a dict, as it is written."""
    import caffe
    from stal.extraction import commit
    if options.device == "gpu":
        caffe.set_device(0)
        caffe.set_mode_gpu()
    result = {"cpu": cpu_name(), "cpus": os.cpu_count(), "load": os.getloadavg()[0], "commit": commit(),
              "device": options.device, "pictures": "cut from a film" if options.clip else "drawn",
              "seconds": options.seconds, "kinds": {}}
    for name, (width, height, kind) in KINDS.items():
        with tempfile.TemporaryDirectory() as folder:
            size = write_set(folder, options.clip, width, height, kind)
            result["kinds"][name] = {"bytes": round(size), "threads": {
                str(threads): measure(data_net(folder, threads), options.seconds) for threads in options.threads}}
    return result


def report(result):
    """What a run says on the terminal."""
    lines = [f"{result['cpu']}, {result['cpus']} CPUs, load {result['load']:.2f} at the start, device {result['device']}, "
             f"pictures {result['pictures']}", ""]
    for name, found in result["kinds"].items():
        lines.append(f"{name}, {found['bytes']} bytes")
        lines += [f"  {threads:>3} threads {values['frames_per_s']:10.0f} frames/s "
                  f"{values['cpu_ms_per_frame']:8.3f} ms of CPU a frame" for threads, values in found["threads"].items()]
    return "\n".join(lines)


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clip", metavar="FILE", help="a film of a fixed camera (default: drawn people)")
    parser.add_argument("--threads", type=int, nargs="+", metavar="N", help="(default: 1, 2, 4 ... and the CPUs here)")
    parser.add_argument("--seconds", type=float, default=5, help="of each measurement (default: %(default)g)")
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu", help="(default: %(default)s)")
    parser.add_argument("--out", default=os.path.join("benchmarks", "results", "input_rate.json"),
                        help="(default: %(default)s)")
    options = parser.parse_args(argv)
    cpus = os.cpu_count()
    options.threads = options.threads or sorted({2 ** n for n in range(10) if 2 ** n <= cpus} | {cpus})
    if min(options.threads) < 1 or not options.seconds > 0:
        raise InputError(f"--threads {min(options.threads)} --seconds {options.seconds:g}: give 1 or more threads and more "
                         "than 0 seconds")
    os.environ["GLOG_minloglevel"] = "2"  # before caffe
    result = measure_all(options)
    write_json(options.out, result)
    print(report(result))


if __name__ == "__main__":
    run(main)
