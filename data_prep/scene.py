"""A camera, what stands before a walker, and the frames of one tracklet. Knows nothing of data set layouts.

Everything is drawn at twice the frame's size and reduced by area, which smooths the edges. All numbers come
from generators seeded with (seed, purpose, identity, camera), so a tracklet is the same whoever draws it and
when.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np

from data_prep import walker

ZOOM = 2  # drawing canvas over frame
OCCLUDERS = ("moving", "persistent", "both", "none")
# What a persistent occluder hides and how often it does.
HIDDEN = ((("right_leg", "left_leg"), 0.35), (("torso",), 0.2), (("right_arm",), 0.12), (("left_arm",), 0.12),
          (("torso", "right_arm"), 0.06), (("torso", "left_arm"), 0.06), (("right_leg",), 0.05),
          (("left_leg",), 0.04))

_GROUP, _IDENTITY, _CAMERA, _BACKGROUND, _TRACKLET = range(5)
# Mean directions in degrees, 0 facing the camera, 180 from behind. A tracklet may mirror them.
_YAWS = (30, 70, 110, 0, 180, 150)
_HATCH = 8  # canvas pixels of half a period, at a frame height of 128


@dataclass(frozen=True)
class Options:
    """What decides the pictures, apart from how many there are."""

    seed: int = 0
    occluders: str = "both"
    persistent_share: float = 0.3
    redraw: float = 0.4
    blur_share: float = 0.2
    joint_jitter: float = 1.5  # pixels at a frame height of 128


class Frame(NamedTuple):
    """One frame of a tracklet."""

    image: np.ndarray      # (H, W, 3) uint8, BGR
    joints: np.ndarray     # (14, 3) x, y in pixels of the image as a detector would give them, confidence
    occlusion: np.ndarray  # (6,) hidden fraction of each part's Eq. 7 box around the true joints


class Tracklet(NamedTuple):
    """A walk past one camera."""

    frames: list  # of Frame
    hidden: tuple  # names of the parts that a persistent occluder hides in every frame


@dataclass(frozen=True)
class Camera:
    """What all tracklets of a camera share."""

    yaw: float      # radians
    pitch: float    # tangent of the angle it looks down at
    narrowing: float  # perspective: widening per body height upwards
    lateral: float  # mean offset of the person from the box's middle, in box widths
    gain: tuple     # of B, G, R
    gamma: float
    floor: float    # black level


def identity(options, index):
    """The identity number ``index`` (from 0); four in a row are look-alikes of one another."""
    group = walker.draw_attributes(_rng(options, _GROUP, index // 4))
    return walker.draw_identity(group, _rng(options, _IDENTITY, index), options.redraw)


def camera(options, camid):
    """Camera ``camid`` (from 0)."""
    rng = _rng(options, _CAMERA, camid)
    warm = (0.1 if camid % 2 else -0.1) + rng.uniform(-0.05, 0.05)
    light = (1.08 if camid % 2 else 0.8) + rng.uniform(-0.08, 0.08)
    return Camera(yaw=math.radians(_YAWS[camid % len(_YAWS)]), pitch=float(rng.uniform(0.02, 0.3)),
                  narrowing=float(rng.uniform(0, 0.3)), lateral=float(rng.uniform(-0.05, 0.05)),
                  gain=(light * (1 - warm), light, light * (1 + warm)), gamma=float(rng.uniform(0.8, 1.3)),
                  floor=float(rng.uniform(0, 22)))


def render(options, index, camid, length, size):
    """Draws one tracklet.

    Args:
        index, camid: who walks before which camera, both from 0.
        length: frames.
        size: (width, height) of the frames in pixels.
    Returns:
        a :class:`Tracklet`.
    """
    who, view = identity(options, index), camera(options, camid)
    rng = _rng(options, _TRACKLET, index, camid)
    walk = _Walk(who, view, rng, length, size)
    hidden, occluders = (), []
    if options.occluders in ("persistent", "both") and rng.random() < options.persistent_share:
        hidden = HIDDEN[rng.choice(len(HIDDEN), p=[share for _, share in HIDDEN])][0]
        occluders += _persistent(hidden, walk, rng)
    if options.occluders in ("moving", "both"):
        count = 1 if hidden else rng.integers(1, 3)
        occluders += [_Moving(rng, length, walk.shape) for _ in range(count)]
    backdrop = _Backdrop(options, camid, rng, length, size)
    painter = walker.Painter(who, walk.shape, walk.size.mean())
    light = _lookup(view, rng)
    frames = []
    for t in range(length):
        canvas = backdrop.canvas(t)
        painter.draw(canvas, walk.points[t], walk.depths[t], walk.scales[t], walk.size[t], walk.yaw[t])
        cover = np.zeros(walk.shape, np.uint8)
        for occluder in occluders:
            occluder.draw(canvas, cover, t)
        image = _film(canvas, light, rng, rng.random() < options.blur_share)
        joints = _detected(walk.points[t, :14], cover, rng, options.joint_jitter * size[1] / 128)
        frames.append(Frame(image, joints, hidden_fractions(cover, walk.points[t, :14])))
    return Tracklet(frames, hidden)


def hidden_fractions(cover, joints):
    """Covered fraction of each part's box.

    Args:
        cover: (h, w) uint8, non-zero where something hides the person.
        joints: (14, 2) pixels of the same canvas.
    Returns:
        (6,) float64 in 0..1, parts in the paper's order: the box of Eq. 7, at least one pixel wide and high,
        cut at the canvas's edges; 0 for a box outside.
    """
    fractions = np.zeros(len(walker.PARTS))
    height, width = cover.shape
    for row, members in enumerate(walker.PARTS.values()):
        points = joints[list(members)]
        x1, y1 = np.maximum(np.floor(points.min(0)).astype(int), 0)
        x2, y2 = np.minimum(np.floor(points.max(0)).astype(int) + 1, (width, height))
        if x2 > x1 and y2 > y1:
            fractions[row] = cv2.countNonZero(cover[y1:y2, x1:x2]) / ((x2 - x1) * (y2 - y1))
    return fractions


def _rng(options, purpose, *which):
    return np.random.default_rng((options.seed, purpose, *which))


class _Walk:
    """The body of every frame in canvas pixels."""

    def __init__(self, who, view, rng, length, size):
        width, height = size[0] * ZOOM, size[1] * ZOOM
        self.shape = height, width
        mirror = -1 if rng.random() < 0.5 else 1
        turn = rng.normal(0, math.radians(12)) + np.linspace(-1, 1, length) * rng.normal(0, math.radians(10))
        self.yaw = mirror * (view.yaw + turn)
        cadence = rng.uniform(0.28, 0.42)  # radians a frame: 15 to 22 frames a cycle of two steps
        phase = rng.uniform(0, 2 * math.pi) + cadence * np.arange(length)
        centre_x = width * (0.5 + view.lateral + _drift(rng, length, 0.03))
        ground = height * (0.945 + _drift(rng, length, 0.012))
        self.size = height * 0.875 * (1 + 0.5 * (who.height - 1)) * (1 + _drift(rng, length, 0.025))
        self.points = np.empty((length, 16, 2))
        self.depths = np.empty((length, 16))
        self.scales = np.empty((length, 16))
        for t in range(length):
            body = walker.skeleton(who, phase[t])
            left, up, forward = body.T
            sine, cosine = math.sin(self.yaw[t]), math.cos(self.yaw[t])
            depth = forward * cosine - left * sine
            scale = 1 + view.narrowing * (up - 0.6)
            across = (left * cosine + forward * sine) * scale
            self.points[t, :, 0] = centre_x[t] + across * self.size[t]
            self.points[t, :, 1] = ground[t] - (up - depth * view.pitch) * self.size[t]
            self.depths[t], self.scales[t] = depth, scale


def _drift(rng, length, spread):
    """(length,) a detector's jitter around 0: what it keeps from the frame before, and what is new."""
    steps = rng.normal(0, spread, length)
    for t in range(1, length):
        steps[t] = 0.7 * steps[t - 1] + 0.7 * steps[t]
    return steps


