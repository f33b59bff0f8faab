"""Cuts the people out of a fixed camera's film, one at a time, into iLIDS-VID's layout.

    python data_prep/footage.py --video one-by-one-person-detection.mp4 --out tests/fixtures/footage

The first 20 frames must show the empty scene. Every visit of a person is one identity; its first half becomes
cam1 and its last half cam2. That puts real pictures of real people through the whole path; as it is one
camera, scores on them say nothing about re-identification across cameras. What you get:
OUT/i-LIDS-VID/sequences/cam{1,2}/personNNN/*.jpg, 64 x 128, only frames in which the whole person is inside
the picture, and OUT/ATTRIBUTION.md, which names the film that tests/fixtures/footage was cut from (rewrite it
for another film).
"""

import argparse
import os
from typing import NamedTuple

import cv2
import numpy as np

from stal.errors import InputError, run
from stal.files import replacing

SIZE = 64, 128
EMPTY_FRAMES = 20
_CONTRAST = 40         # grey levels a person differs from the empty scene by
_LEAST_AREA = 0.015    # of the picture: smaller things are no person
_LEAST_FRAMES = 40     # a shorter visit is a door or a shadow
_LARGEST_GAP = 10      # frames in which a person may be lost within a visit
_EDGE = 2              # pixels: a box nearer to the picture's edge may cut the person
_MARGIN = 0.05         # of the person's height, added on every side
_ATTRIBUTION = """# Credit

The pictures under `i-LIDS-VID/` show six people of `one-by-one-person-detection.mp4` from Intel IoT DevKit
sample-videos (https://github.com/intel-iot-devkit/sample-videos), licence CC BY 4.0
(https://creativecommons.org/licenses/by/4.0/).

Changes: people cut out of single frames, resized to 64 x 128, saved as JPEG; the halves of each visit stand
for two cameras. It is one camera, so scores on these pictures say nothing about re-identification across
cameras.
"""


class Sighting(NamedTuple):
    """A person in one frame of the film."""

    number: int  # of the frame, from 0
    box: tuple   # x1, y1, x2, y2 in pixels, x2 and y2 outside
    whole: bool  # the box keeps clear of the left, right and lower edges of the picture
    image: np.ndarray  # (128, 64, 3) uint8, BGR


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=_Help)
    parser.add_argument("--video", required=True, help="film of a fixed camera")
    parser.add_argument("--out", required=True, help="directory that gets i-LIDS-VID/")
    parser.add_argument("--frames", type=int, default=12, help="of each half of a visit")
    parser.add_argument("--quality", type=int, default=75, help="of the JPEG files, 1 to 100")
    args = parser.parse_args(argv)
    if args.frames < 1 or not 1 <= args.quality <= 100:
        raise InputError("--frames must be at least 1 and --quality 1 to 100")
    count = 0
    for visit, sightings in enumerate(find_visits(args.video), start=1):
        for camera, half in enumerate(choose(sightings, args.frames), start=1):
            for sighting in half:
                path = os.path.join(args.out, "i-LIDS-VID", "sequences", f"cam{camera}", f"person{visit:03d}",
                                    f"cam{camera}_person{visit:03d}_{sighting.number:05d}.jpg")
                with replacing(path, "wb") as stream:
                    stream.write(encode(sighting.image, args.quality))
                count += 1
        print(f"person{visit:03d}: frames {sightings[0].number} to {sightings[-1].number}, "
              f"{sum(sighting.whole for sighting in sightings)} with the whole person")
    if not count:
        raise InputError(f"{args.video} shows nobody long enough: its first {EMPTY_FRAMES} frames must be "
                         "empty and the camera must stand still")
    with replacing(os.path.join(args.out, "ATTRIBUTION.md")) as stream:
        stream.write(_ATTRIBUTION)
    print(f"wrote {count} pictures to {args.out}")


