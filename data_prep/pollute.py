"""Writes the paper's polluted set (section IV-E.2, Fig. 13, Table VII): a black box in every frame of a data set.

    python data_prep/pollute.py --root data/ilids --out data/ilids_polluted

What you get:

    OUT/...             every image of ROOT under its own name, with a black box of SIZE x SIZE pixels wholly inside it
    OUT/...             every other file of ROOT as it is: splits, joints, lists
    OUT/polluted.json   options and counts; written last: without it the set is no set

The place of a frame's box is drawn uniformly from the seed and the frame's path, so it depends on nothing else; the
same options give the same bytes, whatever the number of workers. Prepare OUT as you would ROOT. PNG files keep their
other pixels; JPEG files are encoded anew (quality 95). The joints stay those of the clean frames. Of a synthetic
set, synthetic.json and occlusion.csv stay behind, which would not be true of OUT. A killed run goes on where it was,
and a complete set is left alone.
"""

import argparse
import hashlib
import json
import os
import shutil
import sys
from functools import partial

import numpy as np
from tqdm import tqdm

from data_prep.layouts import encode
from data_prep.prepare import IMAGES, UNFINISHED_POLLUTED, Help, refuse_unfinished
from data_prep.synthetic import MARK as SYNTHETIC
from data_prep.synthetic import mapper
from stal.errors import InputError, run
from stal.files import replacing, write_json
from stal.images import read_image

MARK = "polluted.json"
_LEFT_BEHIND = {SYNTHETIC, "occlusion.csv"}


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=Help)
    parser.add_argument("--root", required=True, help="directory of the data set")
    parser.add_argument("--out", required=True, help="directory of the polluted set; made if need be")
    parser.add_argument("--size", type=int, default=25, help="side of the box in pixels")
    parser.add_argument("--seed", type=int, default=0, help="of the places")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes; they change no byte")
    args = parser.parse_args(argv)
    for wrong, sentence in ((args.size < 1, f"--size {args.size}: give at least 1"),
                            (args.seed < 0, f"--seed {args.seed}: give a number from 0"),
                            (args.workers < 1, f"--workers {args.workers}: give at least 1")):
        if wrong:
            raise InputError(sentence)
    write(args.root, args.out, args.size, args.seed, args.workers)


def write(root, out, size=25, seed=0, workers=1):
    """Writes the polluted set, unless it is there.

    Raises:
        InputError: ``root`` has no images or is unfinished, one lies within the other, a frame is damaged or smaller
            than the box, or ``out`` holds something else.
    """
    if not os.path.isdir(root):
        raise InputError(f"there is no directory {root}: give the data set's --root")
    refuse_unfinished(root)
    if os.path.exists(os.path.join(root, MARK)):
        raise InputError(f"{root} is a polluted set already: give the --root that it was made of")
    inner, outer = (os.path.join(os.path.realpath(path), "") for path in (root, out))
    if inner.startswith(outer) or outer.startswith(inner):
        raise InputError(f"--root {root} and --out {out} lie within one another: give another --out")
    images, others = find_files(root)
    if not images:
        raise InputError(f"{root} holds no images: give the data set's --root")
    asked = {"size": size, "seed": seed, "frames": len(images), "source": _fingerprint(root, images)}
    missing = _missing(out, images, asked)
    if not missing:
        print(f"{out} holds this set already: {len(images)} frames")
        return
    write_json(os.path.join(out, UNFINISHED_POLLUTED), asked)
    if os.path.exists(os.path.join(out, MARK)):
        os.remove(os.path.join(out, MARK))
    with tqdm(total=len(images), initial=len(images) - len(missing), unit="frame", file=sys.stderr) as progress, \
            mapper(workers, chunk=32) as each:
        for _ in each(partial(_pollute_file, root, out, size, seed), missing):
            progress.update()
    for name in others:
        with open(os.path.join(root, name), "rb") as source, replacing(os.path.join(out, name), "wb") as stream:
            shutil.copyfileobj(source, stream)
    write_json(os.path.join(out, MARK), asked)
    os.remove(os.path.join(out, UNFINISHED_POLLUTED))
    print(f"wrote {len(images)} frames with a black box of {size} x {size} pixels, and {len(others)} other files, to {out}")


def find_files(root):
    """Paths of a data set's images and of its other files, relative to ``root``, each sorted."""
    images, others = [], []
    for folder, folders, names in os.walk(root, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        inside = os.path.relpath(folder, root)
        for name in names:
            if not name.startswith(".") and ".part." not in name:
                kind = images if name.lower().endswith(IMAGES) else others
                kind.append(os.path.normpath(os.path.join(inside, name)))
    return sorted(images), sorted(set(others) - _LEFT_BEHIND)


def place(relative, width, height, size, seed):
    """Left and top pixel of the box in the frame at ``relative``: uniform over all places wholly inside."""
    digest = hashlib.sha256(relative.encode("utf-8", "surrogateescape")).digest()
    rng = np.random.default_rng((seed, int.from_bytes(digest[:8], "big")))
    return int(rng.integers(width - size + 1)), int(rng.integers(height - size + 1))


def _pollute_file(root, out, size, seed, relative):
    path = os.path.join(root, relative)
    image = read_image(path)
    height, width = image.shape[:2]
    if size > min(width, height):
        raise InputError(f"{path} is {width} x {height} pixels, smaller than the box of {size}: give a smaller --size")
    left, top = place(relative, width, height, size, seed)
    image[top:top + size, left:left + size] = 0
    with replacing(os.path.join(out, relative), "wb") as stream:
        stream.write(encode(relative, image))


def _fingerprint(root, images):
    """Of the images' paths and sizes in bytes: another set, or one drawn anew, has another."""
    digest = hashlib.sha256()
    for relative in images:
        size = os.path.getsize(os.path.join(root, relative))
        digest.update(f"{relative} {size}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _missing(out, images, asked):
    """The images that ``out`` does not hold yet; empty if the set is complete. Refuses what is not this set."""
    try:
        os.makedirs(out, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make the directory {out} ({error.strerror}): give another --out") from None
    marks = [path for path in (os.path.join(out, MARK), os.path.join(out, UNFINISHED_POLLUTED)) if os.path.exists(path)]
    if not marks:
        if os.listdir(out):
            raise InputError(f"{out} was not written by this program: give another --out")
        return images
    try:
        with open(marks[0], encoding="utf-8") as stream:
            there = dict(json.load(stream))
    except (ValueError, TypeError):
        raise InputError(f"{marks[0]} is damaged: remove {out}") from None
    found = set(find_files(out)[0])
    differing = [key for key in asked if there.get(key) != asked[key]]
    if found and differing:
        words = ", ".join("other frames" if key == "source" else f"{key} {there.get(key)} instead of {asked[key]}"
                          for key in differing)
        raise InputError(f"{out} holds another polluted set ({words}): remove it, or give another --out")
    missing = [image for image in images if image not in found]
    # All frames, but killed before the other files: one frame again, and the rest follows.
    return missing or (images[:1] if marks[0].endswith(UNFINISHED_POLLUTED) else [])


if __name__ == "__main__":
    run(main)
