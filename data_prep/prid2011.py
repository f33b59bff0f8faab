"""Prepares PRID-2011 from the directory in which it is published: lists of tracklets, joints, splits.

Reference: Hirzer, Beleznai, Roth, Bischof: Person re-identification by descriptive and discriminative
classification, SCIA 2011. Published: 385 persons in camera a, 749 in camera b; the first 200 are in both. Used are
those of the 200 with at least 27 frames in both cameras: 178 (the paper says "more than 27", but 178 are the
persons with 27 or more). A higher number in both cameras is two different persons. Other counts are prepared too,
with a note.

    python data_prep/prid2011.py --root data/prid --split 0

Reads:

    ROOT/prid_2011/multi_shot/cam_{a,b}/person_NNNN/*.png (or .jpg)
    ROOT/splits_prid2011.json    else ROOT/train-test people splits/train_test_splits_prid.mat, or --splits FILE; else
                                 drawn
    ROOT/joints.csv              or --joints FILE; else the upright template

Writes, the same bytes each time:

    ROOT/all.csv, train.csv, test.csv   tracklet lists (stal/tracklets.py): all, and the two sides of split K
    ROOT/*_joints.npy                   the joints of each list's frames
    ROOT/splits.json                    [{"train": [pids], "test": [pids]}, ...]

``--lists DIR`` puts lists and joints into DIR: a folder for each split is how all ten are trained.
pid is the number in the directory's name; camid 0 is cam_a; the query is the tracklet of camid 0.
"""

import argparse
import os

from data_prep import prepare
from stal.errors import InputError, run
from stal.tracklets import Tracklet

DATASET = "PRID-2011"
PUBLISHED = {"persons in cam_a": 385, "persons in cam_b": 749, "persons in both": 200, "videos of these": 400,
             "persons used": 178}
IN_BOTH = 200    # the persons up to this number are the same in both cameras
MIN_FRAMES = 27  # in each camera
MULTI_SHOT = "prid_2011/multi_shot"
SPLITS_FILES = ["splits_prid2011.json", os.path.join("train-test people splits", "train_test_splits_prid.mat")]


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=prepare.Help)
    prepare.add_options(parser, "prid_2011/")
    prepare.add_split_options(parser, SPLITS_FILES[0])
    parser.add_argument("--min-frames", type=int, default=MIN_FRAMES, help="that a person needs in both cameras")
    args = parser.parse_args(argv)
    if args.min_frames < 1:
        raise InputError(f"--min-frames {args.min_frames}: give at least 1")

    prepare.refuse_unfinished(args.root)
    tracklets, counts = find_tracklets(args.root, args.min_frames)
    pids = prepare.person_order(tracklets)
    rule = f" with at least {args.min_frames} frames in both cameras"
    if len(pids) < 2:
        raise InputError(f"{args.root} has {len(pids)} persons{rule}: a training and a test side need two; restore the "
                         "missing ones or lower --min-frames")
    prepare.print_counts(DATASET, counts, PUBLISHED)
    subsets = prepare.prepare_splits(args, tracklets, pids, SPLITS_FILES, rule)
    prepare.print_table(DATASET, prepare.query_and_gallery(subsets))


def find_tracklets(root, min_frames=MIN_FRAMES):
    """Finds the tracklets of the persons who are used.

    Returns:
        a list of :class:`stal.tracklets.Tracklet`, sorted by name, query 1 for camid 0; and {what: number} of the
        whole tree, for comparison with ``PUBLISHED``.
    Raises:
        InputError: a camera is missing, a directory is not named person_NNNN, one of a person in both holds no
            images, or two have the same number.
    """
    cameras = []
    for camera in ("cam_a", "cam_b"):
        folder = os.path.join(root, MULTI_SHOT, camera)
        if not os.path.isdir(folder):
            raise InputError(f"there is no directory {folder}: unpack PRID-2011's multi_shot so that --root holds "
                             f"{MULTI_SHOT}/cam_a and cam_b")
        people = {}
        for person, pid in prepare.directories(folder, r"person_(\d+)", "person_NNNN"):
            if pid in people:
                raise InputError(f"{folder} has {people[pid]} and {person} with the same person number: rename one of "
                                 "them")
            people[pid] = person
        cameras.append((camera, people))
    both = sorted(pid for pid in set(cameras[0][1]) & set(cameras[1][1]) if pid <= IN_BOTH)
    tracklets, lengths = [], {pid: [] for pid in both}
    for camid, (camera, people) in enumerate(cameras):
        for pid in both:
            name = f"{camera}/{people[pid]}"
            images = prepare.images_of(os.path.join(root, MULTI_SHOT, name))
            lengths[pid].append(len(images))
            tracklets.append(Tracklet(name, pid, camid, camid == 0,
                                      tuple(f"{MULTI_SHOT}/{name}/{image}" for image in images)))
    used = {pid for pid in both if min(lengths[pid]) >= min_frames}
    every = sum(lengths.values(), []) or [0]
    counts = {"persons in cam_a": len(cameras[0][1]), "persons in cam_b": len(cameras[1][1]),
              "persons in both": len(both), "videos of these": len(tracklets), "shortest": min(every),
              "longest": max(every), "mean length": round(sum(every) / len(every)), "persons used": len(used)}
    return sorted(tracklet for tracklet in tracklets if tracklet.pid in used), counts


if __name__ == "__main__":
    run(main)
