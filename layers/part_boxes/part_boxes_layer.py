"""PartBoxes: a box around the joints of each part (Eq. 7).

F frames, J joints (14 in the paper), a top for each part.
    bottom  joints (F, J, 3) = [x, y, confidence], input pixels
    tops    boxes (F, 5) = [frame, x1, y1, x2, y2], input pixels: least and greatest x and y of the joints

Then, in this order: each side grows by grow times its length at both ends; a side shorter than min_side is
widened about its centre; x is clipped to [0, clip_width - 1] and y to [0, clip_height - 1], 0 being no
clipping. The gradient goes to the joints that attain the least and the greatest, on ties the first in the
part's list; none goes through a coordinate that was clipped, nor to the confidence.
"""

import numpy as np

from layers.twin import Twin, check_axes, read_object, real, require, uint32, uint32s

NAME = "PartBoxes"
# Section III-B: head, torso, right arm, left arm, right leg, left leg; joints numbered from 1.
PAPER_PARTS = ((1, 2, 3, 6), (2, 3, 6, 9, 12), (3, 4, 5), (6, 7, 8), (12, 13, 14), (9, 10, 11))


def part_list(value):
    """The kind of the repeated Part: a list of {"joint": [...]}, read as tuples; empty: the paper's parts."""
    if type(value) is not list or not all(type(item) is dict for item in value):
        raise ValueError('a list such as [{"joint": [1, 2, 3, 6]}]')
    table = {"joint": (uint32s, ())}
    return tuple(read_object(f"{NAME}: part", item, table)["joint"] for item in value) or PAPER_PARTS


OPTIONS = {"part": (part_list, PAPER_PARTS), "grow": (real(least=0), 0.0), "min_side": (real(least=0), 0.0),
           "clip_width": (uint32(), 0), "clip_height": (uint32(), 0)}


def shapes(bottom_shapes, part=PAPER_PARTS, grow=0, min_side=0, clip_width=0, clip_height=0):
    """Shapes of the boxes. Raises InputError for joints other than (F, J, 3), parts of other joints."""
    frames, joints, _ = check_axes(NAME, "joints", bottom_shapes[0], "F, J, 3")
    for r, numbers in enumerate(part, 1):
        require(numbers and all(1 <= number <= joints for number in numbers),
                f"{NAME}: part {r} must list joints from 1 to {joints}, not {list(numbers)}")
    return [(frames, 5)] * len(part)


def _side(least, greatest, grow, min_side, clip):
    """A side's two ends, and the derivatives of each by (least, greatest)."""
    length = greatest - least
    ends = [least - grow * length, greatest + grow * length]
    slopes = [(1 + grow, -grow), (-grow, 1 + grow)]
    if ends[1] - ends[0] < min_side:
        centre = (ends[0] + ends[1]) / 2
        ends = [centre - min_side / 2, centre + min_side / 2]
        slopes = [(0.5, 0.5), (0.5, 0.5)]
    if clip:
        slopes = [slope if 0 <= end <= clip - 1 else (0, 0) for end, slope in zip(ends, slopes)]
        ends = [min(max(end, 0), clip - 1) for end in ends]
    return ends, slopes


def _sides(joints, part, grow, min_side, clips):
    """Yields every side of every box: part, frame, axis (x: 0), ends, their slopes, two joints (from 0)."""
    for n, joint in enumerate(joints):
        require(np.isfinite(joint[:, :2]).all(), f"{NAME}: frame {n} has a joint that is not finite, "
                                                 f"its joints are {joint[:, :2].tolist()}")
        for r, numbers in enumerate(part):
            chosen = np.array(numbers) - 1
            for axis, clip in enumerate(clips):
                values = joint[chosen, axis]
                least, greatest = values.argmin(), values.argmax()
                ends, slopes = _side(values[least], values[greatest], grow, min_side, clip)
                yield r, n, axis, ends, slopes, (chosen[least], chosen[greatest])


def forward(joints, part=PAPER_PARTS, grow=0, min_side=0, clip_width=0, clip_height=0):
    """Boxes, (F, 5) for each part. Raises InputError for an x or y that is not finite."""
    boxes = np.zeros((len(part), len(joints), 5), joints.dtype)
    boxes[:, :, 0] = range(len(joints))
    for r, n, axis, ends, _, _ in _sides(joints, part, grow, min_side, (clip_width, clip_height)):
        boxes[r, n, [1 + axis, 3 + axis]] = ends
    return list(boxes)


def backward(diffs, joints, part=PAPER_PARTS, grow=0, min_side=0, clip_width=0, clip_height=0):
    """Gradient of the joints."""
    gradient = np.zeros_like(joints)
    for r, n, axis, _, slopes, attaining in _sides(joints, part, grow, min_side, (clip_width, clip_height)):
        for dend, slope in zip(diffs[r][n, [1 + axis, 3 + axis]], slopes):
            for joint, factor in zip(attaining, slope):
                gradient[n, joint, axis] += factor * dend
    return [gradient]


class PartBoxes(Twin):
    OPTIONS = OPTIONS
    BOTTOMS = ("joints",)
    shapes = staticmethod(shapes)
    compute = staticmethod(forward)
    differentiate = staticmethod(backward)

    def top_names(self):
        return [f"boxes {r}" for r in range(1, 1 + len(self.options["part"]))]
