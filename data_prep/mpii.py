"""Prepares MPII Human Pose from the files that are published: crops of single people, lists, joints, head sizes.

Reference: Andriluka, Pishchulin, Gehler, Schiele: 2D human pose estimation: new benchmark and state of the art
analysis, CVPR 2014. Published: around 25 000 images with over 40 000 people; other counts are prepared too, with
a note. Joints are published for the training images only, so the people of the other images are passed over.

    python data_prep/mpii.py --root data/mpii

Reads:

    ROOT/images/*.jpg
    ROOT/mpii_human_pose_v1_u12_2/mpii_human_pose_v1_u12_1.mat    or --annotations FILE

Writes, the same bytes each time:

    ROOT/crops/NNNNNN_K.jpg              annolist(N).annorect(K), both counted from 1: a square about the person's
                                         position, CONTEXT * 200 * scale pixels wide, resized to SIZE x SIZE; what
                                         lies outside the image is grey 128
    ROOT/train.csv, val.csv              tracklet lists (stal/tracklets.py): one tracklet of one frame a person
    ROOT/train_joints.npy, val_joints.npy
                                         J1..J14 in pixels of the crop; confidence 1, or 0 for a joint that is not
                                         annotated (it lies at 0, 0) or lies outside the crop
    ROOT/train_heads.npy, val_heads.npy  (F,) float32: head size in pixels of the crop, the length PCKh refers to

An annotated joint counts whether it is visible or hidden. pid is a running number over both lists; camid and
query are 0. The validation side is a share of the IMAGES. A run that was killed goes on where it was: complete
crops are not cut again, and the lists are written last.
"""

import argparse
import json
import os
import sys
import zlib
from typing import NamedTuple

import cv2
import numpy as np
import scipy.io
from scipy.io.matlab import MatReadError, mat_struct
from tqdm import tqdm

from stal.errors import InputError, run
from stal.files import replacing, write_json
from stal.images import read_image
from stal.pckh import heads_path
from stal.tracklets import JOINTS, Tracklet, write_joints, write_list

# MPII's id of each joint J1..J14: head top, upper neck; right shoulder, elbow, wrist; left ones; LEFT hip, knee,
# ankle; RIGHT ones. MPII's ids 6 (pelvis) and 7 (thorax) have no counterpart.
JOINT_IDS = 9, 8, 12, 11, 10, 13, 14, 15, 3, 4, 5, 2, 1, 0
HEAD_SHARE = 0.6   # of the head box's diagonal: MPII's own evaluation
_PERSON = 200      # pixels: a person's height at scale 1
_GREY = 128
_QUALITY = 95      # of the JPEG files
_LARGEST = 20_000  # pixels: a wider square comes from a wrong scale
_ANNOTATIONS = os.path.join("mpii_human_pose_v1_u12_2", "mpii_human_pose_v1_u12_1.mat")
_MARK = "crops.json"


class Person(NamedTuple):
    """A person of a training image."""

    name: str           # NNNNNN_K
    image: str          # file name in images/
    square: tuple       # left, top, side in pixels of the image, from 0
    joints: np.ndarray  # (14, 3) float32: x, y in pixels of the crop, confidence
    head: float         # pixels of the crop


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=_Help)
    parser.add_argument("--root", required=True, help="directory that holds images/; gets the crops and lists")
    parser.add_argument("--annotations", help=f"the .mat file (default: ROOT/{_ANNOTATIONS})")
    parser.add_argument("--size", type=int, default=256, help="of the crops, pixels")
    parser.add_argument("--context", type=float, default=1.25, help="side of the square, in heights of the person")
    parser.add_argument("--validation", type=float, default=0.1, help="share of the images, between 0 and 1")
    parser.add_argument("--seed", type=int, default=0, help="of the choice of validation images")
    args = parser.parse_args(argv)
    for wrong, sentence in (
            (not 16 <= args.size <= 2048, f"--size {args.size}: give 16 to 2048"),
            (not 0 < args.context <= 10, f"--context {args.context}: give a number above 0, up to 10"),
            (not 0 < args.validation < 1, f"--validation {args.validation}: give a share between 0 and 1"),
            (args.seed < 0, f"--seed {args.seed}: give a number from 0")):
        if wrong:
            raise InputError(sentence)

    path = args.annotations or os.path.join(args.root, _ANNOTATIONS)
    print(f"reading {path}: half a minute", flush=True)
    release = read_release(path)
    people = find_people(release, path, args.size, args.context)
    print_counts(release, people)
    sides = split(people, args.validation, args.seed)
    cut(args.root, people, args.size, {"annotations": _checksum(path), "size": args.size, "context": args.context})
    for side, subset in sides.items():
        write_side(os.path.join(args.root, f"{side}.csv"), subset, people)
        print(f"{side}.csv: {len(subset)} people of {len({person.image for person in subset})} images")


