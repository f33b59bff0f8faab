"""VideoTripletData: triplets of videos read from a tracklet list (section III-E; stal/tracklets.py).

V videos, T = frames, F = V*T frames video-major; V = 3, or batch_identities * videos.
    bottoms  none
    tops     data (F, 3, new_height, new_width): BGR less mean_value, times scale; frames squashed to the size
             label (V): 0 .. identities - 1, the place of the pid among the sorted pids
             joints (F, 14, 3), may be left out: x, y in pixels of the squashed frame, confidence

A batch is an anchor and a positive of one person and a negative of another (batch_identities = 0, the
paper), or ``videos`` videos of each of batch_identities persons. What it holds is a function of (seed, number
of the batch) alone, the same as in C++: persons are drawn uniformly; a further video of a person comes from a
camera not yet taken if there is one, else from a tracklet not yet taken, else from any; from each tracklet T
frames are drawn without repetition, in time order, and one with fewer gives all of them and repeats random
ones (section IV-D.4). With several solvers solver s of S reads batches s, s + S, ...

The options are those of the C++ layer and one more: Caffe cannot tell a Python layer where a resumed run goes
on, so ``start`` is the number of the first batch, the iteration of the snapshot times the solver's iter_size.
``prefetch`` and ``threads`` are accepted and change nothing: here frames are read when they are due.
"""

import os
import sys
from typing import NamedTuple

import numpy as np

from layers.twin import REQUIRED, Twin, real, require, uint32
from stal.images import prepare_frame, read_image
from stal.tracklets import JOINTS, read_joints, read_list

NAME = "VideoTripletData"


def string(value):
    """The kind of a string option."""
    if type(value) is not str:
        raise ValueError("a string")
    return value


def uint64(value):
    """The kind of a uint64 option."""
    if type(value) is not int or not 0 <= value < 2 ** 64:
        raise ValueError("an integer of at least 0")
    return value


def mean(value):
    """The kind of mean_value: a list of none, one or three numbers, read as (B, G, R)."""
    if type(value) is not list or len(value) not in (0, 1, 3):
        raise ValueError("a list of no number, one, or three (B, G, R)")
    numbers = tuple(real()(number) for number in value) or (0.0,)
    return numbers if len(numbers) == 3 else numbers * 3


OPTIONS = {"source": (string, REQUIRED), "root_folder": (string, ""), "joints": (string, ""),
           "frames": (uint32(1), 8), "new_height": (uint32(1), 224), "new_width": (uint32(1), 224),
           "mean_value": (mean, mean([])), "scale": (real(), 1.0), "identities": (uint32(), 0),
           "batch_identities": (uint32(), 0), "videos": (uint32(1), 2), "seed": (uint64, 1),
           "prefetch": (uint32(1), 4), "threads": (uint32(1), 2), "start": (uint32(), 0)}

_GOLDEN, _LAST_64_BITS = 0x9e3779b97f4a7c15, 2 ** 64 - 1


def _mix(x):
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9 & _LAST_64_BITS
    x = (x ^ (x >> 27)) * 0x94d049bb133111eb & _LAST_64_BITS
    return x ^ (x >> 31)


class BatchRandom:
    """Random numbers that are a function of (seed, batch) alone: SplitMix64 from a state mixed of both."""

    def __init__(self, seed, batch):
        self.state = _mix(_mix((seed + _GOLDEN) & _LAST_64_BITS) ^ batch)

    def below(self, n):
        """Uniform in 0 .. n - 1."""
        self.state = (self.state + _GOLDEN) & _LAST_64_BITS
        return _mix(self.state) * n >> 64

    def draw(self, n, count):
        """The first ``count`` of a random order of 0 .. n - 1."""
        order = list(range(n))
        for i in range(count):
            j = i + self.below(n - i)
            order[i], order[j] = order[j], order[i]
        return order[:count]


class Video(NamedTuple):
    """One video of a batch."""

    tracklet: int  # its place in the list
    label: int     # of its person
    frames: list   # T places in the tracklet, ascending


def persons(tracklets):
    """For each label the places in the list of that person's tracklets; labels follow the sorted pids."""
    pids = sorted({tracklet.pid for tracklet in tracklets})
    return [[i for i, tracklet in enumerate(tracklets) if tracklet.pid == pid] for pid in pids]


