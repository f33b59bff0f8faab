"""Prepares MARS from the directory in which it is published: lists of tracklets and joints of its one split.

Reference: Zheng, Bie, Sun, Wang, Su, Wang, Tian: MARS: a video benchmark for large-scale person re-identification,
ECCV 2016. Published: 625 identities with 8,298 tracklets for training; 634 with 12,180 tracklets for the test, 1,980
of them queries, 3,248 distractors (pid 0) and 870 junk (pid -1). Other counts are prepared too, with a note.

    python data_prep/mars.py --root data/mars

Reads:

    ROOT/bbox_train/NNNN/*.jpg                    0001C1T0001F001.jpg: identity, camera, tracklet, frame
    ROOT/bbox_test/{NNNN,0000,00-1}/*.jpg         0000: distractors, 00-1: junk
    ROOT/info/tracks_{train,test}_info.mat        track_train_info, track_test_info: first and last line of each
                                                  tracklet in the names (from 1), identity, camera
    ROOT/info/query_IDX.mat                       query_IDX: rows of track_test_info (from 1) that are queries
    ROOT/info/{train,test}_name.txt               file names; without them: those of the sorted folders, which is
                                                  how MARS made them
    ROOT/joints.csv                               or --joints FILE; else the upright template

The three .mat files must be there: which tracklets are queries is nowhere else. The authors of MARS give info/ out
in their repository MARS-evaluation.

Writes, the same bytes each time:

    ROOT/train.csv, test.csv                      tracklet lists (stal/tracklets.py); query 1 for the queries
    ROOT/train_joints.npy, test_joints.npy        the joints of each list's frames

``--lists DIR`` puts these into DIR. pid is the published identity; camid 0 is camera 1; a tracklet's name is its
file names up to T0001. Every frame of a tracklet must be of its identity and camera as the file name says.
"""

import argparse
import os
import re

import numpy as np

from data_prep import prepare
from data_prep.splits import read_variable
from stal.errors import InputError, run
from stal.metrics import JUNK_PID
from stal.tracklets import Tracklet

DATASET = "MARS"
PUBLISHED = {"training persons": 625, "training tracklets": 8298, "training frames": 509_914, "test persons": 634,
             "test tracklets": 12_180, "test frames": 681_089, "queries": 1980, "distractors": 3248, "junk": 870}
DISTRACTOR_PID = 0
_NAME = re.compile(r"((\d{4}|00-1)C([1-9])T\d{4})F\d+\.jpg", re.ASCII)
_ADVICE = "take info/ from the authors' repository MARS-evaluation"


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=prepare.Help)
    prepare.add_options(parser, "bbox_train/, bbox_test/ and info/")
    args = parser.parse_args(argv)

    prepare.refuse_unfinished(args.root)
    subsets = find_tracklets(args.root)
    prepare.print_counts(DATASET, counts(subsets), PUBLISHED)
    tracklets = subsets["train"] + subsets["test"]
    joints, origin = prepare.find_joints(args.root, args.joints, tracklets)
    prepare.write_lists(args.lists or args.root, subsets, tracklets, joints)
    print(f"Joints: {origin}")
    print_lone(subsets["test"])
    prepare.print_table(DATASET, {"train": subsets["train"], "query": [row for row in subsets["test"] if row.query],
                                  "gallery": subsets["test"]})


def find_tracklets(root):
    """Finds the tracklets of both sides.

    Returns:
        {"train": [...], "test": [...]} of :class:`stal.tracklets.Tracklet`, in the order of the published rows.
    Raises:
        InputError: a folder or a .mat file is missing or damaged, a row does not agree with the file names, a query
            is no person's tracklet, or a person is on both sides.
    """
    subsets = {}
    for side in ("train", "test"):
        names, origin = read_names(root, side)
        path, variable = os.path.join(root, "info", f"tracks_{side}_info.mat"), f"track_{side}_info"
        rows = _integers(path, variable)
        if rows.ndim != 2 or rows.shape[1] != 4 or not len(rows):
            raise InputError(f"{variable} in {path} is of shape {rows.shape}, not (tracklets, 4): {_ADVICE}")
        subsets[side] = [_tracklet(row, f"row {number} of {variable} in {path}", names, origin, side)
                         for number, row in enumerate(rows.tolist(), start=1)]
        _refuse_repeated(subsets[side], path)
    path = os.path.join(root, "info", "query_IDX.mat")
    for number in _queries(path, subsets["test"]):
        subsets["test"][number] = subsets["test"][number]._replace(query=True)
    both = sorted({row.pid for row in subsets["train"]} & {row.pid for row in subsets["test"]})
    if both:
        raise InputError(f"person {both[0]} is in the training and the test side of {os.path.join(root, 'info')}: "
                         f"{_ADVICE}")
    return subsets


