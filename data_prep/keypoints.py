"""Makes a joints table of what a pose estimator wrote: OpenPose's JSON files or COCO keypoints.

    python data_prep/keypoints.py --format openpose --input poses/ --root data/ilids --out data/ilids/joints.csv
    python data_prep/keypoints.py --format coco --input results.json --images images.json --root data/ilids \\
                                  --out data/ilids/joints.csv

Inputs:

    openpose  a directory of NAME_keypoints.json, one an image, as `--write_json` writes them with the default
              `--keypoint_scale 0` (pixels of the image); BODY_25 (75 numbers a person) or COCO (54 numbers)
    coco      an annotation file {images, annotations}, or a list of results [{image_id, keypoints, score}] together
              with --images, a file that has images [{id, file_name}]; 17 points (51 numbers a person)

NAME (with its directories under --input, where there are any) and file_name must be the end of the path of exactly
one image under ROOT; a bare name will do where names are unique. What you get: OUT, a joints table
`frame,x1,y1,c1,...,x14,y14,c14` (data_prep/joints.py) with a row for each frame that the input covers, sorted.

Rules, all ours but the order of the joints:

    several people  the one with the highest sum of confidences
    confidence      as written, limited to 0 .. 1; so COCO's 1 (hidden) and 2 (visible) both become 1
    J1, head top    nobody detects it: the mean F of those of nose, eyes and ears that are seen, moved away from the
                    neck N to N + 1.7 (F - N); F itself without a neck; its confidence is the mean of theirs
    J2, neck        COCO's 17 points have none: the middle of the shoulders, with the smaller confidence
    not seen        confidence 0 and the place of the upright template's joint, after the template, or its mirror
                    image where that fits better, was shifted and scaled (0.5 to 2) onto the seen joints by least
                    squares; inside the image. A frame with nobody gets the template as it is
"""

import argparse
import json
import os
import sys
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from data_prep.joints import upright_template, write_joints_table
from stal.errors import InputError, run
from stal.images import read_image
from stal.tracklets import JOINTS

_SUFFIX = "_keypoints.json"
_IMAGES = (".png", ".jpg", ".jpeg")
_HEAD_TOP = 1.7      # ours: a head's top lies so many times as far from the neck as the middle of its face
_SCALES = 0.5, 2.0   # of the template: a pedestrian fills the image


class Layout(NamedTuple):
    """Where a format keeps what."""

    limbs: tuple  # J3..J14: right shoulder, elbow, wrist, left ones; LEFT hip, knee, ankle, RIGHT ones
    neck: int     # None: the middle of the shoulders
    face: tuple   # nose, eyes, ears


LAYOUTS = {
    25: Layout((2, 3, 4, 5, 6, 7, 12, 13, 14, 9, 10, 11), 1, (0, 15, 16, 17, 18)),      # OpenPose BODY_25
    18: Layout((2, 3, 4, 5, 6, 7, 11, 12, 13, 8, 9, 10), 1, (0, 14, 15, 16, 17)),       # OpenPose COCO
    17: Layout((6, 8, 10, 5, 7, 9, 11, 13, 15, 12, 14, 16), None, (0, 1, 2, 3, 4)),     # COCO
}


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--format", required=True, choices=("openpose", "coco"), help="who wrote the input")
    parser.add_argument("--input", required=True, help="directory of JSON files (openpose) or JSON file (coco)")
    parser.add_argument("--root", required=True, help="directory of the data set, to which frames are relative")
    parser.add_argument("--out", required=True, help="the joints table to write")
    parser.add_argument("--images", help="coco: the file whose images a list of results refers to")
    args = parser.parse_args(argv)
    if args.images is not None and args.format != "coco":
        raise InputError(f"--images {args.images} belongs to --format coco: leave it out")

    frames = Frames(args.root)
    table, seen, empty = {}, 0, 0
    if args.format == "openpose":
        paths = find_openpose(args.input)
        entries, count = (read_openpose(args.input, path) for path in paths), len(paths)
    else:
        entries = read_coco(args.input, args.images)
        count = len(entries)
    for entry in tqdm(entries, total=count, unit="frame", file=sys.stderr):
        frame = frames.find(entry.name, entry.where, extension=args.format == "coco")
        if frame in table:
            raise InputError(f"{entry.where} names the frame {frame} a second time: remove one of them")
        height, width = read_image(os.path.join(args.root, frame)).shape[:2]
        if entry.size not in (None, (width, height)):
            raise InputError(f"{entry.where} says that {frame} has {entry.size[0]} x {entry.size[1]} pixels, but it "
                             f"has {width} x {height}: estimate the poses on the published images")
        joints = to_joints(choose(entry.people))
        table[frame] = fill(joints, width, height)
        seen += int((joints[:, 2] > 0).sum())
        empty += not joints[:, 2].any()
    if seen and all(np.abs(joints[joints[:, 2] > 0, :2]).max(initial=0) <= 1 for joints in table.values()):
        raise InputError(f"all keypoints of {args.input} lie within 1 pixel: write them in pixels of the image "
                         "(OpenPose: --keypoint_scale 0)")
    write_joints_table(args.out, table)
    print(f"wrote the joints of {len(table)} frames to {args.out}: {seen / (JOINTS * len(table)):.1%} of the joints "
          f"are seen, {empty} frames show nobody")
    rest = sorted(set(frames.paths) - set(table))
    if rest:
        print(f"Note: {len(rest)} images under {args.root} are not in {args.input}, {rest[0]} the first of them.")


