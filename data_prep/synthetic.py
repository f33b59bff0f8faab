"""Writes a synthetic set of people who walk past cameras, in the layout of iLIDS-VID, PRID-2011 or MARS.

    python data_prep/synthetic.py --root data/ilids
    python data_prep/synthetic.py --root data/demo --identities 300 --length 16 16
    python data_prep/synthetic.py --root data/prid --layout prid2011
    python data_prep/synthetic.py --root data/mars --layout mars --identities 100 --distractors 50 --junk 20

What you get with --layout ilids-vid, the default:

    ROOT/i-LIDS-VID/sequences/cam1/person001/cam1_person001_00317.png    64 x 128 frames
    ROOT/train-test people splits/train_test_splits_ilidsvid.mat         ls_set: 10 splits, first half test

with --layout prid2011:

    ROOT/prid_2011/multi_shot/cam_a/person_0001/0001.png                 64 x 128 frames
    ROOT/splits_prid2011.json                                            10 splits of those with 27 frames or more

with --layout mars:

    ROOT/bbox_{train,test}/0001/0001C1T0001F001.jpg                      128 x 256 frames; also 0000 and 00-1
    ROOT/info/{train,test}_name.txt, tracks_{train,test}_info.mat, query_IDX.mat

and in each:

    ROOT/joints.csv      frame,x1,y1,c1,...,x14,y14,c14: joints as a pose detector would give them, in pixels
    ROOT/occlusion.csv   frame,head,...,left_leg: hidden fraction of each part's Eq. 7 box, of the TRUE joints
    ROOT/synthetic.json  options, counts, which parts stay hidden; written last: without it the set is no set

Then ilids_vid.py, prid2011.py or mars.py with --root ROOT prepares it as it would the real set. Without further
options a set has about the published numbers of people and frames: 43,800; 116,000; 1,203,000. Identities come
in look-alike groups of four. The same options give the same bytes, whatever the number of workers; a complete
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
from tqdm import tqdm

from data_prep import joints as joints_files
from data_prep import scene, walker
from data_prep.layouts import LAYOUTS, encode
from data_prep.prepare import UNFINISHED, Help
from stal.errors import InputError, run
from stal.files import replacing, write_json

DRAWING = 2  # raised whenever the same options give other pictures
MARK = "synthetic.json"
OCCLUSION_COLUMNS = ("frame", *walker.PARTS)


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=Help)
    parser.add_argument("--root", required=True, help="directory of the set; made if need be")
    parser.add_argument("--layout", choices=LAYOUTS, default="ilids-vid", help="of which published set")
    for name, help_ in (
            ("identities", "people; in the layout prid2011: in both cameras"),
            ("cameras", "up to 6; the layout prid2011 has 2"),
            ("tracklets", "of a person in a camera, on average: 1 to twice this number less 1"),
            ("distractors", "tracklets of strangers, pid 0"),
            ("junk", "tracklets of test persons that count for nothing, pid -1")):
        parser.add_argument(f"--{name}", type=int, default=argparse.SUPPRESS, help=f"{help_} ({_defaults(name)})")
    for name, names, help_ in (("length", ("MIN", "MAX"), "frames of a tracklet"),
                               ("singles", ("A", "B"), "people in the first, in the second camera only")):
        parser.add_argument(f"--{name}", type=int, nargs=2, default=argparse.SUPPRESS, metavar=names,
                            help=f"{help_} ({_defaults(name)})")
    parser.add_argument("--seed", type=int, default=0, help="of everything")
    parser.add_argument("--occluders", choices=scene.OCCLUDERS, default="both",
                        help="moving: one or two cross every tracklet; persistent: some never show a part")
    parser.add_argument("--persistent-share", type=float, default=0.3, help="of the tracklets, 0 to 1")
    parser.add_argument("--redraw", type=float, default=0.4,
                        help="probability that an attribute is not its look-alike group's; 1: no look-alikes")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes; they change no byte")
    parser.add_argument("--force", action="store_true", help="replace another synthetic set in --root")
    write(parser.parse_args(argv))


def _defaults(name):
    """The defaults of an option of the layouts, in words."""
    values = {layout.name: layout.defaults[name] for layout in LAYOUTS.values() if name in layout.defaults}
    return ", ".join(f"{layout}: {' '.join(map(str, value)) if isinstance(value, tuple) else value}"
                     for layout, value in values.items())


def write(args):
    """Draws the set that the parsed command line ``args`` describes, unless it is there."""
    settings = _settings(args)
    _check(args, settings)
    options = scene.Options(args.seed, args.occluders, args.persistent_share, args.redraw)
    layout = LAYOUTS[args.layout](args.seed, **settings)
    asked = {"drawing": DRAWING, "layout": layout.name, **settings, **asdict(options)}
    try:
        os.makedirs(args.root, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make the directory {args.root} ({error.strerror}): give another --root"
                         ) from None
    if _is_there(args.root, asked, layout, args.force):
        return
    for name in {*_owned(args.root, layout), *layout.folders}:
        path = os.path.join(args.root, name)
        if os.path.isdir(path):
            shutil.rmtree(path)
        elif os.path.exists(path):
            os.remove(path)
    write_json(os.path.join(args.root, UNFINISHED), asked)
    for table in ("joints.csv", "occlusion.csv"):
        for rest in glob.glob(os.path.join(glob.escape(args.root), f"{table}.part.*")):
            os.remove(rest)
    frames = sum(piece.length for walk in layout.walks for piece in walk.pieces)
    hidden = {}
    with _table(args.root, "joints.csv", joints_files.COLUMNS) as joints, \
            _table(args.root, "occlusion.csv", OCCLUSION_COLUMNS) as occlusion, \
            tqdm(total=frames, unit="frame", file=sys.stderr) as progress, \
            mapper(args.workers) as each:
        for walk, (joint_rows, occlusion_rows, parts) in zip(
                layout.walks, each(partial(_write_walk, args.root, type(layout), options), layout.walks)):
            joints.writerows(joint_rows)
            occlusion.writerows(occlusion_rows)
            if parts:
                hidden.update({piece.name: list(parts) for piece in walk.pieces})
            progress.update(len(joint_rows))
    layout.write_info(args.root)
    counts = {"identities": settings["identities"], "frames": frames,
              "tracklets": sum(len(walk.pieces) for walk in layout.walks)}
    write_json(os.path.join(args.root, MARK), {"options": asked, "counts": counts, "hidden_parts": hidden})
    os.remove(os.path.join(args.root, UNFINISHED))
    print(f"wrote {counts['frames']} frames of {counts['tracklets']} tracklets of {counts['identities']} "
          f"identities to {args.root}")


def _settings(args):
    """The options of the chosen layout, its defaults where they are not given; InputError for those of another."""
    defaults = LAYOUTS[args.layout].defaults
    known = dict.fromkeys(name for layout in LAYOUTS.values() for name in layout.defaults)
    given = {name: value for name, value in vars(args).items() if name in known}
    for name in given:
        if name not in defaults:
            raise InputError(f"--{name} is no option of --layout {args.layout}: leave it out")
    chosen = {**defaults, **given}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in chosen.items()}


def _check(args, settings):
    (low, high), identities, cameras = settings["length"], settings["identities"], settings.get("cameras", 2)
    for wrong, sentence in (
            (identities < 2, f"--identities {identities}: give at least 2"),
            (not 2 <= cameras <= 6, f"--cameras {cameras}: give 2 to 6"),
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
    owned = _owned(root, layout)
    for name in layout.folders:
        if os.path.exists(os.path.join(root, name)) and name not in owned:
            raise InputError(f"{os.path.join(root, name)} was not written by this program: give another --root")
    if os.path.exists(path):
        os.replace(path, os.path.join(root, UNFINISHED))
    return False


def _owned(root, layout):
    """Names in the root that belong to its set, finished or not, which may have another layout; none without a mark."""
    for name in (MARK, UNFINISHED):
        path = os.path.join(root, name)
        if os.path.exists(path):
            try:
                with open(path, encoding="utf-8") as stream:
                    mark = json.load(stream)
                return LAYOUTS[mark.get("options", mark)["layout"]].folders
            except (ValueError, LookupError, AttributeError, TypeError):
                return layout.folders
    return ()


def _is_complete(root, layout, frames):
    found = sum(len(files) for folder in layout.pictures for _, _, files in os.walk(os.path.join(root, folder)))
    others = ("joints.csv", "occlusion.csv", *layout.files)
    return found == frames and all(os.path.exists(os.path.join(root, name)) for name in others)


def _write_walk(root, layout, options, walk):
    """Draws and writes one walk; returns its rows of the two tables and its hidden parts."""
    drawn = scene.render(options, walk.index, walk.camid, sum(piece.length for piece in walk.pieces), layout.size)
    paths = [path for piece in walk.pieces for path in layout.frames(piece)]
    for folder in {os.path.dirname(path) for path in paths}:
        os.makedirs(os.path.join(root, folder), exist_ok=True)
    joint_rows, occlusion_rows = [], []
    for relative, frame in zip(paths, drawn.frames):
        with open(os.path.join(root, relative), "wb") as stream:
            stream.write(encode(relative, frame.image))
        joint_rows.append((relative, *(f"{value:.2f}" for value in frame.joints.ravel())))
        occlusion_rows.append((relative, *(f"{value:.3f}" for value in frame.occlusion)))
    return joint_rows, occlusion_rows, drawn.hidden


@contextlib.contextmanager
def _table(root, name, columns):
    with replacing(os.path.join(root, name)) as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(columns)
        yield writer


@contextlib.contextmanager
def mapper(workers, chunk=4):
    """An ordered map over ``workers`` processes, started afresh: OpenCV's threads do not survive a fork."""
    if workers == 1:
        yield map
        return
    with multiprocessing.get_context("spawn").Pool(workers, cv2.setNumThreads, (1,)) as pool:
        yield partial(pool.imap, chunksize=chunk)


if __name__ == "__main__":
    run(main)