class _Help(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    pass


def read_frames(video):
    """Yields the frames of a film, (H, W, 3) uint8 BGR.

    Raises:
        InputError: the film cannot be opened.
    """
    capture = cv2.VideoCapture(os.fspath(video))
    if not capture.isOpened():
        raise InputError(f"{video} is no film that OpenCV can open: give another --video")
    while True:
        there, frame = capture.read()
        if not there:
            capture.release()
            return
        yield frame


def find_visits(video):
    """Visits of a film in order of time.

    Returns:
        a list of lists of :class:`Sighting`.
    Raises:
        InputError: the film cannot be opened or has no more than the 20 frames of the empty scene.
    """
    visits, empty, background = [], [], None
    for number, frame in enumerate(read_frames(video)):
        if number < EMPTY_FRAMES:
            empty.append(frame)
            continue
        if background is None:
            background = np.median(empty, axis=0).astype(np.uint8)
        sighting = find_person(frame, background, number)
        if sighting is None:
            continue
        if not visits or number - visits[-1][-1].number > _LARGEST_GAP:
            visits.append([])
        visits[-1].append(sighting)
    if background is None:
        raise InputError(f"{video} has {len(empty)} frames, not more than the {EMPTY_FRAMES} of the empty "
                         "scene: give another --video")
    return [visit for visit in visits if len(visit) >= _LEAST_FRAMES]


def find_person(frame, background, number):
    """The largest thing that differs from the empty scene, as a :class:`Sighting`; None if there is none."""
    height, width = frame.shape[:2]
    sparse = slice(None, None, 4)
    exposure = np.median((background[sparse, sparse] + 1.0) / (frame[sparse, sparse] + 1.0), axis=(0, 1))
    even = cv2.convertScaleAbs(frame * exposure)  # the film's exposure follows what is in the picture
    differs = cv2.absdiff(cv2.GaussianBlur(even, (5, 5), 0), cv2.GaussianBlur(background, (5, 5), 0)).max(2)
    mask = (differs > _CONTRAST).astype(np.uint8)
    mask = cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, np.ones((15, 7), np.uint8))
    _, _, regions, _ = cv2.connectedComponentsWithStats(mask)
    regions = regions[1:]  # the first is the background
    if not len(regions) or regions[:, cv2.CC_STAT_AREA].max() < _LEAST_AREA * height * width:
        return None
    x, y, w, h, _ = (int(value) for value in regions[regions[:, cv2.CC_STAT_AREA].argmax()])
    whole = x > _EDGE and x + w < width - _EDGE and y + h < height - _EDGE
    box = x, y, x + w, y + h
    return Sighting(number, box, whole, crop(frame, box))


def choose(sightings, count):
    """Two lists: up to ``count`` sightings, evenly spaced, of either half of those with the whole person."""
    whole = [sighting for sighting in sightings if sighting.whole]
    chosen = []
    for half in (whole[:len(whole) // 2], whole[len(whole) // 2:]):
        positions = np.linspace(0, len(half) - 1, min(count, len(half))).round().astype(int)
        chosen.append([half[position] for position in positions])
    return chosen


def crop(frame, box):
    """The person with a margin, reduced to SIZE; a cut that would stick out of the frame is moved inside."""
    x1, y1, x2, y2 = box
    margin = 2 * _MARGIN * (y2 - y1)
    height = max(y2 - y1 + margin, (x2 - x1 + margin) * SIZE[1] / SIZE[0])
    height = int(min(round(height), frame.shape[0], frame.shape[1] * SIZE[1] // SIZE[0]))
    width = height * SIZE[0] // SIZE[1]
    left = min(max((x1 + x2 - width) // 2, 0), frame.shape[1] - width)
    top = min(max((y1 + y2 - height) // 2, 0), frame.shape[0] - height)
    return cv2.resize(frame[top:top + height, left:left + width], SIZE, interpolation=cv2.INTER_AREA)


def encode(image, quality):
    """Bytes of a JPEG file."""
    return cv2.imencode(".jpg", image, (cv2.IMWRITE_JPEG_QUALITY, quality))[1].tobytes()


if __name__ == "__main__":
    run(main)
