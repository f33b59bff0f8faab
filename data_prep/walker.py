"""A person who walks: her clothes, her steps, how she is drawn. Knows nothing of cameras or data sets."""

import math
from dataclasses import dataclass, fields
from typing import NamedTuple

import cv2
import numpy as np

# The paper's six parts (section III-B) as 0-based joints: J1 is row 0.
PARTS = {"head": (0, 1, 2, 5), "torso": (1, 2, 5, 8, 11), "right_arm": (2, 3, 4), "left_arm": (5, 6, 7),
         "right_leg": (11, 12, 13), "left_leg": (8, 9, 10)}

# BGR. Few clothing colours on purpose: a colour seen on one part belongs to a fifth of the people.
CLOTHES = ((46, 40, 38), (214, 216, 218), (52, 48, 158), (150, 92, 48), (72, 120, 86))
SKIN = ((176, 196, 226), (140, 168, 205), (92, 126, 170), (58, 78, 112))
HAIR = ((28, 26, 24), (42, 62, 92), (118, 160, 186), (150, 150, 152))
SHOES = ((30, 30, 32), (226, 226, 228), (54, 74, 110))
PATTERNS = ("plain", "stripes", "checks", "logo")
BOTTOMS = ("trousers", "trousers", "skirt", "shorts")
BAGS = ("none", "none", "backpack", "shoulder")

_FAR_SIDE = 0.86  # brightness of the limbs turned away from the camera
_SHIFT = 4  # fractional bits of the coordinates given to OpenCV's drawing


@dataclass(frozen=True)
class Identity:
    """What makes a person that person. Colours index the tables above, sizes are ratios to the mean."""

    skin: int
    hair: int
    long_hair: int
    top: int         # colour of the upper body
    top_second: int  # second colour of its pattern
    pattern: int
    long_sleeves: int
    bottom: int      # index into BOTTOMS
    bottom_colour: int
    shoes: int
    bag: int         # index into BAGS
    bag_colour: int
    height: float
    width: float


def draw_attributes(rng):
    """Draws every attribute of an :class:`Identity` independently."""
    colours = len(CLOTHES)
    sizes = {"skin": len(SKIN), "hair": len(HAIR), "long_hair": 2, "top": colours, "top_second": colours - 1,
             "pattern": len(PATTERNS), "long_sleeves": 2, "bottom": len(BOTTOMS), "bottom_colour": colours,
             "shoes": len(SHOES), "bag": len(BAGS), "bag_colour": colours}
    values = {name: int(rng.integers(size)) for name, size in sizes.items()}
    return Identity(height=float(rng.uniform(0.94, 1.06)), width=float(rng.uniform(0.85, 1.2)), **values)


def draw_identity(group, rng, redraw):
    """A look-alike of ``group``: each of its attributes is drawn anew with probability ``redraw``."""
    own = draw_attributes(rng)
    anew = rng.random(len(fields(Identity))) < redraw
    return Identity(**{field.name: getattr(own if new else group, field.name)
                       for field, new in zip(fields(Identity), anew)})


def skeleton(identity, phase):
    """Joints of a step.

    Args:
        phase: of the gait, in radians; one turn is two steps.
    Returns:
        (16, 3) float64: the 14 joints of the paper, then the left and the right toe. Columns are the person's
        left, up and forward in units of her height; J1 lies at up = 1.
    """
    wide = identity.width
    swing = 0.46 * math.sin(phase)
    bob = 0.008 * math.cos(2 * phase)
    points = np.zeros((16, 3))
    points[0] = 0, 1.0, 0.01
    points[1] = 0, 0.855, 0
    for shoulder, hip, toe, side in ((2, 11, 15, -1), (5, 8, 14, 1)):
        leg = side * swing  # the left leg and the right arm go forward together
        points[hip] = side * 0.058 * wide, 0.5, 0
        lift = 0.12 + 0.75 * max(0.0, side * math.sin(phase + 1.9))  # the knee of the leg that swings forward
        points[hip + 1] = points[hip] + _segment(0.235, leg, side * 0.005)
        points[hip + 2] = points[hip + 1] + _segment(0.225, leg - lift, 0)
        points[toe] = points[hip + 2] + (side * 0.012, -0.025, 0.075)
        points[shoulder] = side * 0.106 * wide, 0.815, 0
        arm = -0.8 * side * swing
        points[shoulder + 1] = points[shoulder] + _segment(0.165, arm, side * 0.028 * wide)
        points[shoulder + 2] = points[shoulder + 1] + _segment(0.15, arm + 0.35, side * 0.006)
    points[:, 1] += bob
    return points


