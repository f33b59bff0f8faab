"""What the programs that prepare a published data set share: options, directories, splits, joints, lists, summary."""

import argparse
import os
import re
from multiprocessing.pool import ThreadPool

import numpy as np
from tqdm import tqdm

from data_prep import splits as splits_files
from data_prep.joints import joints_of, read_joints_table, upright_template
from stal.errors import InputError
from stal.images import read_image
from stal.tracklets import write_joints, write_list

IMAGES = (".png", ".jpg", ".jpeg")
# Marks of sets that a killed program left half written, and which program goes on with them.
UNFINISHED, UNFINISHED_POLLUTED = "synthetic.unfinished.json", "polluted.unfinished.json"
_INTERRUPTED = {UNFINISHED: ("synthetic", "synthetic.py"), UNFINISHED_POLLUTED: ("polluted", "pollute.py")}


class Help(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """The docstring as it is, and the default of each option that has one."""

    def _get_help_string(self, action):
        return action.help if action.default is None else super()._get_help_string(action)


def add_options(parser, holds):
    """Adds the options of every data set; ``holds`` says what lies in the root."""
    parser.add_argument("--root", required=True, help=f"directory that holds {holds}")
    parser.add_argument("--lists", metavar="DIR", help="where the lists and their joints are written (default: ROOT); "
                                                       "the paths in them stay relative to ROOT")
    parser.add_argument("--joints", help="joints table (default: ROOT/joints.csv, else the upright template)")


def add_split_options(parser, published):
    """Adds the options of a data set with several splits; ``published`` names their file in the root."""
    parser.add_argument("--split", type=int, default=0, help="the split that train.csv and test.csv are")
    parser.add_argument("--splits", help=f"splits file (default: ROOT/{published}, else random halves)")
    parser.add_argument("--seed", type=int, default=0, help="of the random halves")


def refuse_unfinished(root):
    """Raises InputError if a program of data_prep/ was killed while it wrote the set."""
    for mark, (kind, program) in _INTERRUPTED.items():
        path = os.path.join(root, mark)
        if os.path.exists(path):
            raise InputError(f"{path} marks a {kind} set that was interrupted: run data_prep/{program} again with the "
                             "same options")


def directories(folder, pattern, wanted):
    """Yields (name, number) of a folder's directories, sorted by name; hidden ones are passed over.

    Args:
        pattern: of a name; its first group is the number. ``wanted`` says it in words.
    Raises:
        InputError: a directory has another name.
    """
    names = (entry.name for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith("."))
    for name in sorted(names):
        match = re.fullmatch(pattern, name)
        if not match:
            raise InputError(f"{os.path.join(folder, name)} is not named {wanted}: move it away")
        yield name, int(match.group(1))


def images_of(folder):
    """Sorted names of a directory's images; InputError if there are none."""
    images = sorted(image for image in os.listdir(folder)
                    if image.lower().endswith(IMAGES) and not image.startswith("."))
    if not images:
        raise InputError(f"{folder} holds no images: restore them or remove the directory")
    return images


def person_order(tracklets):
    """pids in the order of the sorted directory NAMES of all cameras: what the published splits count."""
    names = {}
    for name, pid in sorted({(tracklet.name.split("/")[1], tracklet.pid) for tracklet in tracklets}):
        if pid in names:
            raise InputError(f"the directories {names[pid]} and {name} have the same person number: rename "
                             "one of them")
        names[pid] = name
    return list(names)


def prepare_splits(args, tracklets, pids, published, rule=""):
    """Writes what a data set with several splits needs, once its tracklets are found.

    Args:
        args: the options of :func:`add_options` and :func:`add_split_options`, parsed.
        tracklets: list of :class:`stal.tracklets.Tracklet`; ``pids`` are theirs, in the order that a .mat file counts.
        published: names in the root that the splits may have; the first that is there is taken.
        rule: which of the directories are used, as :func:`data_prep.splits.read_mat` takes it.
    Returns:
        {"all": tracklets, "train": ..., "test": ...}.
    Raises:
        InputError: a bad splits file, split number or joints table, a damaged image.
    """
    all_splits, origin = find_splits(args.root, args.splits, pids, args.seed, published, rule)
    if not 0 <= args.split < len(all_splits):
        raise InputError(f"--split {args.split}: {origin} has the splits 0 to {len(all_splits) - 1}")
    joints, joints_origin = find_joints(args.root, args.joints, tracklets)
    subsets = {"all": tracklets}
    for side, persons in all_splits[args.split].items():
        subsets[side] = [tracklet for tracklet in tracklets if tracklet.pid in set(persons)]
    splits_files.write(os.path.join(args.root, "splits.json"), all_splits)
    write_lists(args.lists or args.root, subsets, tracklets, joints)
    print(f"Splits: {origin}; split {args.split} of {len(all_splits)}\nJoints: {joints_origin}")
    return subsets


def find_splits(root, path, pids, seed, published, rule=""):
    """Splits from ``path``, else from a published file, else drawn; and where they come from, in words."""
    candidates = [os.path.join(root, name) for name in published]
    path = path or next(filter(os.path.exists, candidates), None)
    if path is None:
        return splits_files.random_halves(pids, seed), f"random halves, seed {seed} (no {' or '.join(candidates)})"
    read = splits_files.read_json if path.endswith(".json") else splits_files.read_mat
    return read(path, pids, rule=rule), path


def find_joints(root, path, tracklets):
    """(F, 14, 3) float32 joints of all frames, and where they come from, in words.

    Reads every image, to know its size and that it is sound.

    Raises:
        InputError: an image is damaged, the table is, or a frame has no row in it.
    """
    frames = [frame for tracklet in tracklets for frame in tracklet.frames]
    with ThreadPool(os.cpu_count()) as pool:  # OpenCV decodes without Python's lock
        sizes = list(tqdm(pool.imap(_size, (os.path.join(root, frame) for frame in frames), chunksize=64),
                          "reading the images", len(frames), unit="frame", disable=None))
    if path is None and os.path.exists(os.path.join(root, "joints.csv")):
        path = os.path.join(root, "joints.csv")
    if path is not None:
        return joints_of(frames, read_joints_table(path), path), path
    kinds, kind = np.unique(sizes, axis=0, return_inverse=True)
    templates = np.stack([upright_template(*size) for size in kinds.tolist()])
    return templates[kind.reshape(-1)], "the upright template (no joints.csv)"


def _size(path):
    return read_image(path).shape[1::-1]


def write_lists(folder, subsets, tracklets, joints):
    """Writes FOLDER/NAME.csv and NAME_joints.npy of each subset {NAME: tracklets}.

    Args:
        joints: (F, 14, 3) of the frames of ``tracklets``, which hold all that are in the subsets.
    """
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make the directory {folder} ({error.strerror}): give another --lists") from None
    starts = np.cumsum([0] + [len(tracklet.frames) for tracklet in tracklets])
    where = {tracklet.name: slice(*starts[k:k + 2]) for k, tracklet in enumerate(tracklets)}
    for name, subset in subsets.items():
        path = os.path.join(folder, f"{name}.csv")
        subset = sorted(subset, key=lambda tracklet: tracklet.name)  # as write_list does
        write_joints(path, np.concatenate([joints[where[tracklet.name]] for tracklet in subset]))
        write_list(path, subset)


def note(dataset, found, published):
    """What to tell of counts that are not the published ones; empty if all are."""
    other = [f"{name} {count}" for name, count in published.items() if found[name] != count]
    return f"Note: {dataset} as published has {', '.join(other)}; this is a subset or another set." if other else ""


def print_counts(dataset, found, published):
    """Prints counts {what: number}, and those that are published where they differ."""
    print(", ".join(f"{name} {count}" for name, count in found.items()))
    told = note(dataset, found, published)
    if told:
        print(told)


def print_table(dataset, rows):
    """Prints the summary that re-identification programs print, of {subset: tracklets}."""
    print(f"=> Loaded {dataset}")
    line = "  -------------------------------------------"
    print(f"{line}\n  subset   | # ids | # tracklets | # cameras\n{line}")
    for name, tracklets in rows.items():
        pids, camids = {row.pid for row in tracklets}, {row.camid for row in tracklets}
        print(f"  {name:8} | {len(pids):5d} | {len(tracklets):11d} | {len(camids):9d}")
    print(line)


def query_and_gallery(subsets):
    """{"train", "query", "gallery"} of the subsets of a split, for :func:`print_table`."""
    return {"train": subsets["train"], "query": [row for row in subsets["test"] if row.query],
            "gallery": [row for row in subsets["test"] if not row.query]}
