"""Eq. 7's six part boxes and the joints behind them (Fig. 3, b to d)."""

import cv2
import numpy as np

from layers.part_boxes.part_boxes_layer import PAPER_PARTS, forward
from stal.errors import InputError
from stal.pictures import canvas

PARTS = ("head", "torso", "right arm", "left arm", "right leg", "left leg")  # section III-B, P_1 to P_6
COLOURS = ((60, 60, 220), (200, 60, 200), (0, 150, 255), (60, 190, 60), (220, 130, 0), (170, 170, 0))
_HEIGHT = 2 * canvas.HEIGHT  # a limb is few pixels wide


def part_boxes(joints):
    """Boxes (F, 6, 4) = x1, y1, x2, y2 of joints (F, 14, 3), in their pixels: least and greatest x and y (Eq. 7)."""
    return np.stack(forward(np.asarray(joints, np.float64), PAPER_PARTS), axis=1)[:, :, 1:]


def draw_boxes(image, boxes, before, colours, thickness=2):
    """Draws boxes (R, 4), in pixels of image ``before``, into the enlarged image."""
    corners = np.rint(canvas.moved(boxes.reshape(-1, 2, 2), before, image)).astype(int).tolist()
    for (start, end), colour in zip(corners, colours):
        cv2.rectangle(image, start, end, colour, thickness)


def boxes_picture(source, n, count=8):
    """Boxes and joints on frames of a tracklet.

    Args:
        source: :class:`stal.pictures.canvas.Source`.
        n: row of the tracklet.
        count: frames, evenly spread over it.
    Raises:
        InputError: the source has no joints, or an image is missing or damaged.
    """
    if source.joints is None:
        raise InputError(f"there are no joints beside the list of {source.features.directory}: prepare the list with "
                         "its joints, boxes are drawn around them")
    cells = []
    for t in canvas.spread(len(source.tracklets[n].frames), count):
        joints = source.joints[source.starts[n] + t]
        before = canvas.read_frame(source, n, t)
        image = canvas.enlarge(before, _HEIGHT)
        draw_boxes(image, part_boxes(joints[None])[0], before, COLOURS)
        for x, y in np.rint(canvas.moved(joints[:, :2], before, image)).astype(int).tolist():
            cv2.circle(image, (x, y), 3, canvas.BLACK, -1, cv2.LINE_AA)
            cv2.circle(image, (x, y), 2, canvas.WHITE, -1, cv2.LINE_AA)
        cells.append(canvas.column([image, canvas.caption([f"frame {t + 1}"])]))
    return canvas.page([canvas.title(f"Part boxes (Eq. 7) around the 14 joints: {source.tracklets[n].name}"),
                        _legend(), canvas.row(cells)])


def _legend():
    entries = []
    for name, colour in zip(PARTS, COLOURS):
        entry = canvas.caption([name], 0)
        entries.append(canvas.row([canvas.blank(14, 14, colour), entry], 4))
    return canvas.row(entries, 14)