def triplet(tracklets, places, frames, seed, batch):
    """The anchor, the positive and the negative of a batch.

    Args:
        tracklets: list of stal.tracklets.Tracklet, of two persons at least; places: their :func:`persons`.
        frames: T; seed, batch: integers from 0, below 2^64.
    Returns:
        three of :class:`Video`.
    """
    random = BatchRandom(seed, batch)
    person, other = random.draw(len(places), 2)
    return (_videos(tracklets, places, person, 2, frames, random)
            + _videos(tracklets, places, other, 1, frames, random))


def identities(tracklets, places, frames, seed, batch, batch_identities, videos):
    """``videos`` videos of each of ``batch_identities`` persons, person by person; the rest as in triplet."""
    random = BatchRandom(seed, batch)
    return [video for person in random.draw(len(places), batch_identities)
            for video in _videos(tracklets, places, person, videos, frames, random)]


def _videos(tracklets, places, person, count, frames, random):
    """``count`` videos of one person."""
    videos, cameras, taken = [], set(), set()
    for _ in range(count):
        other_camera = [i for i in places[person] if tracklets[i].camid not in cameras]
        other_tracklet = [i for i in places[person] if i not in taken]
        candidates = other_camera or other_tracklet or places[person]
        chosen = candidates[random.below(len(candidates))]
        cameras.add(tracklets[chosen].camid)
        taken.add(chosen)
        videos.append(Video(chosen, person, _frames(len(tracklets[chosen].frames), frames, random)))
    return videos


def _frames(available, frames, random):
    chosen = random.draw(available, min(available, frames))
    return sorted(chosen + [random.below(available) for _ in range(frames - len(chosen))])


def shapes(bottom_shapes, **options):
    """Shapes of data, label and joints."""
    videos = options["batch_identities"] * options["videos"] or 3
    rows = videos * options["frames"]
    return [(rows, 3, options["new_height"], options["new_width"]), (videos,), (rows, JOINTS, 3)]


class VideoTripletData(Twin):
    OPTIONS = OPTIONS
    shapes = staticmethod(shapes)

    def setup(self, bottom, top):
        self.with_joints = len(top) == 3
        super().setup(bottom, top)
        source, joints = self.options["source"], self.options["joints"]
        require(joints or not self.with_joints,
                f"{NAME}: the third top needs a joints file; data_prep/ writes one")
        self.tracklets = read_list(source)
        self.joints = read_joints(joints, self.tracklets) if self.with_joints else None
        self.first_frame = np.cumsum([0] + [len(tracklet.frames) for tracklet in self.tracklets])
        for tracklet in self.tracklets:
            for frame in tracklet.frames:
                path = self.options["root_folder"] + frame
                require(os.access(path, os.R_OK), f"{NAME}: cannot read the image {path} of {source}: "
                                                  "restore it or prepare the list anew")
        self.places = persons(self.tracklets)
        there, wanted = len(self.places), self.options["identities"]
        require(wanted in (0, there),
                f"{NAME}: {source} has {there} identities, but the net is made for {wanted}: prepare that "
                f"split, or write the net anew with python -m prototxt.generate --identities {there}")
        needed = self.options["batch_identities"] or 2
        require(there >= needed, f"{NAME}: {source} has {there} identities, but a batch needs {needed}")
        caffe = sys.modules.get("caffe")  # an old one has only one solver
        self.solvers = getattr(caffe, "solver_count", lambda: 1)()
        self.solver = getattr(caffe, "solver_rank", lambda: 0)()
        self.passes = self.options["start"]

    def top_names(self):
        return ("data", "label", "joints")[:3 if self.with_joints else 2]

    def videos(self, batch):
        """The videos of a batch, by its number."""
        chosen = self.tracklets, self.places, self.options["frames"], self.options["seed"], batch
        if self.options["batch_identities"]:
            return identities(*chosen, self.options["batch_identities"], self.options["videos"])
        return triplet(*chosen)

    def forward(self, bottom, top):
        videos = self.videos(self.passes * self.solvers + self.solver)
        rows = [(video.tracklet, frame) for video in videos for frame in video.frames]
        for row, (i, frame) in enumerate(rows):
            image = read_image(self.options["root_folder"] + self.tracklets[i].frames[frame])
            joints = self.joints[self.first_frame[i] + frame] if self.with_joints else None
            data, joints = prepare_frame(image, joints, self.options["new_height"], self.options["new_width"],
                                         self.options["mean_value"], self.options["scale"])
            top[0].data[row] = data
            if self.with_joints:
                top[2].data[row] = joints
        top[1].data[...] = [video.label for video in videos]
        self.passes += 1

    def backward(self, top, propagate_down, bottom):
        """Data have no gradient."""
