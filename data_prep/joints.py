"""Joints of frames: the joints table, read and written, and the template when there is none."""

import csv

import numpy as np

from stal.errors import InputError
from stal.files import replacing
from stal.tracklets import JOINTS

COLUMNS = ("frame", *(f"{name}{number}" for number in range(1, JOINTS + 1) for name in "xyc"))

# Ours: a person who stands upright, faces the camera and fills a pedestrian box with the usual margins.
# Fractions of the image's width and height, joints in the paper's order; her right is on the image's left.
_UPRIGHT = ((0.50, 0.06), (0.50, 0.19), (0.36, 0.22), (0.30, 0.36), (0.29, 0.48), (0.64, 0.22), (0.70, 0.36),
            (0.71, 0.48), (0.58, 0.51), (0.59, 0.71), (0.59, 0.91), (0.42, 0.51), (0.41, 0.71), (0.41, 0.91))


def upright_template(width, height):
    """The template in an image of ``width`` x ``height``: (14, 3) float32 x, y in pixels, confidence 1."""
    joints = np.ones((JOINTS, 3), np.float32)
    joints[:, :2] = np.array(_UPRIGHT) * (width, height)
    return joints


def read_joints_table(path):
    """Reads a CSV table ``frame,x1,y1,c1,...,x14,y14,c14``: paths relative to the root, pixels of the image.

    Returns:
        {frame: (14, 3) float32}.
    Raises:
        InputError: no such file, another header, a row with other than 43 fields or with something that is no
            finite number, a frame listed twice.
    """
    table = {}
    try:
        with open(path, newline="", encoding="utf-8") as stream:
            reader = csv.reader(stream)
            if tuple(next(reader, ())) != COLUMNS:
                raise InputError(f"{path} is no joints table: its first line must be "
                                 "frame,x1,y1,c1,...,x14,y14,c14")
            for row in reader:
                where = f"{path} line {reader.line_num}"
                if len(row) != len(COLUMNS):
                    raise InputError(f"{where} has {len(row)} fields, not {len(COLUMNS)}: write it anew")
                if row[0] in table:
                    raise InputError(f"{where} repeats the frame {row[0]}: remove one of them")
                try:
                    joints = np.array(row[1:], np.float32)
                except ValueError:
                    raise InputError(f"{where} holds something that is no number: write it anew") from None
                if not np.isfinite(joints).all():
                    raise InputError(f"{where} holds a number that is not finite: write it anew")
                table[row[0]] = joints.reshape(JOINTS, 3)
    except OSError as error:
        raise InputError(f"cannot read the joints table {path} ({error.strerror}): name another with "
                         "--joints, or leave the option out") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} is no joints table: {error}") from None
    return table


def write_joints_table(path, table):
    """Writes {frame: (14, 3)} as such a table, sorted by frame, in hundredths; the same joints give the same bytes."""
    with replacing(path) as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(COLUMNS)
        for frame in sorted(table):
            writer.writerow((frame, *(f"{value:.2f}" for value in np.ravel(table[frame]).tolist())))


def joints_of(frames, table, path):
    """Looks up frames, in their order.

    Returns:
        (F, 14, 3) float32.
    Raises:
        InputError: a frame has no row in the ``table`` that was read from ``path``.
    """
    for frame in frames:
        if frame not in table:
            raise InputError(f"{path} has no row for the frame {frame}: add it, or write the table anew")
    return np.stack([table[frame] for frame in frames])
