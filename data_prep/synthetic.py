"""Writes a synthetic set of people who walk past cameras, in the layout in which iLIDS-VID is published.

    python data_prep/synthetic.py --root data/ilids
    python data_prep/synthetic.py --root data/demo --identities 300 --length 16 16

What you get:

    ROOT/i-LIDS-VID/sequences/cam1/person001/cam1_person001_00317.png    64 x 128 frames
    ROOT/train-test people splits/train_test_splits_ilidsvid.mat         ls_set: 10 splits, first half test
    ROOT/joints.csv      frame,x1,y1,c1,...,x14,y14,c14: joints as a pose detector would give them, in pixels
    ROOT/occlusion.csv   frame,head,...,left_leg: hidden fraction of each part's Eq. 7 box, of the TRUE joints
    ROOT/synthetic.json  options, counts, which parts stay hidden; written last: without it the set is no set

Then `python data_prep/ilids_vid.py --root ROOT` prepares it as it would the real set. Identities come in
look-alike groups of four. The same options give the same bytes, whatever the number of workers; a complete
set is not drawn twice, and what this program did not write is never overwritten.
"""

import argparse
import contextlib
import csv
import glob
import json
import multiprocessing
import os
import shutil
import sys
from dataclasses import asdict
from functools import partial

import cv2
import numpy as np
import scipy.io
from tqdm import tqdm

from data_prep import scene, walker
from stal.errors import InputError, run
from stal.files import replacing, write_json

DRAWING = 2  # raised whenever the same options give other pictures
MARK, UNFINISHED = "synthetic.json", "synthetic.unfinished.json"
JOINT_COLUMNS = ("frame", *(f"{name}{number}" for number in range(1, 15) for name in "xyc"))
OCCLUSION_COLUMNS = ("frame", *walker.PARTS)
_SPLITS = 10


class IlidsVid:
    """Where iLIDS-VID keeps what; another data set needs another class with these members."""

    size = 64, 128
    folders = "i-LIDS-VID", "train-test people splits"
    splits = "train-test people splits/train_test_splits_ilidsvid.mat"

    def __init__(self, options, identities, cameras):
        self.cameras = cameras
        rng = np.random.default_rng((options.seed, 100))
        # 300 directories within person001 .. person319: number and rank differ, as in the published set.
        last = identities + max(2, identities * 19 // 300)
        self.numbers = np.sort(rng.choice(last, identities, replace=False) + 1).tolist()
        self._rng = rng

    def tracklet(self, index, camid):
        """Name of a tracklet, e.g. ``cam1/person001``."""
        return f"cam{camid + 1}/person{self.numbers[index]:03d}"

    def frame(self, index, camid, number):
        """Path of a frame relative to the root; ``number`` counts from where the sequence was cut."""
        name = self.tracklet(index, camid)
        return f"i-LIDS-VID/sequences/{name}/{name.replace('/', '_')}_{number:05d}.png"

    def encode(self, image):
        """Bytes of the file."""
        return cv2.imencode(".png", image, (cv2.IMWRITE_PNG_COMPRESSION, 1))[1].tobytes()

    def write_splits(self, root):
        """ls_set: 1-based ranks of the sorted directories, first half test. Look-alikes stay on one side."""
        ranks = np.arange(1, len(self.numbers) + 1)
        groups = [ranks[start:start + 4] for start in range(0, len(ranks), 4)]
        orders = [self._rng.permutation(len(groups)) for _ in range(_SPLITS)]
        rows = [np.concatenate([groups[k] for k in order]) for order in orders]
        path = os.path.join(root, self.splits)
        with replacing(path, "wb") as stream:
            scipy.io.savemat(stream, {"ls_set": np.array(rows, np.float64)})
        with open(path, "r+b") as stream:  # the header carries the time of writing
            stream.write(b"MATLAB 5.0 MAT-file, drawn by data_prep/synthetic.py".ljust(116))


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=_Help)
    parser.add_argument("--root", required=True, help="directory of the set; made if need be")
    parser.add_argument("--identities", type=int, default=300, help="people")
    parser.add_argument("--cameras", type=int, default=2, help="2 as in iLIDS-VID, up to 6")
    parser.add_argument("--length", type=int, nargs=2, default=(23, 193), metavar=("MIN", "MAX"),
                        help="frames of a tracklet; 23 193 gives the published mean of 73")
    parser.add_argument("--seed", type=int, default=0, help="of everything")
    parser.add_argument("--occluders", choices=scene.OCCLUDERS, default="both",
                        help="moving: one or two cross every tracklet; persistent: some never show a part")
    parser.add_argument("--persistent-share", type=float, default=0.3, help="of the tracklets, 0 to 1")
    parser.add_argument("--redraw", type=float, default=0.4,
                        help="probability that an attribute is not its look-alike group's; 1: no look-alikes")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes; they change no byte")
    parser.add_argument("--force", action="store_true", help="replace another synthetic set in --root")
    write(parser.parse_args(argv))