def _segment(length, angle, outward):
    return np.array((outward, -length * math.cos(angle), length * math.sin(angle)))


class Painter:
    """Draws one person's garments onto canvases; textures are made once and slid with the body."""

    def __init__(self, identity, shape, size):
        """
        Args:
            shape: (height, width) of the canvases in pixels.
            size: the person's height in canvas pixels; sets the period of the patterns.
        """
        self.identity = identity
        self.mask = np.zeros(shape, np.uint8)
        self.texture = _pattern(identity, shape, max(4, int(round(size * 0.055))))

    def draw(self, canvas, points, depths, scales, size, yaw):
        """Draws the person.

        Args:
            canvas: (h, w, 3) uint8, painted in place.
            points: (16, 2) canvas pixels, as :func:`skeleton` orders them.
            depths: (16,) towards the camera, in body heights.
            scales: (16,) widening of each point by the perspective.
            size: pixels of a body height.
            yaw: radians; 0 faces the camera, pi turns the back to it, pi/2 walks to the right of the image.
        """
        body = _Body(points, depths, scales, size, yaw, size * self.identity.width)
        arms, legs = ((5, 2), (8, 11))
        for shoulder in arms:
            if depths[shoulder] < 0:
                self._arm(canvas, body, shoulder)
        for hip in sorted(legs, key=lambda hip: depths[hip]):
            self._leg(canvas, body, hip)
        behind = [self._backpack, self._locks]  # what is worn at the back
        if math.cos(yaw) > -0.2:
            front, back = [], behind
        else:
            front, back = behind[::-1], []
        for piece in (*back, self._trunk, self._head, *front):
            piece(canvas, body)
        for shoulder in arms:
            if depths[shoulder] >= 0:
                self._arm(canvas, body, shoulder)
        self._shoulder_bag(canvas, body)

    def _leg(self, canvas, body, hip):
        who, points = self.identity, body.points
        knee, ankle, toe = hip + 1, hip + 2, 14 if hip == 8 else 15
        shade = body.shade(knee)
        skin, cloth, kind = SKIN[who.skin], CLOTHES[who.bottom_colour], BOTTOMS[who.bottom]
        upper = skin if kind == "skirt" else cloth
        lower = cloth if kind == "trousers" else skin
        for start, end, radius_start, radius_end, colour in (
                (knee, ankle, 0.032, 0.023, lower), (hip, knee, 0.05, 0.036, upper),
                (ankle, toe, 0.026, 0.02, SHOES[who.shoes])):
            _limb(canvas, points[start], points[end], body.thick(start, radius_start),
                  body.thick(end, radius_end), colour, shade)

    def _arm(self, canvas, body, shoulder):
        who, points = self.identity, body.points
        elbow, wrist = shoulder + 1, shoulder + 2
        shade, skin = body.shade(shoulder), SKIN[who.skin]
        _limb(canvas, points[elbow], points[wrist], body.thick(elbow, 0.024), body.thick(wrist, 0.018),
              CLOTHES[who.top] if who.long_sleeves else skin, shade)
        _disc(canvas, points[wrist], body.thick(wrist, 0.022), _shaded(skin, shade))
        radii = body.thick(shoulder, 0.034), body.thick(elbow, 0.028)
        if self.texture is None:
            _limb(canvas, points[shoulder], points[elbow], *radii, CLOTHES[who.top], shade)
        else:
            self._patterned(canvas, body, (points[shoulder], points[elbow]), shade, radii)

    def _trunk(self, canvas, body):
        who, points, size = self.identity, body.points, body.size
        depth = 0.062 * body.girth * abs(math.sin(body.yaw))
        outline = []
        for joint, opposite, spread in ((2, 5, 0.012), (11, 8, 0.034), (8, 11, 0.034), (5, 2, 0.012)):
            side = 1 if points[joint][0] >= points[opposite][0] else -1
            beside = body.thick(joint, spread) * abs(math.cos(body.yaw)) + depth
            outline.append(points[joint] + (side * beside, 0))
        right_shoulder, right_hip, left_hip, left_shoulder = outline
        hem, cloth = np.array((0, 0.035 * size)), CLOTHES[who.bottom_colour]
        _polygon(canvas, (right_hip - hem, left_hip - hem, left_hip + hem, right_hip + hem), cloth)
        if BOTTOMS[who.bottom] == "skirt":
            flare = 0.035 * body.girth * (1 if left_hip[0] >= right_hip[0] else -1)
            drop = 0.2 * size
            _polygon(canvas, (right_hip, left_hip, left_hip + (flare, drop), right_hip + (-flare, drop)),
                     cloth)
        neck = points[1]
        _limb(canvas, neck, neck + (points[0] - neck) * 0.45, 0.03 * size, 0.03 * size, SKIN[who.skin], 0.9)
        collar = 0.03 * size
        hips = sorted((left_hip, right_hip), key=_x)
        shoulders = sorted((left_shoulder, right_shoulder), key=_x)
        shirt = (neck - (collar, 0), neck + (collar, 0), shoulders[1], hips[1], hips[0], shoulders[0])
        if self.texture is None:
            _polygon(canvas, shirt, CLOTHES[who.top])
        else:
            self._patterned(canvas, body, shirt)
        if PATTERNS[who.pattern] == "logo" and math.cos(body.yaw) > 0.25:
            centre = (points[2] + points[5]) / 2 + (0.02 * size * math.sin(body.yaw), 0.1 * size)
            _box(canvas, centre, 0.048 * size * math.cos(body.yaw), 0.04 * size, CLOTHES[second_colour(who)])

    def _head(self, canvas, body):
        who, size, front = self.identity, body.size, math.cos(body.yaw)
        centre = (body.points[0] + body.points[1]) / 2
        _ellipse(canvas, centre, 0.056 * size, 0.074 * size, HAIR[who.hair])
        if front > -0.75:
            seen = (front + 0.75) / 1.75
            face = centre + (0.03 * size * math.sin(body.yaw), 0.02 * size)
            _ellipse(canvas, face, 0.046 * size * (0.55 + 0.45 * seen), 0.055 * size, SKIN[who.skin])

    def _locks(self, canvas, body):
        if self.identity.long_hair:
            top, neck = body.points[:2]
            _ellipse(canvas, top + (neck - top) * 0.8, 0.062 * body.size, 0.1 * body.size,
                     HAIR[self.identity.hair])

    def _backpack(self, canvas, body):
        if BAGS[self.identity.bag] == "backpack":
            chest = (body.points[2] + body.points[5]) / 2
            centre = chest + (-0.085 * body.size * math.sin(body.yaw), 0.12 * body.size)
            _box(canvas, centre, body.size * (0.05 + 0.045 * abs(math.cos(body.yaw))), 0.11 * body.size,
                 CLOTHES[self.identity.bag_colour])

    def _shoulder_bag(self, canvas, body):
        """On the left hip, its strap over the right shoulder; hidden when that side is turned away."""
        if BAGS[self.identity.bag] == "shoulder" and body.depths[8] >= -0.02:
            points, colour = body.points, CLOTHES[self.identity.bag_colour]
            outward = 1 if points[8][0] >= points[11][0] else -1
            centre = points[8] + (0.02 * body.size * outward, 0.03 * body.size)
            _limb(canvas, points[2], centre, 0.007 * body.size, 0.007 * body.size, colour, 1.0)
            _box(canvas, centre, 0.062 * body.size, 0.058 * body.size, colour)

    def _patterned(self, canvas, body, corners, shade=1.0, radii=None):
        """Fills a polygon, or with two ``radii`` a limb, with the garment's pattern, anchored at the neck."""
        height, width = self.mask.shape
        corners, margin = np.array(corners), 2 + max(radii or (0,))
        x1, y1 = np.clip((corners.min(0) - margin).astype(int), 0, (width, height))
        x2, y2 = np.clip((corners.max(0) + margin + 1).astype(int), 0, (width, height))
        if x2 <= x1 or y2 <= y1:
            return
        region = self.mask[y1:y2, x1:x2]
        region[:] = 0
        if radii:
            _capsule(region, *(corners - (x1, y1)), *radii, 255)
        else:
            _polygon(region, corners - (x1, y1), 255)
        neck_x, neck_y = np.clip(body.points[1].astype(int), 0, (width, height))
        down, across = height - neck_y, width - neck_x
        cloth = self.texture[shade < 1][y1 + down:y2 + down, x1 + across:x2 + across]
        np.copyto(canvas[y1:y2, x1:x2], cloth, where=region[:, :, None] > 0)