class _Backdrop:
    """The scene behind a tracklet: a strip of its camera's panorama and a few things that stand about."""

    def __init__(self, options, camid, rng, length, size):
        self.panorama = _panorama(options.seed, camid, size)
        height, width = size[1] * ZOOM, size[0] * ZOOM
        self.shape = height, width
        self.steps = rng.uniform(-0.02, 0.02) * width * np.arange(length) + _drift(rng, length, 0.02) * width
        self.rise = np.abs(_drift(rng, length, 0.015)) * height
        self.start = rng.uniform(0, self.panorama.shape[1])
        self.things = []
        for _ in range(rng.integers(1, 5)):
            colour = np.array(walker.CLOTHES[rng.integers(len(walker.CLOTHES))]) * rng.uniform(0.7, 1.1)
            self.things.append((rng.uniform(-0.2, 1.2) * width, rng.uniform(0.2, 0.9) * height,
                                rng.uniform(0.06, 0.2) * width, rng.uniform(0.05, 0.25) * height,
                                tuple(np.clip(colour, 0, 255)), rng.random() < 0.5))

    def canvas(self, t):
        height, width = self.shape
        left = int(self.start + self.steps[t]) % (self.panorama.shape[1] - width)
        top = min(int(self.rise[t]), self.panorama.shape[0] - height)
        canvas = np.ascontiguousarray(self.panorama[top:top + height, left:left + width])
        for x, y, half_width, half_height, colour, is_box in self.things:
            x, y = int(x - self.steps[t]), int(y - top)
            if is_box:
                cv2.rectangle(canvas, (int(x - half_width), int(y - half_height)),
                              (int(x + half_width), int(y + half_height)), colour, -1)
            else:
                cv2.ellipse(canvas, (x, y), (int(half_width), int(half_height)), 0, 0, 360, colour, -1)
        return canvas