class _Help(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    pass


def write(args):
    """Draws the set that the parsed command line ``args`` describes, unless it is there."""
    _check(args)
    options = scene.Options(args.seed, args.occluders, args.persistent_share, args.redraw)
    layout = IlidsVid(options, args.identities, args.cameras)
    asked = {"drawing": DRAWING, "layout": "ilids-vid", "identities": args.identities,
             "cameras": args.cameras, "length": list(args.length), **asdict(options)}
    try:
        os.makedirs(args.root, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make the directory {args.root} ({error.strerror}): give another --root"
                         ) from None
    if _is_there(args.root, asked, layout, args.force):
        return
    lengths = _lengths(args, options)
    write_json(os.path.join(args.root, UNFINISHED), asked)
    for folder in layout.folders:
        if os.path.exists(os.path.join(args.root, folder)):
            shutil.rmtree(os.path.join(args.root, folder))
    for table in ("joints.csv", "occlusion.csv"):
        for rest in glob.glob(os.path.join(glob.escape(args.root), f"{table}.part.*")):
            os.remove(rest)
    tasks = [(index, camid, int(lengths[index, camid])) for camid in range(args.cameras)
             for index in range(args.identities)]
    hidden = {}
    with _table(args.root, "joints.csv", JOINT_COLUMNS) as joints, \
            _table(args.root, "occlusion.csv", OCCLUSION_COLUMNS) as occlusion, \
            tqdm(total=int(lengths.sum()), unit="frame", file=sys.stderr) as progress, \
            _mapper(args.workers) as mapper:
        for task, (joint_rows, occlusion_rows, parts) in zip(
                tasks, mapper(partial(_write_tracklet, args.root, layout, options), tasks)):
            joints.writerows(joint_rows)
            occlusion.writerows(occlusion_rows)
            if parts:
                hidden[layout.tracklet(*task[:2])] = list(parts)
            progress.update(len(joint_rows))
    layout.write_splits(args.root)
    counts = {"identities": args.identities, "tracklets": len(tasks), "frames": int(lengths.sum())}
    write_json(os.path.join(args.root, MARK), {"options": asked, "counts": counts, "hidden_parts": hidden})
    os.remove(os.path.join(args.root, UNFINISHED))
    print(f"wrote {counts['frames']} frames of {counts['tracklets']} tracklets of {counts['identities']} "
          f"identities to {args.root}")


def _check(args):
    low, high = args.length
    for wrong, sentence in (
            (args.identities < 2, f"--identities {args.identities}: give at least 2"),
            (not 2 <= args.cameras <= 6, f"--cameras {args.cameras}: give 2 to 6"),
            (not 1 <= low <= high, f"--length {low} {high}: give MIN MAX with 1 <= MIN <= MAX"),
            (args.seed < 0, f"--seed {args.seed}: give a number from 0"),
            (not 0 <= args.persistent_share <= 1, f"--persistent-share {args.persistent_share}: give 0 to 1"),
            (not 0 <= args.redraw <= 1, f"--redraw {args.redraw}: give 0 to 1"),
            (args.workers < 1, f"--workers {args.workers}: give at least 1")):
        if wrong:
            raise InputError(sentence)


def _is_there(root, asked, layout, force):
    """Whether the set is there and complete. Refuses to touch what is not this program's."""
    path = os.path.join(root, MARK)
    if os.path.exists(path):
        try:
            with open(path, encoding="utf-8") as stream:
                mark = json.load(stream)
            there, counts = mark["options"], mark["counts"]
        except (ValueError, KeyError, TypeError):
            raise InputError(f"{path} is damaged: remove it together with {layout.folders[0]}") from None
        if there == asked:
            if _is_complete(root, layout, counts["frames"]):
                with contextlib.suppress(FileNotFoundError):  # killed between the two marks
                    os.remove(os.path.join(root, UNFINISHED))
                print(f"{root} holds this set already: {counts['frames']} frames of {counts['tracklets']} "
                      "tracklets")
                return True
            print(f"{root} has lost files of this set: drawing it anew")
        elif not force:
            differing = ", ".join(f"{key} {there.get(key)} instead of {asked[key]}" for key in asked
                                  if there.get(key) != asked[key])
            raise InputError(f"{root} holds another synthetic set ({differing}): give another --root, or "
                             "--force to replace it")
        os.replace(path, os.path.join(root, UNFINISHED))
    elif not os.path.exists(os.path.join(root, UNFINISHED)):
        for folder in layout.folders:
            if os.path.exists(os.path.join(root, folder)):
                raise InputError(f"{os.path.join(root, folder)} was not written by this program: give "
                                 "another --root")
    return False


def _is_complete(root, layout, frames):
    others = ("joints.csv", "occlusion.csv", layout.splits)
    found = sum(len(files) for _, _, files in os.walk(os.path.join(root, layout.folders[0])))
    return found == frames and all(os.path.exists(os.path.join(root, name)) for name in others)


def _lengths(args, options):
    """(identities, cameras) frames of each tracklet: MIN, MAX and many short ones between, in random order.

    The mean of u ** 2.4 for u in 0..1 is 1 / 3.4, which is where 73 lies between 23 and 193.
    """
    low, high = args.length
    steps = np.linspace(0, 1, args.identities * args.cameras) ** 2.4
    lengths = np.round(low + (high - low) * steps).astype(int)
    order = np.random.default_rng((options.seed, 101)).permutation(len(lengths))
    return lengths[order].reshape(args.identities, args.cameras)


def _write_tracklet(root, layout, options, task):
    """Draws and writes one tracklet; returns its rows of the two tables and its hidden parts."""
    index, camid, length = task
    tracklet = scene.render(options, index, camid, length, layout.size)
    start = 1 + (index * 37 + camid * 101) % 400
    joint_rows, occlusion_rows = [], []
    for t, frame in enumerate(tracklet.frames):
        relative = layout.frame(index, camid, start + t)
        path = os.path.join(root, relative)
        if t == 0:
            os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as stream:
            stream.write(layout.encode(frame.image))
        joint_rows.append((relative, *(f"{value:.2f}" for value in frame.joints.ravel())))
        occlusion_rows.append((relative, *(f"{value:.3f}" for value in frame.occlusion)))
    return joint_rows, occlusion_rows, tracklet.hidden


@contextlib.contextmanager
def _table(root, name, columns):
    with replacing(os.path.join(root, name)) as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(columns)
        yield writer


@contextlib.contextmanager
def _mapper(workers):
    """An ordered map over ``workers`` processes, started afresh: OpenCV's threads do not survive a fork."""
    if workers == 1:
        yield map
        return
    with multiprocessing.get_context("spawn").Pool(workers, cv2.setNumThreads, (1,)) as pool:
        yield partial(pool.imap, chunksize=4)


if __name__ == "__main__":
    run(main)