class Entry(NamedTuple):
    """What an input says about one frame."""

    name: str     # the end of the frame's path
    where: str    # the file, for messages
    people: list  # of (P, 3) float64: x, y, confidence 0 .. 1
    size: tuple   # width, height of the image; None if not said


class Frames:
    """The images under a directory, found by the end of their paths.

    Raises:
        InputError: there are none.
    """

    def __init__(self, root):
        self.root = root
        self.paths = []
        for folder, folders, files in os.walk(root, followlinks=True):
            folders[:] = [name for name in folders if not name.startswith(".")]
            relative = os.path.relpath(folder, root).replace(os.sep, "/")
            self.paths += [name if relative == "." else f"{relative}/{name}" for name in files
                           if name.lower().endswith(_IMAGES) and not name.startswith(".")]
        if not self.paths:
            raise InputError(f"there are no images under {root}: give the directory of the data set as --root")
        self._by_stem = {}
        for path in sorted(self.paths):
            self._by_stem.setdefault(os.path.splitext(os.path.basename(path))[0], []).append(path)

    def find(self, name, where, extension):
        """The one frame whose path, with or without its ``extension``, ends with the path ``name``.

        Raises:
            InputError: there is none, or more than one; ``where`` names the file that asks.
        """
        base = os.path.basename(name)
        candidates = self._by_stem.get(os.path.splitext(base)[0] if extension else base, ())
        found = [path for path in candidates
                 if f"/{path if extension else os.path.splitext(path)[0]}".endswith(f"/{name}")]
        if not found:
            raise InputError(f"{where} names {name}, but no image under {self.root} is called so: give the data set's "
                             "directory as --root, or remove the entry")
        if len(found) > 1:
            raise InputError(f"{where} names {name}, but {found[0]} and {found[1]} are both called so: name more of "
                             "the path")
        return found[0]


def find_openpose(folder):
    """Paths of OpenPose's files under a directory, sorted.

    Raises:
        InputError: there are none.
    """
    paths = sorted(os.path.join(where, name) for where, _, names in os.walk(folder, followlinks=True)
                   for name in names if name.endswith(_SUFFIX))
    if not paths:
        raise InputError(f"there is no NAME{_SUFFIX} in the directory {folder}: give the directory that OpenPose's "
                         "--write_json filled as --input")
    return paths


def read_openpose(folder, path):
    """Reads one of OpenPose's files under ``folder`` as an :class:`Entry`.

    Raises:
        InputError: the file has another structure.
    """
    people = _field(_read_json(path), "people", path, list)
    name = os.path.relpath(path, folder).replace(os.sep, "/")[:-len(_SUFFIX)]
    return Entry(name, path, [_points(person, "pose_keypoints_2d", path, (25, 18)) for person in people], None)


def read_coco(path, images_path=None):
    """Reads COCO keypoints.

    Args:
        path: an annotation file, or a list of results.
        images_path: the file with the ``images`` of a list of results.
    Returns:
        a list of :class:`Entry`, one for each of the images, in their order.
    Raises:
        InputError: a file is missing or of another structure, an id repeated or unknown.
    """
    content = _read_json(path)
    if isinstance(content, list):
        if images_path is None:
            raise InputError(f"{path} is a list of results: name the file that has their images with --images")
        images, people = _field(_read_json(images_path), "images", images_path, list), content
    else:
        if images_path is not None:
            raise InputError(f"{path} is no list of results: leave --images {images_path} out")
        images, people = (_field(content, key, path, list) for key in ("images", "annotations"))
        images_path = path
    entries = {}
    for image in images:
        number = _field(image, "id", images_path, (int, str))
        if number in entries:
            raise InputError(f"{images_path} has the image id {number} twice: write it anew")
        size = (image.get("width"), image.get("height"))
        if not all(side is None or type(side) is int for side in size):
            raise InputError(f"{images_path} gives the image {number} the size {size[0]!r} x {size[1]!r}: write integers")
        entries[number] = Entry(_field(image, "file_name", images_path, str), images_path, [],
                                None if None in size else size)
    if not entries:
        raise InputError(f"{images_path} lists no images: write it anew")
    for person in people:
        number = _field(person, "image_id", path, (int, str))
        if number not in entries:
            raise InputError(f"{path} has keypoints of the image id {number}, which {images_path} does not list: give "
                             "the file they were made with")
        entries[number].people.append(_points(person, "keypoints", path, (17,)))
    return list(entries.values())


