"""The attention scores of a person's parts over time, in two cameras (Fig. 12)."""

import cv2
import numpy as np

from stal.errors import InputError
from stal.pictures import canvas
from stal.pictures.boxes import PARTS, draw_boxes, part_boxes

_HEIGHT = 2 * canvas.HEIGHT  # a limb is few pixels wide
_BAR, _STEP = 70, 40         # pixels: a bar's greatest length, and from part to part


def attention_picture(source, frames, pid, count=4):
    """Parts boxed in the colour of their scores, and the scores as bars, on ``count`` frames under either camera.

    The colours run from 0 (red) to the greatest score in the picture (green). Without joints there are bars alone.

    Args:
        source: :class:`stal.pictures.canvas.Source`.
        frames: :class:`stal.features.Frames` of its features.
        pid: the person; the first tracklet under each of the first two cameras is shown.
        count: frames of a tracklet, evenly spread over it.
    Raises:
        InputError: no such pid, a net without parts, or an image is missing or damaged.
    """
    features = source.features
    rows = np.flatnonzero(features.pids == pid)
    if not len(rows):
        raise InputError(f"{features.directory} holds no tracklet of pid {pid}: choose one of its tracklets.csv")
    if not frames.attention.shape[1]:
        raise InputError(f"{features.directory} comes from a net without parts and their scores: give features of a net "
                         "with both branches")
    cameras = np.unique(features.camids[rows])[:2]
    tracklets = [int(rows[features.camids[rows] == camera][0]) for camera in cameras]
    chosen = [(n, t) for n in tracklets for t in canvas.spread(int(features.lengths[n]), count)]
    scores = {(n, t): frames.attention[source.starts[n] + t] for n, t in chosen}
    top = max(float(values.max()) for values in scores.values()) or 1.0
    lines = [canvas.title(f"Attention scores of pid {pid} (Fig. 12)"), _legend(top)]
    for n in tracklets:
        lines += [canvas.caption([f"camera {features.camids[n]}: {features.names[n]}"]),
                  canvas.row([_cell(source, n, t, values, top) for (owner, t), values in scores.items() if owner == n], 20)]
    return canvas.page(lines)


def part_names(parts):
    """Names of R parts: the paper's where they are six."""
    return PARTS if parts == len(PARTS) else tuple(f"part {number + 1}" for number in range(parts))


def _cell(source, n, t, scores, top):
    """A frame, its parts boxed, beside their scores."""
    before = canvas.read_frame(source, n, t)
    image, colours = canvas.enlarge(before, _HEIGHT), [canvas.score_colour(score / top) for score in scores]
    if source.joints is not None and len(scores) == len(PARTS):
        boxes = part_boxes(source.joints[source.starts[n] + t][None])[0]
        low_first = np.argsort(scores, kind="stable")  # boxes overlap: what counts most lies on top
        draw_boxes(image, boxes[low_first], before, [colours[part] for part in low_first])
    bars = canvas.blank(max(_HEIGHT, _STEP * len(scores)), _BAR + 34)
    for part, (name, score, colour) in enumerate(zip(part_names(len(scores)), scores, colours)):
        y = _STEP * part
        canvas.write(bars, name, 0, y + 12)
        length = round(_BAR * float(score) / top)
        cv2.rectangle(bars, (0, y + 18), (_BAR, y + 30), (225, 225, 225), -1)
        cv2.rectangle(bars, (0, y + 18), (max(1, length), y + 30), colour, -1)
        canvas.write(bars, f"{score:.2f}", _BAR + 4, y + 29)
    return canvas.column([canvas.row([image, bars]), canvas.caption([f"frame {t + 1}"])])


def _legend(top):
    scale = np.concatenate([canvas.blank(12, 3, canvas.score_colour(step / 50)) for step in range(51)], axis=1)
    return canvas.row([canvas.caption(["score 0"]), scale, canvas.caption([f"{top:.2f}"])])
