"""Tracklet lists: what a data set is to everything after data_prep/.

A list is a CSV file with the header ``tracklet,pid,camid,query,frames``, one row a tracklet, sorted by tracklet:

=========  ============================================================================================
tracklet   name, unique in the list, e.g. ``cam1/person001``
pid        identity: an integer as published (MARS: -1 junk, 0 distractor)
camid      camera, counted from 0
query      1 if the tracklet is a query of its data set's protocol, else 0
frames     paths of the images in time order, relative to the data set's root, joined by ``;``
=========  ============================================================================================

Joints lie beside a list ``NAME.csv`` in ``NAME_joints.npy``: float32 (F, 14, 3), one row a frame in the list's order,
each joint ``x, y, confidence`` in pixels of the published image, joints in the paper's order J1..J14.
"""

import csv
import os
from typing import NamedTuple

import numpy as np

from stal.errors import InputError
from stal.files import replacing

COLUMNS = ("tracklet", "pid", "camid", "query", "frames")
JOINTS = 14


class Tracklet(NamedTuple):
    """One row of a list."""

    name: str
    pid: int
    camid: int
    query: bool
    frames: tuple  # of str, paths relative to the root


def write_list(path, tracklets):
    """Writes tracklets (sorted by name here) as a list; the same tracklets always give the same bytes."""
    tracklets = sorted(tracklets, key=lambda tracklet: tracklet.name)
    with replacing(path) as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(COLUMNS)
        for tracklet in tracklets:
            for text in (tracklet.name, *tracklet.frames):
                if any(character in text for character in ";,\"\n"):
                    raise InputError(f"{text!r} holds one of ; , \" or a line break: rename it, the list {path} "
                                     "separates by these")
            writer.writerow([tracklet.name, tracklet.pid, tracklet.camid, int(tracklet.query),
                             ";".join(tracklet.frames)])


def read_list(path):
    """Reads a list.

    Returns:
        a list of :class:`Tracklet`, in the file's order.
    Raises:
        InputError: the file is missing, has another header, a bad row, a repeated tracklet, a tracklet without
            frames, or no tracklet at all.
    """
    tracklets, lines = [], {}
    try:
        with open(path, newline="", encoding="utf-8") as stream:
            reader = csv.reader(stream)
            if tuple(next(reader, ())) != COLUMNS:
                raise InputError(f"{path} is no tracklet list: its first line must be {','.join(COLUMNS)}")
            for row in reader:
                where = f"{path} line {reader.line_num}"
                tracklet = _parse(row, where)
                if tracklet.name in lines:
                    raise InputError(f"{where} repeats tracklet {tracklet.name} of line {lines[tracklet.name]}: "
                                     "remove one of them")
                lines[tracklet.name] = reader.line_num
                tracklets.append(tracklet)
    except FileNotFoundError:
        raise InputError(f"there is no tracklet list {path}: write it with a program of data_prep/") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} is no tracklet list: {error}") from None
    if not tracklets:
        raise InputError(f"{path} lists no tracklet: write it anew with a program of data_prep/")
    return tracklets


def _parse(row, where):
    if len(row) != len(COLUMNS):
        raise InputError(f"{where} has {len(row)} fields, not the {len(COLUMNS)} of {','.join(COLUMNS)}")
    name, pid, camid, query, frames = row
    try:
        pid, camid = int(pid), int(camid)
    except ValueError:
        raise InputError(f"{where}: pid {pid!r} and camid {camid!r} must be integers") from None
    if camid < 0 or query not in ("0", "1"):
        raise InputError(f"{where}: camid counts from 0 and query is 0 or 1, not {camid} and {query!r}")
    frames = tuple(frame for frame in frames.split(";") if frame)
    if not frames:
        raise InputError(f"{where}: tracklet {name} has no frames; remove the row")
    return Tracklet(name, pid, camid, query == "1", frames)


def joints_path(list_path):
    """The joints file of a list: ``NAME.csv`` -> ``NAME_joints.npy``."""
    return os.path.splitext(os.fspath(list_path))[0] + "_joints.npy"


def write_joints(list_path, joints):
    """Writes joints (F, 14, 3) float32 beside a list, atomically."""
    with replacing(joints_path(list_path), "wb") as stream:
        np.save(stream, np.ascontiguousarray(joints, np.float32))


def read_joints(path, tracklets):
    """Reads a joints file for a list, memory-mapped.

    Returns:
        (F, 14, 3) float32, F the number of frames of all ``tracklets``.
    Raises:
        InputError: no such file, no .npy file, another shape, cut short, or a number that is not finite.
    """
    wanted = (sum(len(tracklet.frames) for tracklet in tracklets), JOINTS, 3)
    try:
        joints = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise InputError(f"there is no joints file {path}: write it with data_prep/") from None
    except (ValueError, EOFError) as error:
        raise InputError(f"{path} is no complete .npy file ({error}): write it anew with data_prep/") from None
    if joints.shape != wanted or joints.dtype != np.float32:
        raise InputError(f"{path} holds {joints.dtype} {joints.shape}, but its list needs float32 {wanted}: "
                         "write both anew with data_prep/")
    if not np.isfinite(joints).all():
        raise InputError(f"{path} holds a joint that is not finite: write it anew with data_prep/")
    return joints