def _read_json(path):
    try:
        with open(path, encoding="utf-8") as stream:
            return json.load(stream)
    except OSError as error:
        raise InputError(f"cannot read {path} ({error.strerror}): name a JSON file with keypoints") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is no JSON file ({error}): write it anew") from None


def _field(record, key, path, kind):
    """A field of a JSON object, of a certain type."""
    value = record.get(key) if isinstance(record, dict) else None
    if not isinstance(value, kind):
        raise InputError(f"{path} holds no keypoints as --format expects them: {key} is missing or of another type; "
                         "see --help")
    return value


def _points(person, key, path, counts):
    """The points of a person: (P, 3) float64, confidence limited to 0 .. 1."""
    values = _field(person, key, path, list)
    if len(values) not in [3 * count for count in counts]:
        raise InputError(f"{path} has {len(values)} numbers in {key}, not "
                         f"{' or '.join(str(3 * count) for count in counts)}: see --help for the formats")
    if not all(isinstance(value, (int, float)) and abs(value) < 1e6 for value in values):
        raise InputError(f"{path} has something in {key} that is no number of pixels: write it anew")
    points = np.array(values, np.float64).reshape(-1, 3)
    points[:, 2] = points[:, 2].clip(0, 1)
    return points


def choose(people):
    """The person with the highest sum of confidences, the first of equals; None of nobody."""
    return max(people, key=lambda points: points[:, 2].sum(), default=None)


def to_joints(points):
    """Points of one of LAYOUTS -> (14, 3) float32 in the paper's order, confidence 0 where not seen.

    Args:
        points: (25, 18 or 17, 3) x, y, confidence; or None.
    """
    joints = np.zeros((JOINTS, 3), np.float32)
    if points is None:
        return joints
    layout = LAYOUTS[len(points)]
    joints[2:] = points[list(layout.limbs)]
    if layout.neck is not None:
        joints[1] = points[layout.neck]
    else:
        right, left = joints[2], joints[5]
        joints[1] = *(right[:2] + left[:2]) / 2, min(right[2], left[2])
    face = points[list(layout.face)]
    face = face[face[:, 2] > 0]
    if len(face):
        joints[0] = face.mean(axis=0)
        if joints[1, 2] > 0:
            joints[0, :2] = joints[1, :2] + _HEAD_TOP * (joints[0, :2] - joints[1, :2])
    return joints


def fill(joints, width, height):
    """Gives joints of confidence 0 a place in an image of ``width`` x ``height``.

    Returns:
        (14, 3) float32: seen joints unchanged; the others where the upright template has them once it is aligned
        with the seen ones, inside the image, confidence 0.
    """
    seen = joints[:, 2] > 0
    template = upright_template(width, height)[:, :2].astype(np.float64)
    mirrored = np.stack([width - template[:, 0], template[:, 1]], axis=1)  # seen from behind
    places, error = _align(template, joints[:, :2], seen)
    others, other_error = _align(mirrored, joints[:, :2], seen)
    if other_error < error - 1e-6:
        places = others
    filled = joints.astype(np.float32)
    filled[~seen, :2] = places[~seen].clip(0, (width - 1, height - 1))
    filled[~seen, 2] = 0
    return filled


def _align(template, places, seen):
    """The template shifted and scaled onto the seen places, and the sum of squared distances that is left."""
    if not seen.any():
        return template, 0.0
    middle, target = template[seen].mean(axis=0), places[seen].mean(axis=0, dtype=np.float64)
    shape, offsets = template[seen] - middle, places[seen] - target
    scale = np.clip((shape * offsets).sum() / (shape ** 2).sum(), *_SCALES) if seen.sum() > 1 else 1.0
    aligned = (template - middle) * scale + target
    return aligned, float(((aligned[seen] - places[seen]) ** 2).sum())


if __name__ == "__main__":
    run(main)