def read_names(root, side):
    """File names that the rows of tracks_SIDE_info count: of info/SIDE_name.txt, else of the sorted folders.

    Returns:
        a list of file names, and where they come from, in words.
    Raises:
        InputError: no bbox_SIDE, a directory or file with another kind of name in it, or a list that is no text.
    """
    folder, path = os.path.join(root, f"bbox_{side}"), os.path.join(root, "info", f"{side}_name.txt")
    if not os.path.isdir(folder):
        raise InputError(f"there is no directory {folder}: unpack MARS so that --root holds bbox_train and bbox_test")
    if os.path.exists(path):
        try:
            with open(path, encoding="ascii") as stream:
                return stream.read().split(), path
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{path} is no list of file names ({error}): {_ADVICE}, or remove it") from None
    names = []
    for person, _ in prepare.directories(folder, r"(?=.{4}$)(?:00)?(-1|\d{4})", "NNNN or 00-1"):
        for image in prepare.images_of(os.path.join(folder, person)):
            if not image.startswith(person):
                raise InputError(f"{os.path.join(folder, person, image)} is not named after its directory: restore "
                                 "it from MARS's archive or move it away")
            names.append(image)
    return names, f"the sorted files of {folder}"


def _integers(path, variable):
    """A variable of whole numbers as an int64 array."""
    values = read_variable(path, variable, _ADVICE)
    if not np.issubdtype(values.dtype, np.number) or not (np.asarray(values, np.float64) % 1 == 0).all():
        raise InputError(f"{variable} in {path} holds other things than whole numbers: {_ADVICE}")
    return values.astype(np.int64)


def _tracklet(row, where, names, origin, side):
    """The tracklet of a published row; its file names must agree with it."""
    first, last, pid, camera = row
    if not 1 <= first <= last <= len(names):
        raise InputError(f"{where} spans the names {first} to {last}, but {origin} has {len(names)}: restore the "
                         f"missing images, or {_ADVICE}")
    tracks = set()
    for name in names[first - 1:last]:
        match = _NAME.fullmatch(name)
        if not match:
            raise InputError(f"{name!r} of {origin} is not named like 0001C1T0001F001.jpg: restore it from MARS's "
                             "archive or move it away")
        tracks.add(match.groups())
    track, person, digit = min(tracks)
    if len(tracks) > 1 or (int(person.removeprefix("00")), int(digit)) != (pid, camera):
        raise InputError(f"{where} says person {pid}, camera {camera}, but the names {first} to {last} of {origin} say "
                         f"{' and '.join(sorted(track for track, _, _ in tracks)[:2])}: restore the missing images, or "
                         f"{_ADVICE}")
    if side == "train" and pid <= DISTRACTOR_PID:
        raise InputError(f"{where} is of person {pid}, but distractors and junk are in the test side only: {_ADVICE}")
    frames = tuple(f"bbox_{side}/{person}/{name}" for name in names[first - 1:last])
    return Tracklet(track, pid, camera - 1, False, frames)


def _refuse_repeated(tracklets, path):
    seen = set()
    for tracklet in tracklets:
        if tracklet.name in seen:
            raise InputError(f"{path} has two rows for the tracklet {tracklet.name}: {_ADVICE}")
        seen.add(tracklet.name)


def _queries(path, tracklets):
    """Places of the queries in the test tracklets, from 0."""
    numbers = _integers(path, "query_IDX").ravel().tolist()
    for number in numbers:
        if not 1 <= number <= len(tracklets):
            raise InputError(f"query_IDX in {path} names row {number}, but track_test_info has {len(tracklets)} rows: "
                             f"{_ADVICE}")
        if tracklets[number - 1].pid <= DISTRACTOR_PID:
            raise InputError(f"query_IDX in {path} names row {number}, which is of person {tracklets[number - 1].pid}, "
                             f"a distractor or junk: {_ADVICE}")
    if not numbers or len(set(numbers)) < len(numbers):
        raise InputError(f"query_IDX in {path} {'names a row twice' if numbers else 'is empty'}: {_ADVICE}")
    return [number - 1 for number in numbers]


def counts(subsets):
    """{what: number}, for comparison with ``PUBLISHED``."""
    train, test = subsets["train"], subsets["test"]
    return {"training persons": len({row.pid for row in train}), "training tracklets": len(train),
            "training frames": sum(len(row.frames) for row in train),
            "test persons": len({row.pid for row in test if row.pid > DISTRACTOR_PID}), "test tracklets": len(test),
            "test frames": sum(len(row.frames) for row in test), "queries": sum(row.query for row in test),
            "distractors": sum(row.pid == DISTRACTOR_PID for row in test),
            "junk": sum(row.pid == JUNK_PID for row in test)}


def print_lone(test):
    """Prints how many queries have no match under another camera; none in the published set."""
    cameras = {}
    for row in test:
        cameras.setdefault(row.pid, set()).add(row.camid)
    lone = [row.name for row in test if row.query and len(cameras[row.pid]) < 2]
    if lone:
        print(f"Note: {len(lone)} queries have no match under another camera ({lone[0]} the first of them); in the "
              "published set each has one.")


if __name__ == "__main__":
    run(main)
