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

pid is the number in the directory's name; camid 0 is cam1; the query is the tracklet of camid 0. Footage of
your own in the same tree is prepared too, with further cameras as cam3, cam4, ...
"""

import argparse
import os
import re

import numpy as np

from data_prep import splits as splits_files
from data_prep.joints import joints_of, read_joints_table, upright_template
from data_prep.synthetic import UNFINISHED
from stal.errors import InputError, run
from stal.images import read_image
from stal.tracklets import Tracklet, write_joints, write_list

PUBLISHED = {"identities": 300, "tracklets": 600, "shortest": 23, "longest": 193, "mean length": 73}
_IMAGES = (".png", ".jpg", ".jpeg")
_SPLITS_FILE = os.path.join("train-test people splits", "train_test_splits_ilidsvid.mat")


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=_Help)
    parser.add_argument("--root", required=True, help="directory that holds i-LIDS-VID/")
    parser.add_argument("--split", type=int, default=0, help="the split that train.csv and test.csv are")
    parser.add_argument("--splits", help=f"splits file (default: ROOT/{_SPLITS_FILE}, else random halves)")
    parser.add_argument("--joints", help="joints table (default: ROOT/joints.csv, else the upright template)")
    parser.add_argument("--seed", type=int, default=0, help="of the random halves")
    args = parser.parse_args(argv)

    if os.path.exists(os.path.join(args.root, UNFINISHED)):
        raise InputError(f"{os.path.join(args.root, UNFINISHED)} marks a synthetic set that was interrupted: "
                         "run data_prep/synthetic.py again with the same options")
    tracklets = find_tracklets(args.root)
    pids = person_order(tracklets)
    if len(pids) < 2:
        raise InputError(f"{args.root} has one person only: a training and a test side need two")
    print_counts(tracklets)
    all_splits, origin = find_splits(args.root, args.splits, pids, args.seed)
    if not 0 <= args.split < len(all_splits):
        raise InputError(f"--split {args.split}: {origin} has the splits 0 to {len(all_splits) - 1}")
    joints, joints_origin = find_joints(args.root, args.joints, tracklets)

    splits_files.write(os.path.join(args.root, "splits.json"), all_splits)
    subsets = {"all": tracklets}
    for side, persons in all_splits[args.split].items():
        subsets[side] = [tracklet for tracklet in tracklets if tracklet.pid in set(persons)]
    starts = np.cumsum([0] + [len(tracklet.frames) for tracklet in tracklets])
    where = {tracklet.name: slice(*starts[k:k + 2]) for k, tracklet in enumerate(tracklets)}
    for name, subset in subsets.items():
        path = os.path.join(args.root, f"{name}.csv")
        write_list(path, subset)
        write_joints(path, np.concatenate([joints[where[tracklet.name]] for tracklet in subset]))
    print(f"Splits: {origin}; split {args.split} of {len(all_splits)}\nJoints: {joints_origin}")
    print_table(subsets)


class _Help(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    pass


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
    for camera, number in _directories(sequences, r"cam([1-9]\d?)", "camN"):
        for person, pid in _directories(os.path.join(sequences, camera), r"person(\d+)", "personNNN"):
            name = f"{camera}/{person}"
            images = sorted(image for image in os.listdir(os.path.join(sequences, name))
                            if image.lower().endswith(_IMAGES) and not image.startswith("."))
            if not images:
                raise InputError(f"{os.path.join(sequences, name)} holds no images: restore them or remove "
                                 "the directory")
            frames = tuple(f"i-LIDS-VID/sequences/{name}/{image}" for image in images)
            tracklets.append(Tracklet(name, pid, number - 1, number == 1, frames))
    if not tracklets:
        raise InputError(f"{sequences} holds no person directories: unpack iLIDS-VID there")
    return tracklets


def _directories(folder, pattern, wanted):
    """Yields (name, number) of a folder's directories, sorted by name; hidden ones are passed over."""
    names = (entry.name for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith("."))
    for name in sorted(names):
        match = re.fullmatch(pattern, name)
        if not match:
            raise InputError(f"{os.path.join(folder, name)} is not named {wanted}: move it away")
        yield name, int(match.group(1))


def person_order(tracklets):
    """pids in the order of the sorted directory NAMES of all cameras: what the published splits count."""
    names = {}
    for name, pid in sorted({(tracklet.name.split("/")[1], tracklet.pid) for tracklet in tracklets}):
        if pid in names:
            raise InputError(f"the directories {names[pid]} and {name} have the same person number: rename "
                             "one of them")
        names[pid] = name
    return list(names)


def find_splits(root, path, pids, seed):
    """Splits from ``path``, else from the published file, else drawn; and where they come from, in words."""
    published = os.path.join(root, _SPLITS_FILE)
    if path is None and os.path.exists(published):
        path = published
    if path is None:
        return splits_files.random_halves(pids, seed), f"random halves, seed {seed} (no {published})"
    read = splits_files.read_json if path.endswith(".json") else splits_files.read_mat
    return read(path, pids), path


def find_joints(root, path, tracklets):
    """(F, 14, 3) float32 joints of all frames, and where they come from, in words.

    Reads every image, to know its size and that it is sound.

    Raises:
        InputError: an image is damaged, the table is, or a frame has no row in it.
    """
    frames = [frame for tracklet in tracklets for frame in tracklet.frames]
    sizes = [read_image(os.path.join(root, frame)).shape[1::-1] for frame in frames]
    if path is None and os.path.exists(os.path.join(root, "joints.csv")):
        path = os.path.join(root, "joints.csv")
    if path is not None:
        return joints_of(frames, read_joints_table(path), path), path
    return np.stack([upright_template(*size) for size in sizes]), "the upright template (no joints.csv)"


def print_counts(tracklets):
    """Prints the counts, what is published where they differ, and who is seen by one camera only."""
    lengths = [len(tracklet.frames) for tracklet in tracklets]
    cameras = {}
    for tracklet in tracklets:
        cameras.setdefault(tracklet.pid, []).append(tracklet.camid)
    found = {"identities": len(cameras), "tracklets": len(tracklets), "shortest": min(lengths),
             "longest": max(lengths), "mean length": round(sum(lengths) / len(lengths))}
    print(", ".join(f"{name} {count}" for name, count in found.items()) + f", frames {sum(lengths)}")
    other = [f"{name} {count}" for name, count in PUBLISHED.items() if found[name] != count]
    if other:
        print(f"Note: iLIDS-VID as published has {', '.join(other)}; this is a subset or another set.")
    lone = sorted(pid for pid, seen in cameras.items() if len(seen) < 2)
    if lone:
        named = ", ".join(map(str, lone[:10])) + (", ..." if len(lone) > 10 else "")
        print(f"Note: {len(lone)} persons are seen by one camera only ({named}): in training their positive "
              "comes from the same camera, as a query they have no match.")


def print_table(subsets):
    """Prints the summary that re-identification programs print."""
    rows = {"train": subsets["train"], "query": [row for row in subsets["test"] if row.query],
            "gallery": [row for row in subsets["test"] if not row.query]}
    print("=> Loaded iLIDS-VID")
    line = "  -------------------------------------------"
    print(f"{line}\n  subset   | # ids | # tracklets | # cameras\n{line}")
    for name, tracklets in rows.items():
        pids, camids = {row.pid for row in tracklets}, {row.camid for row in tracklets}
        print(f"  {name:8} | {len(pids):5d} | {len(tracklets):11d} | {len(camids):9d}")
    print(line)


if __name__ == "__main__":
    run(main)