@lru_cache(maxsize=16)
def _panorama(seed, camid, size):
    """(1.1 h, 12 w, 3) uint8: floor, wall, boards and posts, and grain of three sizes."""
    rng = np.random.default_rng((seed, _BACKGROUND, camid))
    height, width = int(size[1] * ZOOM * 1.1), size[0] * ZOOM * 12
    wall, floor = rng.uniform(60, 190, 3), rng.uniform(50, 170, 3)
    picture = np.empty((height, width, 3), np.float32)
    horizon = int(height * rng.uniform(0.35, 0.7))
    picture[:horizon], picture[horizon:] = wall * 0.4 + wall.mean() * 0.6, floor * 0.3 + floor.mean() * 0.7
    for _ in range(90):
        colour = rng.uniform(20, 230) * 0.75 + rng.uniform(20, 230, 3) * 0.25
        x, y = rng.uniform(0, width), rng.uniform(0, height * 0.9)
        half_width, half_height = rng.uniform(0.02, 0.4) * size[0] * ZOOM, rng.uniform(0.01, 0.25) * height
        cv2.rectangle(picture, (int(x - half_width), int(y - half_height)),
                      (int(x + half_width), int(y + half_height)), colour.tolist(), -1)
    for y in range(horizon, height, max(8, height // 12)):
        cv2.line(picture, (0, y), (width, y + int(rng.uniform(-20, 20))), [floor.mean() * 0.8] * 3, 2)
    for cells, strength in ((2, 6), (12, 10), (60, 14)):
        grain = rng.normal(0, strength, (max(2, height // cells), max(2, width // cells))).astype(np.float32)
        picture += cv2.resize(grain, (width, height), interpolation=cv2.INTER_LINEAR)[:, :, None]
    picture = np.clip(picture, 0, 255).astype(np.uint8)
    return cv2.GaussianBlur(picture, (0, 0), 1.5)


class _Moving:
    """Something that crosses the picture in 50 to 85 % of the frames."""

    def __init__(self, rng, length, shape):
        height, width = shape
        present = max(1, round(rng.uniform(0.5, 0.85) * length))
        self.first = int(rng.integers(0, length - present + 1))
        self.present = present
        kind = rng.choice(3, p=(0.4, 0.2, 0.4))
        # A passer-by, a cart or a board; low things are more frequent than high ones, so heads stay visible.
        half_width = width * (rng.uniform(0.19, 0.28), rng.uniform(0.28, 0.42), rng.uniform(0.22, 0.38))[kind]
        top = height * (rng.uniform(0.06, 0.28), rng.uniform(0.42, 0.6), rng.uniform(0.08, 0.36))[kind]
        bottom = height * (1.05, 1.05, rng.uniform(0.55, 0.85))[kind]
        self.round_top = kind == 0
        self.half_width, self.top, self.bottom = half_width, top, bottom
        begin, end = rng.uniform(-0.05, 0.35) * width, rng.uniform(0.65, 1.05) * width
        if rng.random() < 0.5:
            begin, end = end, begin
        self.x = np.linspace(begin, end, present)
        self.hatch = _Hatch(rng, shape)

    def draw(self, canvas, cover, t):
        if not self.first <= t < self.first + self.present:
            return
        x = self.x[t - self.first]
        self.hatch.fill(canvas, cover, (x - self.half_width, self.top, x + self.half_width, self.bottom),
                        self.round_top)


class _Fixed:
    """Something that hides the same part in every frame."""

    def __init__(self, rng, shape, boxes):
        self.boxes = boxes  # (length, 4)
        self.hatch = _Hatch(rng, shape)

    def draw(self, canvas, cover, t):
        self.hatch.fill(canvas, cover, self.boxes[t], False)


def _persistent(hidden, walk, rng):
    """Occluders over the named parts: a counter before both legs, a thing carried or pushed before others."""
    length, (height, width) = len(walk.points), walk.shape
    if hidden == ("right_leg", "left_leg"):
        hips = walk.points[:, (8, 11), 1].min(1)
        boxes = np.empty((length, 4))
        boxes[:, 0], boxes[:, 2], boxes[:, 3] = -8, width + 8, height + 8
        boxes[:, 1] = hips - rng.uniform(0, 0.03) * height
        return [_Fixed(rng, walk.shape, boxes)]
    occluders = []
    for name in hidden:
        points = walk.points[:, list(walker.PARTS[name])]
        low, high = points.min(1), points.max(1)
        margin = np.array((0.05, 0.035)) * walk.size.mean() * rng.uniform(1, 1.3)
        half = (high - low).max(0) / 2 + margin
        middle = (low + high) / 2
        boxes = np.hstack((middle - half, middle + half))
        if name == "torso":
            boxes[:, 1] = low[:, 1] + 0.02 * walk.size  # below the neck: the head stays in sight
        occluders.append(_Fixed(rng, walk.shape, boxes))
    return occluders


class _Hatch:
    """A texture no garment has: slanting bands of two colours with a rim."""

    def __init__(self, rng, shape):
        self.shape = shape
        half = max(2, int(_HATCH * shape[0] / (128 * ZOOM) * rng.uniform(0.7, 1.3)))
        self.period = 2 * half
        first, contrast = rng.uniform(20, 235, 3), rng.uniform(70, 120, 3)
        second = np.where(first > 127, first - contrast, first + contrast)
        slope = rng.choice((-1, 1))
        y, x = np.ogrid[:shape[0] + self.period, :shape[1] + self.period]
        self.tile = np.array((first, second), np.uint8)[((x + slope * y) // half) % 2]
        self.rim = tuple((first * 0.5).tolist())

    def fill(self, canvas, cover, box, round_top):
        height, width = self.shape
        left, top, right, bottom = (int(round(value)) for value in box)
        x1, y1, x2, y2 = max(left, 0), max(top, 0), min(right, width), min(bottom, height)
        if x2 <= x1 or y2 <= y1:
            return
        from_y, from_x = (y1 - top) % self.period, (x1 - left) % self.period
        texture = self.tile[from_y:from_y + y2 - y1, from_x:from_x + x2 - x1]
        if not round_top:
            canvas[y1:y2, x1:x2] = texture
            cover[y1:y2, x1:x2] = 255
            cv2.rectangle(canvas, (left, top), (right - 1, bottom - 1), self.rim, 2)
            return
        shape = np.zeros((y2 - y1, x2 - x1), np.uint8)
        middle, shoulder = (right - left) // 2, top + (right - left) // 2
        cv2.ellipse(shape, (left - x1 + middle, shoulder - y1), (middle, shoulder - top), 0, 0, 360, 255, -1)
        shape[max(shoulder - y1, 0):] = 255
        np.copyto(canvas[y1:y2, x1:x2], texture, where=shape[:, :, None] > 0)
        np.maximum(cover[y1:y2, x1:x2], shape, out=cover[y1:y2, x1:x2])


def _lookup(view, rng):
    """(256, 1, 3) uint8: the camera's gain, tint and gamma under a tracklet's own light."""
    light = rng.uniform(0.88, 1.12)
    levels = (np.arange(256) / 255)[:, None] ** (view.gamma * rng.uniform(0.95, 1.05))
    table = view.floor + (255 - view.floor) * levels * np.array(view.gain) * light
    return np.clip(table, 0, 255).astype(np.uint8).reshape(256, 1, 3)


def _film(canvas, light, rng, blurred):
    """The canvas as the camera records it: (H, W, 3) uint8."""
    height, width = canvas.shape[:2]
    image = cv2.resize(canvas, (width // ZOOM, height // ZOOM), interpolation=cv2.INTER_AREA)
    image = cv2.LUT(image, light)
    if blurred:
        unit = height / (128 * ZOOM)
        if rng.random() < 0.5:
            image = cv2.blur(image, (int(rng.integers(4, 8) * unit), max(1, round(unit))))
        else:
            image = cv2.GaussianBlur(image, (0, 0), rng.uniform(1.0, 1.8) * unit)
    noise = rng.integers(-7, 8, image.shape[:2], np.int16)
    return np.clip(image + noise[:, :, None], 0, 255).astype(np.uint8)


def _detected(points, cover, rng, jitter):
    """(14, 3) the joints as a pose detector reports them: shifted a little, unsure where they are hidden."""
    height, width = cover.shape
    joints = np.empty((14, 3))
    joints[:, :2] = points / ZOOM + rng.normal(0, jitter, (14, 2))
    x = np.clip(points[:, 0].astype(int), 0, width - 1)
    y = np.clip(points[:, 1].astype(int), 0, height - 1)
    joints[:, 2] = np.where(cover[y, x] > 0, rng.uniform(0.15, 0.5, 14), 1.0)
    return joints