class _Help(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    pass


def read_release(path):
    """Reads the struct RELEASE.

    Returns:
        a list of (image's name or None, whether it is a training image, its annorect structs), in the file's order.
    Raises:
        InputError: no such file, no .mat file, no struct RELEASE with annolist and an img_train for each image.
    """
    try:
        content = scipy.io.loadmat(path, struct_as_record=False, squeeze_me=True)
    except FileNotFoundError:
        raise InputError(f"there is no file {path}: unpack MPII's annotations there or name them with --annotations"
                         ) from None
    except (ValueError, TypeError, LookupError, NotImplementedError, OSError, EOFError, zlib.error,
            MatReadError) as error:
        raise InputError(f"{path} is no readable .mat file ({error}): restore it from MPII's archive") from None
    release = content.get("RELEASE")
    images = _structs(getattr(release, "annolist", ()))
    training = np.ravel(getattr(release, "img_train", ()))
    if not images or len(training) != len(images):
        raise InputError(f"{path} holds no struct RELEASE with annolist and img_train for each image: restore "
                         "mpii_human_pose_v1_u12_1.mat from MPII's archive")
    rows = []
    for image, flag in zip(images, training):
        name = getattr(getattr(image, "image", None), "name", None)
        rows.append((name if isinstance(name, str) and name else None, _number(flag) == 1,
                     _structs(getattr(image, "annorect", ()))))
    return rows


def _structs(value):
    """The structs of a MATLAB field that scipy has squeezed: of nothing, one struct or an array of them."""
    return [item for item in np.ravel(np.asarray(value, object)) if isinstance(item, mat_struct)]


def _number(value):
    """A finite float of a MATLAB field (a number, or a number as text); None if it is empty or something else."""
    value = np.asarray(value)
    try:
        number = float(value.item()) if value.size == 1 else np.nan
    except (ValueError, TypeError):
        return None
    return number if np.isfinite(number) else None


def _numbers(struct, *names):
    """The fields of a struct as floats; None if one of them is missing."""
    values = [_number(getattr(struct, name, ())) for name in names]
    return None if None in values else values


def find_people(release, path, size, context):
    """The people of the training images of whom a crop can be learned from.

    A person needs a position, a scale, a head box and at least one joint of the 14 inside the crop.

    Returns:
        a list of :class:`Person`, sorted by name.
    Raises:
        InputError: there is nobody; or a person's image has no name (``path`` is named).
    """
    people = []
    for index, (image, training, records) in enumerate(release, start=1):
        for rank, record in enumerate(records, start=1):
            person = training and _person(f"{index:06d}_{rank}", image, record, size, context)
            if person:
                if image is None:
                    raise InputError(f"annolist({index}) in {path} has a person but no image.name: restore the file "
                                     "from MPII's archive")
                people.append(person)
    if not people:
        raise InputError(f"{path} has nobody with joints, a position, a scale and a head box in a training image: "
                         "restore it from MPII's archive")
    return sorted(people, key=lambda person: person.name)


def _person(name, image, record, size, context):
    """A :class:`Person` of an annorect struct; None if something is missing that a crop needs."""
    scale = _number(getattr(record, "scale", ()))
    position = _numbers(getattr(record, "objpos", None), "x", "y")
    head_box = _numbers(record, "x1", "y1", "x2", "y2")
    if scale is None or position is None or head_box is None:
        return None
    side = round(context * _PERSON * scale)
    head = HEAD_SHARE * np.hypot(head_box[2] - head_box[0], head_box[3] - head_box[1]) * size / max(side, 1)
    if not 1 <= side <= _LARGEST or max(map(abs, position)) > _LARGEST or not head > 0:
        return None
    # MATLAB counts pixels from 1; pixel centres lie at halves.
    left, top = (int(np.floor(value - 1 + 0.5 - side / 2 + 0.5)) for value in position)
    joints = np.zeros((JOINTS, 3), np.float32)
    for point in _structs(getattr(getattr(record, "annopoints", None), "point", ())):
        numbers = _numbers(point, "id", "x", "y")
        if numbers and numbers[0] in JOINT_IDS:
            x, y = ((value - 1 - start + 0.5) * size / side - 0.5
                    for value, start in zip(numbers[1:], (left, top)))
            joints[JOINT_IDS.index(numbers[0])] = x, y, -0.5 <= x < size - 0.5 and -0.5 <= y < size - 0.5
    return Person(name, image, (left, top, side), joints, head) if joints[:, 2].any() else None


def print_counts(release, people):
    """Prints what the file has and what is left of it, and a note where it is not what is published."""
    everybody = sum(len(records) for _, _, records in release)
    training = [records for _, training, records in release if training]
    in_training = sum(map(len, training))
    print(f"{len(release)} images with {everybody} people; {len(training)} training images with {in_training} people")
    if round(len(release), -3) != 25_000 or everybody < 40_000:
        print("Note: MPII Human Pose as published has around 25 000 images with over 40 000 people; this is a subset "
              "or another set.")
    print(f"{len(people)} people of {len({person.image for person in people})} training images are used; "
          f"{in_training - len(people)} have no joint in the crop, position, scale or head box")


def split(people, share, seed):
    """Splits people by image: {"train": [...], "val": [...]}, each in the order of ``people``.

    Raises:
        InputError: there is one image only.
    """
    images = sorted({person.image for person in people})
    if len(images) < 2:
        raise InputError(f"only the image {images[0]} has people with joints: training and validation need two")
    order = np.random.default_rng(seed).permutation(len(images))
    count = min(max(round(share * len(images)), 1), len(images) - 1)
    chosen = {images[k] for k in order[:count]}
    return {"train": [person for person in people if person.image not in chosen],
            "val": [person for person in people if person.image in chosen]}


def crop(image, square, size):
    """Cuts a square out of an image, grey where it sticks out.

    Args:
        image: (H, W, 3) uint8.
        square: left, top, side in pixels of the image, from 0.
    Returns:
        (size, size, 3) uint8; the pixel x of the image lies at (x - left + 0.5) * size / side - 0.5.
    """
    left, top, side = square
    canvas = np.full((side, side, 3), _GREY, np.uint8)
    inside = image[max(top, 0):max(top + side, 0), max(left, 0):max(left + side, 0)]
    y, x = max(-top, 0), max(-left, 0)
    canvas[y:y + inside.shape[0], x:x + inside.shape[1]] = inside
    return cv2.resize(canvas, (size, size), interpolation=cv2.INTER_AREA if side > size else cv2.INTER_LINEAR)


def cut(root, people, size, options):
    """Writes the crops that are not there yet; each image is read once.

    Raises:
        InputError: images are missing or damaged, or the crops that are there come from other ``options``.
    """
    folder = os.path.join(root, "crops")
    _check_mark(folder, options)
    waiting = {}
    for person in people:
        if not _is_complete(_crop_path(root, person)):
            waiting.setdefault(person.image, []).append(person)
    missing = sorted(image for image in waiting if not os.path.isfile(os.path.join(root, "images", image)))
    if missing:
        raise InputError(f"{len(missing)} images are missing, {os.path.join(root, 'images', missing[0])} the first of "
                         "them: unpack MPII's images there")
    write_json(os.path.join(folder, _MARK), options)
    left = sum(map(len, waiting.values()))
    with tqdm(total=len(people), initial=len(people) - left, unit="person", file=sys.stderr) as progress:
        for name, group in waiting.items():
            image = read_image(os.path.join(root, "images", name))
            for person in group:
                data = cv2.imencode(".jpg", crop(image, person.square, size), (cv2.IMWRITE_JPEG_QUALITY, _QUALITY))[1]
                with replacing(_crop_path(root, person), "wb") as stream:
                    stream.write(data.tobytes())
                progress.update()


def _crop_path(root, person):
    return os.path.join(root, "crops", f"{person.name}.jpg")


def _is_complete(path):
    """Whether a crop is there with its end."""
    try:
        with open(path, "rb") as stream:
            return stream.read()[-2:] == b"\xff\xd9"
    except FileNotFoundError:
        return False


def _check_mark(folder, options):
    """Refuses a folder of crops that were not cut with the same options."""
    path = os.path.join(folder, _MARK)
    if not os.path.exists(path):
        if os.path.isdir(folder) and os.listdir(folder):
            raise InputError(f"{folder} was not written by this program: move it away")
        return
    try:
        with open(path, encoding="utf-8") as stream:
            there = json.load(stream)
    except ValueError:
        raise InputError(f"{path} is damaged: remove {folder}") from None
    if there != options:
        raise InputError(f"{folder} holds crops of another --size, --context or --annotations: remove it, or give "
                         "the options it was cut with")


def _checksum(path):
    with open(path, "rb") as stream:
        return f"{zlib.crc32(stream.read()):08x}"


def write_side(path, subset, people):
    """Writes joints, head sizes and, last, the list of ``subset``; pids count all ``people``."""
    pids = {person.name: pid for pid, person in enumerate(people)}
    write_joints(path, np.stack([person.joints for person in subset]))
    with replacing(heads_path(path), "wb") as stream:
        np.save(stream, np.array([person.head for person in subset], np.float32))
    write_list(path, [Tracklet(person.name, pids[person.name], 0, False, (f"crops/{person.name}.jpg",))
                      for person in subset])


if __name__ == "__main__":
    run(main)