class _Body(NamedTuple):
    """What :meth:`Painter.draw` is given, and the girth in pixels."""

    points: np.ndarray
    depths: np.ndarray
    scales: np.ndarray
    size: float
    yaw: float
    girth: float

    def thick(self, joint, radius):
        return radius * self.girth * self.scales[joint]

    def shade(self, joint):
        return 1.0 if self.depths[joint] >= 0 else _FAR_SIDE


def second_colour(identity):
    """Index into CLOTHES of the pattern's second colour, never the first."""
    return identity.top_second + (identity.top_second >= identity.top)


def _pattern(identity, shape, period):
    """Two (2h, 2w, 3) textures, full and shaded, with the neck at (h, w); None for a plain garment."""
    name = PATTERNS[identity.pattern]
    if name not in ("stripes", "checks"):
        return None
    height, width = shape
    rows = ((np.arange(2 * height) - height) // (period // 2)) % 2 > 0
    columns = ((np.arange(2 * width) - width) // (period // 2)) % 2 > 0
    second = rows[:, None] ^ (columns if name == "checks" else np.zeros_like(columns))
    colours = np.array((CLOTHES[identity.top], CLOTHES[second_colour(identity)]), np.uint8)
    texture = colours[second.astype(int)]
    return texture, (texture * _FAR_SIDE).astype(np.uint8)


def _x(point):
    return point[0]


def _fixed(points):
    return np.round(np.asarray(points) * (1 << _SHIFT)).astype(np.int32)


def _shaded(colour, shade):
    return tuple(value * shade for value in colour)


def _polygon(canvas, points, colour):
    cv2.fillPoly(canvas, [_fixed(points)], colour, shift=_SHIFT)


def _box(canvas, centre, half_width, half_height, colour):
    x, y = centre
    _polygon(canvas, ((x - half_width, y - half_height), (x + half_width, y - half_height),
                      (x + half_width, y + half_height), (x - half_width, y + half_height)), colour)


def _disc(canvas, centre, radius, colour):
    one = 1 << _SHIFT
    x, y = (round(float(value) * one) for value in centre)
    cv2.circle(canvas, (x, y), int(radius * one), colour, -1, shift=_SHIFT)


def _ellipse(canvas, centre, half_width, half_height, colour):
    x, y = _fixed(centre).tolist()
    axes = int(half_width * (1 << _SHIFT)), int(half_height * (1 << _SHIFT))
    cv2.ellipse(canvas, (x, y), axes, 0, 0, 360, colour, -1, shift=_SHIFT)


def _capsule(canvas, start, end, radius_start, radius_end, colour):
    """A limb: two discs and the band between them."""
    (x1, y1), (x2, y2) = start.tolist(), end.tolist()
    length = math.hypot(x2 - x1, y2 - y1) or 1.0
    x, y = (y1 - y2) / length, (x2 - x1) / length  # across the limb
    corners = [(x1 + x * radius, y1 + y * radius) for radius in (radius_start, -radius_start)]
    corners += [(x2 - x * radius, y2 - y * radius) for radius in (radius_end, -radius_end)]
    _polygon(canvas, corners, colour)
    _disc(canvas, (x1, y1), radius_start, colour)
    _disc(canvas, (x2, y2), radius_end, colour)


def _limb(canvas, start, end, radius_start, radius_end, colour, shade):
    """A capsule with a darker rim, so that an arm stands out from the torso behind it."""
    _capsule(canvas, start, end, radius_start + 1, radius_end + 1, _shaded(colour, shade * 0.72))
    _capsule(canvas, start, end, radius_start, radius_end, _shaded(colour, shade))
