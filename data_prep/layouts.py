"""Where the published data sets keep what: the layouts in which synthetic.py draws. Knows nothing of pictures.

A layout is a subclass of :class:`Layout` with the members of :class:`IlidsVid`. Its walks say who passes which camera
for how many frames; a walk is cut into tracklets, in MARS into several.
"""

import os
from typing import NamedTuple

import cv2
import numpy as np
import scipy.io
from scipy.special import ndtr, ndtri

from data_prep.prid2011 import IN_BOTH, MIN_FRAMES, MULTI_SHOT
from stal.errors import InputError
from stal.files import replacing, write_json

_SPLITS = 10
_ALIKE = 4  # people in a look-alike group


class Piece(NamedTuple):
    """A tracklet."""

    name: str    # as the program that prepares the set calls it, e.g. cam1/person001
    stem: str    # path of its frames, relative to the root, up to what numbers them
    start: int   # number of the first frame
    length: int  # frames


class Walk(NamedTuple):
    """A person's way past a camera; its frames make up the pieces one after the other."""

    index: int    # of the identity, from 0; four in a row look alike
    camid: int
    pieces: tuple  # of Piece


class Layout:
    """What the layouts share."""

    ending = ""  # of a frame's path, with its number

    @classmethod
    def frames(cls, piece):
        """Paths of a tracklet's frames relative to the root, in time order."""
        return [piece.stem + cls.ending.format(number) for number in range(piece.start, piece.start + piece.length)]


