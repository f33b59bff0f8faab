"""Prepares iLIDS-VID from the directory in which it is published: lists of tracklets, joints, splits.

Reference: Wang, Gong, Zhu, Wang: Person re-identification by video ranking, ECCV 2014.
Published: 300 identities, 600 tracklets, 2 cameras, 23 to 193 frames a tracklet, 73 on average. Other counts
are prepared too, with a note: subsets and synthetic sets exist.

    python data_prep/ilids_vid.py --root data/ilids --split 0

Reads:

    ROOT/i-LIDS-VID/sequences/cam{1,2}/personNNN/*.png (or .jpg)
    ROOT/train-test people splits/train_test_splits_ilidsvid.mat   or --splits FILE (.mat, .json); else drawn
    ROOT/joints.csv                                                or --joints FILE; else the upright template

Writes, the same bytes each time:

    ROOT/all.csv, train.csv, test.csv   tracklet lists (stal/tracklets.py): all, and the two sides of split K
    ROOT/*_joints.npy                   the joints of each list's frames
    ROOT/splits.json                    [{"train": [pids], "test": [pids]}, ...]

``--lists DIR`` puts lists and joints into DIR: a folder for each split is how all ten are trained.
pid is the number in the directory's name; camid 0 is cam1; the query is the tracklet of camid 0. Footage of
your own in the same tree is prepared too, with further cameras as cam3, cam4, ...
"""

import argparse
import os

from data_prep import prepare
from stal.errors import InputError, run
from stal.tracklets import Tracklet

DATASET = "iLIDS-VID"
PUBLISHED = {"identities": 300, "tracklets": 600, "shortest": 23, "longest": 193, "mean length": 73}
SPLITS_FILE = os.path.join("train-test people splits", "train_test_splits_ilidsvid.mat")


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=prepare.Help)
    prepare.add_options(parser, "i-LIDS-VID/")
    prepare.add_split_options(parser, SPLITS_FILE)
    args = parser.parse_args(argv)

    prepare.refuse_unfinished(args.root)
    tracklets = find_tracklets(args.root)
    pids = prepare.person_order(tracklets)
    if len(pids) < 2:
        raise InputError(f"{args.root} has one person only: a training and a test side need two")
    prepare.print_counts(DATASET, counts(tracklets), PUBLISHED)
    print_lone(tracklets)
    subsets = prepare.prepare_splits(args, tracklets, pids, [SPLITS_FILE])
    prepare.print_table(DATASET, prepare.query_and_gallery(subsets))


def find_tracklets(root):
    """Finds the tracklets of the published directory tree.

    Returns:
        a list of :class:`stal.tracklets.Tracklet`, sorted by name; query is 1 for camid 0.
    Raises:
        InputError: cam1 or cam2 is missing, a directory has another name than camN or personNNN, a person's
            directory holds no images, or nothing is found.
    """
    sequences = os.path.join(root, "i-LIDS-VID", "sequences")
    for camera in ("cam1", "cam2"):
        if not os.path.isdir(os.path.join(sequences, camera)):
            raise InputError(f"there is no directory {os.path.join(sequences, camera)}: unpack iLIDS-VID so "
                             "that --root holds i-LIDS-VID/sequences/cam1 and cam2")
    tracklets = []
    for camera, number in prepare.directories(sequences, r"cam([1-9]\d?)", "camN"):
        for person, pid in prepare.directories(os.path.join(sequences, camera), r"person(\d+)", "personNNN"):
            name = f"{camera}/{person}"
            frames = tuple(f"i-LIDS-VID/sequences/{name}/{image}"
                           for image in prepare.images_of(os.path.join(sequences, name)))
            tracklets.append(Tracklet(name, pid, number - 1, number == 1, frames))
    if not tracklets:
        raise InputError(f"{sequences} holds no person directories: unpack iLIDS-VID there")
    return tracklets


def counts(tracklets):
    """{what: number}, for comparison with ``PUBLISHED``."""
    lengths = [len(tracklet.frames) for tracklet in tracklets]
    return {"identities": len({tracklet.pid for tracklet in tracklets}), "tracklets": len(tracklets),
            "shortest": min(lengths), "longest": max(lengths), "mean length": round(sum(lengths) / len(lengths)),
            "frames": sum(lengths)}


def print_lone(tracklets):
    """Prints who is seen by one camera only."""
    cameras = {}
    for tracklet in tracklets:
        cameras.setdefault(tracklet.pid, []).append(tracklet.camid)
    lone = sorted(pid for pid, seen in cameras.items() if len(seen) < 2)
    if lone:
        named = ", ".join(map(str, lone[:10])) + (", ..." if len(lone) > 10 else "")
        print(f"Note: {len(lone)} persons are seen by one camera only ({named}): in training their positive "
              "comes from the same camera, as a query they have no match.")


if __name__ == "__main__":
    run(main)
