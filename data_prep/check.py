"""Says what is there of the published data sets, what is missing, and where to put it. Downloads and changes nothing.

    python data_prep/check.py
    python data_prep/check.py --dataset mars --root /data/MARS

Without --dataset: iLIDS-VID in data/ilids, PRID-2011 in data/prid, MARS in data/mars and MPII in data/mpii. The exit
status is 0 if everything that is needed is there, else 1. Pictures are counted, not read; the programs that prepare a
set read each.
"""

import argparse
import os
from typing import NamedTuple

from data_prep import ilids_vid, mars, prepare, prid2011
from stal.errors import InputError, run


class Need(NamedTuple):
    """A file or directory of a data set."""

    path: str     # relative to the root
    advice: str   # what to do if it is not there
    needed: bool = True
    others: tuple = ()  # paths that serve as well


class Dataset(NamedTuple):
    """What a data set needs."""

    name: str
    root: str
    program: str      # that prepares it
    source: str       # who gives it out
    needs: tuple      # of Need
    lists: tuple      # that the program writes
    look: object      # root -> what is told of a set that has everything; raises InputError


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", choices=DATASETS, help="only this one (default: all)")
    parser.add_argument("--root", help="its directory (default: data/DATASET)")
    args = parser.parse_args(argv)
    if args.root and not args.dataset:
        raise InputError(f"--root {args.root} needs --dataset, the data set that lies there")
    chosen = [args.dataset] if args.dataset else list(DATASETS)
    complete = [report(DATASETS[name], args.root or DATASETS[name].root) for name in chosen]
    return 0 if all(complete) else 1


def report(dataset, root):
    """Prints what a root has of a data set. Returns whether everything is there that is needed."""
    lines, missing = [], 0
    for need in dataset.needs:
        there = [path for path in (need.path, *need.others) if _holds_something(os.path.join(root, path))]
        if there:
            lines.append(f"  found     {there[0]}{_contents(os.path.join(root, there[0]))}")
        else:
            found = "is empty" if os.path.isdir(os.path.join(root, need.path)) else "is not there"
            lines.append(f"  {'MISSING ' if need.needed else 'optional'}  {os.path.join(root, need.path)} {found}: "
                         f"{need.advice}")
            missing += need.needed
    try:
        prepare.refuse_unfinished(root)
        if not missing:
            lines += [f"  counts    {line}" for line in dataset.look(root)]
    except InputError as error:
        lines.append(f"  WRONG     {error}")
        missing += 1
    if not missing:
        done = all(os.path.exists(os.path.join(root, name)) for name in dataset.lists)
        lines.append(f"  {'prepared ' if done else 'to do    '} {', '.join(dataset.lists)}: python {dataset.program} --root "
                     f"{root} {'has written' if done else 'writes'} them")
    verdict = "everything needed is there" if not missing else f"not complete; {dataset.source}"
    print("\n".join([f"{dataset.name} in {root}: {verdict}", *lines]))
    return not missing


def _holds_something(path):
    """Whether there is a file, or a directory that is not empty."""
    return bool(os.listdir(path)) if os.path.isdir(path) else os.path.exists(path)


def _contents(path):
    """How many directories and pictures a directory holds, in words; empty for a file."""
    if not os.path.isdir(path):
        return ""
    folders = pictures = 0
    for _, inside, names in os.walk(path, followlinks=True):
        folders += len(inside)
        pictures += sum(name.lower().endswith(prepare.IMAGES) for name in names)
    return f": {folders} directories, {pictures} pictures" if folders else f": {pictures} pictures"


def _told(dataset, found, published):
    """Counts and, where they are not the published ones, the note; as lines."""
    told = prepare.note(dataset, found, published)
    return [", ".join(f"{name} {count}" for name, count in found.items())] + ([told] if told else [])


def _look_ilids(root):
    return _told(ilids_vid.DATASET, ilids_vid.counts(ilids_vid.find_tracklets(root)), ilids_vid.PUBLISHED)


def _look_prid(root):
    tracklets, counts = prid2011.find_tracklets(root)
    if len(tracklets) < 4:
        raise InputError(f"{root} has {len(tracklets) // 2} persons with at least {prid2011.MIN_FRAMES} frames in both "
                         "cameras: restore the missing ones")
    return _told(prid2011.DATASET, counts, prid2011.PUBLISHED)


def _look_mars(root):
    return _told(mars.DATASET, mars.counts(mars.find_tracklets(root)), mars.PUBLISHED)


def _look_mpii(root):
    images = sum(name.lower().endswith(prepare.IMAGES) for name in os.listdir(os.path.join(root, "images")))
    if not images:
        raise InputError(f"{os.path.join(root, 'images')} holds no pictures: unpack MPII's images there")
    return [f"images {images}"] + ([] if round(images, -3) == 25_000 else
                                   ["Note: MPII Human Pose as published has around 25 000 images."])


_DRAWN = "without it random halves are drawn"
_JOINTS = Need("joints.csv", "write it with data_prep/keypoints.py or tools/pose.py; without it every frame gets the "
                             "upright template", False)
_ILIDS = "unpack iLIDS-VID's archive so that it is"
_PRID = "unpack PRID-2011's archive so that it is"
_MARS = "unpack MARS's archive so that it is"
_INFO = "take it from folder info/ of the authors' repository github.com/liangzheng06/MARS-evaluation"
_MPII = "unpack MPII's archive so that it is"
_RELEASE = "mpii_human_pose_v1_u12_2/mpii_human_pose_v1_u12_1.mat"  # as mpii.py has it

DATASETS = {
    "ilids": Dataset(
        "iLIDS-VID", "data/ilids", "data_prep/ilids_vid.py", "ask Queen Mary University of London for it",
        (Need("i-LIDS-VID/sequences/cam1", _ILIDS), Need("i-LIDS-VID/sequences/cam2", _ILIDS),
         Need(ilids_vid.SPLITS_FILE, f"it is in iLIDS-VID's archive; {_DRAWN}", False), _JOINTS),
        ("all.csv", "train.csv", "test.csv"), _look_ilids),
    "prid": Dataset(
        "PRID-2011", "data/prid", "data_prep/prid2011.py", "Graz University of Technology gives it out",
        (Need(f"{prid2011.MULTI_SHOT}/cam_a", _PRID), Need(f"{prid2011.MULTI_SHOT}/cam_b", _PRID),
         Need(prid2011.SPLITS_FILES[0], f"or {prid2011.SPLITS_FILES[1]}, of iLIDS-VID's archive; {_DRAWN}", False,
              (prid2011.SPLITS_FILES[1],)), _JOINTS),
        ("all.csv", "train.csv", "test.csv"), _look_prid),
    "mars": Dataset(
        "MARS", "data/mars", "data_prep/mars.py", "its authors give it out",
        (Need("bbox_train", _MARS), Need("bbox_test", _MARS), Need("info/tracks_train_info.mat", _INFO),
         Need("info/tracks_test_info.mat", _INFO), Need("info/query_IDX.mat", _INFO),
         Need("info/train_name.txt", "without it the sorted files of bbox_train are taken", False),
         Need("info/test_name.txt", "without it the sorted files of bbox_test are taken", False), _JOINTS),
        ("train.csv", "test.csv"), _look_mars),
    "mpii": Dataset(
        "MPII Human Pose", "data/mpii", "data_prep/mpii.py",
        "the Max Planck Institute for Informatics gives it out: http://human-pose.mpi-inf.mpg.de",
        (Need("images", _MPII), Need(_RELEASE, _MPII)), ("train.csv", "val.csv"), _look_mpii),
}


if __name__ == "__main__":
    run(main)