class IlidsVid(Layout):
    """iLIDS-VID: everybody in every camera, a tracklet each."""

    name = "ilids-vid"
    defaults = {"identities": 300, "cameras": 2, "length": (23, 193)}
    size = 64, 128                                            # of a frame: width, height
    ending = "_{:05d}.png"
    folders = "i-LIDS-VID", "train-test people splits"        # what a set of this layout owns in its root
    pictures = ("i-LIDS-VID",)                                # those with the frames, and nothing else
    files = ("train-test people splits/train_test_splits_ilidsvid.mat",)  # what must be there besides

    def __init__(self, seed, identities, cameras, length):
        self._rng = np.random.default_rng((seed, 100))
        # 300 directories within person001 .. person319: number and rank differ, as in the published set.
        last = identities + max(2, identities * 19 // 300)
        self.numbers = np.sort(self._rng.choice(last, identities, replace=False) + 1).tolist()
        # The mean of u ** 2.4 for u in 0..1 is 1 / 3.4, which is where 73 lies between 23 and 193.
        steps = np.linspace(0, 1, identities * cameras) ** 2.4
        lengths = _shuffled(np.round(length[0] + (length[1] - length[0]) * steps), seed)
        self.walks = [self._walk(index, camid, lengths[index * cameras + camid])
                      for camid in range(cameras) for index in range(identities)]

    def _walk(self, index, camid, length):
        name = f"cam{camid + 1}/person{self.numbers[index]:03d}"
        stem = f"i-LIDS-VID/sequences/{name}/{name.replace('/', '_')}"
        start = 1 + (index * 37 + camid * 101) % 400  # the sequences are cut out of longer ones
        return Walk(index, camid, (Piece(name, stem, start, length),))

    def write_info(self, root):
        """ls_set: 1-based ranks of the sorted directories, first half test. Look-alikes stay on one side."""
        rows = _orders(range(len(self.numbers)), self._rng)
        _write_mat(os.path.join(root, self.files[0]), "ls_set", np.array(rows, np.float64) + 1)


class Prid2011(Layout):
    """PRID-2011: the first persons in both cameras, a ninth of them too shortly; further ones in one camera only."""

    name = "prid2011"
    defaults = {"identities": 200, "length": (5, 675), "singles": (185, 549)}
    size = 64, 128
    ending = "{:04d}.png"
    folders = "prid_2011", "splits_prid2011.json"
    pictures = ("prid_2011",)
    files = ("splits_prid2011.json",)

    def __init__(self, seed, identities, length, singles):
        _require(identities <= IN_BOTH, f"--identities {identities}: the layout prid2011 has up to {IN_BOTH} in both "
                                        "cameras")
        _require(0 <= min(singles) <= max(singles) <= 9999 - IN_BOTH,
                 f"--singles {singles[0]} {singles[1]}: give two numbers from 0 to {9999 - IN_BOTH}")
        self._rng = np.random.default_rng((seed, 100))
        low, high = length
        short = round(identities * 22 / 200) if low < MIN_FRAMES <= high else 0
        who = np.sort(self._rng.choice(identities, short, replace=False)).tolist()
        self._used = [index for index in range(identities) if index not in set(who)]
        too_short = {(index, int(self._rng.integers(2))): frames
                     for index, frames in zip(who, _shuffled(_spread(short, low, MIN_FRAMES - 1, 79, 0.68), seed))}
        # Their median and deviation give 22 of 200 persons fewer than 27 frames in a camera, and a mean of 100.
        rest = 2 * identities - short + sum(singles)
        lengths = iter(_shuffled(_spread(rest, MIN_FRAMES if short else low, high, 79, 0.68), seed))
        self.walks, beyond = [], _next_group(identities)
        for camid, camera in enumerate("ab"):
            people = [(index, index + 1) for index in range(identities)]
            # Equal numbers above 200 in the two cameras are different persons.
            people += [(beyond + camid * _next_group(singles[0]) + k, IN_BOTH + 1 + k) for k in range(singles[camid])]
            for index, number in people:
                frames = too_short.get((index, camid)) or next(lengths)
                name = f"cam_{camera}/person_{number:04d}"
                self.walks.append(Walk(index, camid, (Piece(name, f"{MULTI_SHOT}/{name}/", 1, frames),)))

    def write_info(self, root):
        """A list of {"test": [directory, ...], "train": [...]} of the persons with enough frames."""
        half = len(self._used) // 2
        rows = [[f"person_{index + 1:04d}" for index in row] for row in _orders(self._used, self._rng)]
        write_json(os.path.join(root, self.files[0]),
                   [{"test": sorted(row[:half]), "train": sorted(row[half:])} for row in rows])


class Mars(Layout):
    """MARS: everybody in two cameras or more, several tracklets each; distractors and junk on the test side.

    Distractors are strangers. Junk are tracklets of test persons whom nobody may be asked to find or be blamed for.
    """

    name = "mars"
    defaults = {"identities": 1259, "cameras": 6, "length": (2, 920), "tracklets": 4, "distractors": 3248, "junk": 870}
    size = 128, 256
    ending = "F{:03d}.jpg"
    folders = "bbox_train", "bbox_test", "info"
    pictures = "bbox_train", "bbox_test"
    files = tuple(f"info/{name}" for name in ("train_name.txt", "test_name.txt", "tracks_train_info.mat",
                                              "tracks_test_info.mat", "query_IDX.mat"))

    def __init__(self, seed, identities, cameras, length, tracklets, distractors, junk):
        _require(4 <= identities <= 8000, f"--identities {identities}: the layout mars has 4 to 8000")
        _require(length[1] <= 999, f"--length {length[0]} {length[1]}: the file names of the layout mars count to 999")
        _require(1 <= tracklets <= 800, f"--tracklets {tracklets}: give 1 to 800")
        for option, count in (("--distractors", distractors), ("--junk", junk)):
            _require(0 <= count <= 9999, f"{option} {count}: give 0 to 9999")
        rng = self._rng = np.random.default_rng((seed, 100))
        training = max(2, round(identities * 625 / 1259))
        numbers = np.sort(rng.choice(identities * 1500 // 1259 + 2, identities, replace=False) + 1)
        train = set(rng.choice(identities, training, replace=False).tolist())
        pids = {side: [int(pid) for k, pid in enumerate(numbers) if (k in train) == (side == "train")]
                for side in ("train", "test")}
        first = _next_group(training)
        cuts = [(first * (side == "test") + k, camid, [(side, pid)] * int(rng.integers(1, 2 * tracklets)))
                for side in ("train", "test") for k, pid in enumerate(pids[side])
                for camid in sorted(rng.choice(cameras, 2 + rng.binomial(cameras - 2, 0.3), replace=False).tolist())]
        tested = [whose for _, _, whose in cuts if whose[0][0] == "test"]
        for k in rng.integers(len(tested), size=junk):
            tested[k].append(("test", -1))
        first += _next_group(len(pids["test"]))
        cuts += [(first + k, int(rng.integers(cameras)), [("test", 0)]) for k in range(distractors)]
        # Half of the published tracklets have up to 36 frames, and the mean is 60.
        total = sum(len(whose) for _, _, whose in cuts)
        lengths, count = iter(_shuffled(_spread(total, *length, 36, 1.03), seed)), {}
        self.walks = []
        for index, camid, whose in cuts:
            pieces = []
            for side, pid in whose:
                count[pid] = count.get(pid, 0) + 1
                person = "00-1" if pid < 0 else f"{pid:04d}"
                name = f"{person}C{camid + 1}T{count[pid]:04d}"
                pieces.append(Piece(name, f"bbox_{side}/{person}/{name}", 1, next(lengths)))
            self.walks.append(Walk(index, camid, tuple(pieces)))

    def write_info(self, root):
        """The sorted file names; a row (first line, last line, pid, camera) a tracklet; a query a person and camera."""
        folder = os.path.join(root, "info")
        for side in ("train", "test"):
            pieces = sorted(piece for walk in self.walks for piece in walk.pieces
                            if piece.stem.startswith(f"bbox_{side}/"))
            with replacing(os.path.join(folder, f"{side}_name.txt"), newline="") as stream:
                for piece in pieces:
                    stream.writelines(f"{os.path.basename(path)}\r\n" for path in self.frames(piece))
            last = np.cumsum([piece.length for piece in pieces])
            rows = [(end - piece.length + 1, end, *_pid_and_camera(piece.name)) for piece, end in zip(pieces, last)]
            _write_mat(os.path.join(folder, f"tracks_{side}_info.mat"), f"track_{side}_info", np.array(rows, np.int32))
        seen = {}
        for number, (_, _, pid, camera) in enumerate(rows, start=1):
            if pid > 0:
                seen.setdefault((pid, camera), []).append(number)
        queries = sorted(int(self._rng.choice(numbers)) for numbers in seen.values())
        _write_mat(os.path.join(folder, "query_IDX.mat"), "query_IDX", np.array([queries], np.uint32))


LAYOUTS = {layout.name: layout for layout in (IlidsVid, Prid2011, Mars)}


def encode(path, image):
    """Bytes of an image file, of the kind that its path says.

    Args:
        image: (H, W, 3) uint8, BGR.
    """
    kind = os.path.splitext(path)[1].lower()
    setting = (cv2.IMWRITE_PNG_COMPRESSION, 1) if kind == ".png" else (cv2.IMWRITE_JPEG_QUALITY, 95)
    return cv2.imencode(kind, image, setting)[1].tobytes()


def _require(fine, sentence):
    if not fine:
        raise InputError(sentence)


def _next_group(count):
    """The first index of a look-alike group that is not below ``count``."""
    return -(-count // _ALIKE) * _ALIKE


def _spread(count, low, high, median, deviation):
    """``count`` lengths from ``low`` to ``high``: quantiles of the log-normal distribution cut to that range."""
    if low == high or not count:
        return np.full(count, low)
    ends = ndtr(np.log(np.array([low, high]) / median) / deviation)
    with np.errstate(divide="ignore"):
        lengths = median * np.exp(deviation * ndtri(np.linspace(*ends, count)))
    return np.clip(np.round(lengths), low, high)


def _shuffled(lengths, seed):
    """Lengths in random order, as a list of int."""
    order = np.random.default_rng((seed, 101)).permutation(len(lengths))
    return np.asarray(lengths)[order].astype(int).tolist()


def _orders(people, rng):
    """Ten random orders of people; look-alikes stay together. The halves of an order are a split."""
    groups = {}
    for index in people:
        groups.setdefault(index // _ALIKE, []).append(index)
    groups = list(groups.values())
    orders = [rng.permutation(len(groups)) for _ in range(_SPLITS)]
    return [[index for k in order for index in groups[k]] for order in orders]


def _pid_and_camera(name):
    """Identity and camera, from 1, of a tracklet's name in MARS."""
    return int(name[:4].removeprefix("00")), int(name[5])


def _write_mat(path, variable, values):
    with replacing(path, "wb") as stream:
        scipy.io.savemat(stream, {variable: values})
    with open(path, "r+b") as stream:  # the header carries the time of writing
        stream.write(b"MATLAB 5.0 MAT-file, drawn by data_prep/synthetic.py".ljust(116))
