"""Feature directories: what tools/extract.py writes and everything after it reads.

N tracklets in the order of ``tracklets.csv``, R parts, C channels (the global and the part width may differ):

===================  ======================================================================================
tracklets.csv        ``tracklet,pid,camid,frames,query``: name, identity, camera (0-based), number of frames,
                     1 for a query
global.npy           (N, C) float32, g: mean of the global feature over the frames
parts.npy            (N, R, C) float32, Eq. 9: mean weighted by the attention scores
parts_mean.npy       (N, R, C) float32, plain mean (temporal attention switched off)
attention.npy        (N, R) float32 >= 0, a-bar: mean over the frames of the raw scores
meta.json            the keys of META and whatever else the writer was given
===================  ======================================================================================

What a net has decides R and C; arrays of a branch that it lacks are there with an axis of 0, and nothing to read:

=====================  ===================  ================================================================
net                    sizes                arrays
=====================  ===================  ================================================================
all branches           R = 6                as above
global branch alone    R = 0, part width 0  parts.npy, parts_mean.npy (N, 0, 0), attention.npy (N, 0)
local branch alone     global width 0       global.npy (N, 0)
a quality score (QAN)  R = 1                parts.npy: the frames' features weighted by their scores
=====================  ===================  ================================================================

By option the same per frame, F frames in all: ``frames/global.npy`` (F, C), ``frames/parts.npy`` (F, R, C),
``frames/attention.npy`` (F, R), and ``frames/offsets.npy`` (N + 1,) int64: tracklet n's frames are rows
offsets[n] to offsets[n + 1].

While it is being written the directory is called ``DIR.part`` and holds ``progress`` as well: one CRC-32 a
finished tracklet, so that a killed run continues behind the last tracklet whose bytes are all there.
"""

import contextlib
import csv
import errno
import fcntl
import io
import json
import os
import shutil
import zlib
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from stal.errors import InputError
from stal.files import replacing, write_json

COLUMNS = ("tracklet", "pid", "camid", "frames", "query")
META = ("net", "weights_sha256", "list_sha256", "commit", "attention_norm", "feature_norm")
NORMS = ("L1", "L2")  # of the scores in Eq. 8
FEATURE_NORMS = ("UNNORMALIZED", "L2_UNIT")
_ARRAYS = ("global.npy", "parts.npy", "parts_mean.npy", "attention.npy")
_FRAME_ARRAYS = ("frames/global.npy", "frames/parts.npy", "frames/attention.npy")
_OFFSETS = "frames/offsets.npy"
_CONTENT = (*_ARRAYS, "tracklets.csv", "meta.json", "frames")
_AGAIN = "run tools/extract.py again"
_BLOCK_BYTES = 1 << 24  # read at a time when values are checked


@dataclass(frozen=True)
class Features:
    """A feature directory, its arrays memory-mapped and read-only."""

    directory: str
    names: tuple             # of str
    pids: np.ndarray         # (N,) int64
    camids: np.ndarray       # (N,) int64, from 0
    lengths: np.ndarray      # (N,) int64, frames
    query: np.ndarray        # (N,) bool
    global_mean: np.ndarray  # (N, C) float32
    parts: np.ndarray        # (N, R, C) float32
    parts_mean: np.ndarray   # (N, R, C) float32
    attention: np.ndarray    # (N, R) float32
    meta: dict


class Frames(NamedTuple):
    """The per-frame arrays of a feature directory, memory-mapped and read-only."""

    global_: np.ndarray    # (F, C) float32
    parts: np.ndarray      # (F, R, C) float32
    attention: np.ndarray  # (F, R) float32, raw scores
    offsets: np.ndarray    # (N + 1,) int64


def read_features(directory):
    """Reads a feature directory and checks all of it.

    Returns:
        :class:`Features`.
    Raises:
        InputError: a file is missing, cut short, disagrees with ``tracklets.csv`` or with another file, or
            holds a NaN, an infinity or a negative score.
    """
    directory = os.fspath(directory).rstrip("/")
    if not os.path.isdir(directory):
        if os.path.isdir(directory + ".part"):
            raise InputError(f"the extraction of {directory} has not finished ({directory}.part): {_AGAIN}, "
                             "it continues where it stopped")
        raise InputError(f"there is no feature directory {directory}: write it with tools/extract.py")
    rows = _read_table(os.path.join(directory, "tracklets.csv"))
    names = tuple(row[0] for row in rows)
    pids, camids, lengths, query = np.array([row[1:] for row in rows], np.int64).T
    meta = _read_meta(os.path.join(directory, "meta.json"))
    arrays = {name: _map(directory, name, len(rows)) for name in _ARRAYS}
    _check_shapes(directory, arrays)
    for name, array in arrays.items():
        _check_values(directory, name, array, lambda row: names[row])
    return Features(directory, names, pids, camids, lengths, query.astype(bool), *arrays.values(), meta)


def read_frames(features):
    """Reads the per-frame arrays beside :class:`Features`, if tools/extract.py was told to keep them.

    Returns:
        :class:`Frames`.
    Raises:
        InputError: as :func:`read_features`, or the directory has no per-frame arrays.
    """
    directory, count = features.directory, int(features.lengths.sum())
    if not os.path.isdir(os.path.join(directory, "frames")):
        raise InputError(f"{directory} holds no features of single frames: run tools/extract.py with "
                         "--frames")
    offsets = _map(directory, _OFFSETS, len(features.names) + 1, np.int64)
    if not np.array_equal(offsets, _offsets(features.lengths)):
        raise InputError(f"{directory}/{_OFFSETS} disagrees with the frames in tracklets.csv: {_AGAIN}")
    arrays = {name: _map(directory, name, count) for name in _FRAME_ARRAYS}
    of_tracklets = (features.global_mean, features.parts, features.attention)
    for name, means in zip(_FRAME_ARRAYS, of_tracklets):
        if arrays[name].shape[1:] != means.shape[1:]:
            raise InputError(f"{directory}/{name} holds {arrays[name].shape}, but {os.path.basename(name)} "
                             f"holds {means.shape}: {_AGAIN}")
        _check_values(directory, name, arrays[name],
                      lambda row: features.names[np.searchsorted(offsets, row, side="right") - 1])
    return Frames(*arrays.values(), offsets)


class FeatureWriter:
    """Writes a feature directory one tracklet at a time; a killed run loses no finished tracklet.

    ``DIR.part`` is renamed to ``DIR`` by :meth:`close` once every tracklet is there. A writer that finds a
    ``DIR.part`` (or a complete ``DIR``) of the same tracklets, sizes and ``meta`` continues it; of others, it
    starts over, and a complete ``DIR`` stays in place until the new one is. Memory does not grow with N: the
    arrays are memory-mapped.

    Use it as ``with FeatureWriter(...) as writer: for n in range(writer.done(), N): writer.add(n, ...)``.
    """

    def __init__(self, directory, tracklets, *, parts, global_width, part_width, meta, frames=False):
        """Opens or creates ``DIR.part``.

        Args:
            directory: where the features go.
            tracklets: list of :class:`stal.tracklets.Tracklet`; row n belongs to ``tracklets[n]``.
            parts, global_width, part_width: R and the two C.
            meta: dict for ``meta.json``, with at least the keys of ``META``.
            frames: keep the features of single frames as well.
        Raises:
            InputError: ``directory`` holds other files, another program is writing it, or the disk is full.
        """
        self._directory = os.fspath(directory).rstrip("/")
        self._part = self._directory + ".part"
        self._names = [tracklet.name for tracklet in tracklets]
        self._offsets = _offsets([len(tracklet.frames) for tracklet in tracklets])
        meta = json.loads(json.dumps(meta))
        _check_meta(meta, "the writer's meta")
        rows, total = len(tracklets), int(self._offsets[-1])
        shapes = [(global_width,), (parts, part_width), (parts, part_width), (parts,)]
        self._shapes = {name: (rows, *shape) for name, shape in zip(_ARRAYS, shapes)}
        if frames:
            kept = (shapes[0], shapes[1], shapes[3])
            self._shapes.update({name: (total, *shape) for name, shape in zip(_FRAME_ARRAYS, kept)})
        self._frames = frames
        table = _format_table(tracklets)

        self._progress, self._arrays = None, {}
        self._complete = self._check_existing(table, meta)
        if self._complete:
            self._done = rows
            return
        os.makedirs(self._part, exist_ok=True)
        self._lock()
        try:
            if not self._reopen(table, meta):
                self._create(table, meta)
            self._done = self._verify()
        except BaseException:
            self._release()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()

    def done(self):
        """Number of tracklets already finished; the next to add is the one of this index."""
        return self._done

    def add(self, index, global_mean, parts, parts_mean, attention_mean, frames=None):
        """Adds the tracklet ``index``, which must be :meth:`done`.

        Args:
            global_mean: (C,).
            parts, parts_mean: (R, C): Eq. 9 and the plain mean.
            attention_mean: (R,), >= 0.
            frames: (global (T, C), parts (T, R, C), attention (T, R)) of the tracklet's T frames, for a
                writer made with ``frames=True``.
        Raises:
            InputError: a value is not finite or a score is negative.
            ValueError: another index or shape than announced.
        """
        if index != self._done or index >= len(self._names):
            raise ValueError(f"tracklet {index} out of turn: {self._done} of {len(self._names)} are done")
        if (frames is not None) != self._frames:
            raise ValueError("features of single frames go with a writer made for them, and only with it")
        values = dict(zip(_ARRAYS, (global_mean, parts, parts_mean, attention_mean)))
        values.update(zip(_FRAME_ARRAYS, frames or ()))
        for name, value in values.items():
            value = values[name] = np.asarray(value, np.float32)
            if value.shape != self._row(name, index).shape:
                raise ValueError(f"{name}: {value.shape} given, {self._row(name, index).shape} announced")
            if not np.isfinite(value).all() or name.endswith("attention.npy") and (value < 0).any():
                raise InputError("the net gives NaN, infinite or negative values for tracklet "
                                 f"{self._names[index]} ({name}): check the weights and the joints")
        for name, value in values.items():
            self._row(name, index)[...] = value
        os.write(self._progress, self._checksum(index))
        self._done += 1

    def close(self):
        """Puts a finished directory in place; leaves an unfinished one as ``DIR.part`` for the next run."""
        if self._complete or self._progress is None:
            return
        for array in self._arrays.values():
            array.flush()
        self._arrays = {}
        if self._done == len(self._names):
            old = f"{self._directory}.part.old"  # moved away: a directory cannot be renamed over a full one
            shutil.rmtree(old, ignore_errors=True)
            with contextlib.suppress(FileNotFoundError):
                os.rename(self._directory, old)
            os.rename(self._part, self._directory)
            os.remove(os.path.join(self._directory, "progress"))
            shutil.rmtree(old, ignore_errors=True)
            self._complete = True
        self._release()

    def _row(self, name, index):
        if name in _FRAME_ARRAYS:
            return self._arrays[name][self._offsets[index]:self._offsets[index + 1]]
        return self._arrays[name][index]

    def _checksum(self, index):
        crc = 0
        for name in self._shapes:
            crc = zlib.crc32(np.ascontiguousarray(self._row(name, index)), crc)
        return crc.to_bytes(4, "little")

    def _check_existing(self, table, meta):
        """Whether the directory is there already, complete and of this very run."""
        if not os.path.lexists(self._directory):
            return False
        if not os.path.isdir(self._directory):
            raise InputError(f"{self._directory} is a file: name a directory for the features")
        foreign = sorted(set(os.listdir(self._directory)) - {*_CONTENT, "progress"})
        if foreign:
            raise InputError(f"{self._directory} holds {foreign[0]}, which is no part of a feature "
                             "directory: move it away or name another directory")
        if not self._same(self._directory, table, meta):
            return False
        try:
            features = read_features(self._directory)
            shapes = [features.global_mean.shape, features.parts.shape, features.parts_mean.shape,
                      features.attention.shape]
            if self._frames:
                shapes += [array.shape for array in read_frames(features)[:3]]
        except InputError:
            return False
        return shapes == list(self._shapes.values())

    def _same(self, directory, table, meta):
        try:
            with open(os.path.join(directory, "tracklets.csv"), encoding="utf-8", newline="") as stream:
                if stream.read() != table:
                    return False
            return _read_meta(os.path.join(directory, "meta.json")) == meta
        except (OSError, ValueError):
            return False

    def _lock(self):
        path = os.path.join(self._part, "progress")
        self._progress = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        try:
            fcntl.flock(self._progress, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._release()
            raise InputError(f"another program is writing {self._part}: wait for it, or name another "
                             "directory") from None
        except OSError:
            pass  # a file system without locks

    def _release(self):
        if self._progress is not None:
            os.close(self._progress)
            self._progress = None

    def _reopen(self, table, meta):
        """Maps the arrays of an earlier run; False if they are of another run or damaged."""
        if not self._same(self._part, table, meta):
            return False
        if self._frames != os.path.exists(os.path.join(self._part, _OFFSETS)):
            return False
        for name, shape in self._shapes.items():
            try:
                array = np.load(os.path.join(self._part, name), mmap_mode="r+", allow_pickle=False)
            except (OSError, ValueError, EOFError):
                return False
            if array.shape != shape or array.dtype != np.float32:
                return False
            self._arrays[name] = array
        return True

    def _create(self, table, meta):
        """Makes everything anew; ``meta.json`` comes last, so that a kill before it means starting over."""
        self._arrays = {}
        for name in reversed(_CONTENT):
            path = os.path.join(self._part, name)
            if os.path.isdir(path):
                shutil.rmtree(path)
            elif os.path.lexists(path):
                os.remove(path)
        os.ftruncate(self._progress, 0)
        if self._frames:
            os.mkdir(os.path.join(self._part, "frames"))
            np.save(os.path.join(self._part, _OFFSETS), self._offsets)
        for name, shape in self._shapes.items():
            path = os.path.join(self._part, name)
            self._arrays[name] = np.lib.format.open_memmap(path, "w+", np.float32, shape)
            _reserve(path)
        with replacing(os.path.join(self._part, "tracklets.csv")) as stream:
            stream.write(table)
        write_json(os.path.join(self._part, "meta.json"), meta)

    def _verify(self):
        """Counts the leading tracklets whose bytes agree with ``progress`` and cuts ``progress`` there."""
        with open(os.path.join(self._part, "progress"), "rb") as stream:
            recorded = stream.read(4 * len(self._names))
        done = 0
        while done < len(recorded) // 4 and recorded[4 * done:4 * done + 4] == self._checksum(done):
            done += 1
        os.ftruncate(self._progress, 4 * done)
        return done


def _offsets(lengths):
    return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])


def _reserve(path):
    """Takes the disk space now: running out of it later would end a memory-mapped write with a signal."""
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.posix_fallocate(descriptor, 0, os.fstat(descriptor).st_size)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise InputError(f"there is no room for {path} ({os.fstat(descriptor).st_size >> 20} MiB): free "
                             "some, or name a directory on another disk") from None
        # file systems that cannot reserve: go on without
    finally:
        os.close(descriptor)


def _format_table(tracklets):
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows([tracklet.name, tracklet.pid, tracklet.camid, len(tracklet.frames), int(tracklet.query)]
                     for tracklet in tracklets)
    return stream.getvalue()


def _read_table(path):
    rows, seen = [], set()
    try:
        with open(path, newline="", encoding="utf-8") as stream:
            reader = csv.reader(stream)
            if tuple(next(reader, ())) != COLUMNS:
                raise InputError(f"{path} is no table of tracklets: its first line must be "
                                 f"{','.join(COLUMNS)}; {_AGAIN}")
            for row in reader:
                try:
                    name, (pid, camid, frames, query) = row[0], map(int, row[1:])
                except (ValueError, IndexError):
                    raise InputError(f"{path} line {reader.line_num} is no row of {','.join(COLUMNS)}: "
                                     f"{_AGAIN}") from None
                if name in seen or camid < 0 or frames < 1 or query not in (0, 1):
                    raise InputError(f"{path} line {reader.line_num} repeats a tracklet, or has a negative "
                                     f"camid, no frames or a query other than 0 and 1: {_AGAIN}")
                seen.add(name)
                rows.append((name, pid, camid, frames, query))
    except FileNotFoundError:
        raise InputError(f"{path} is missing: {_AGAIN}") from None
    except (UnicodeDecodeError, csv.Error, OSError) as error:
        raise InputError(f"{path} is no table of tracklets ({error}): {_AGAIN}") from None
    if not rows:
        raise InputError(f"{path} lists no tracklet: {_AGAIN}")
    return rows


def _read_meta(path):
    try:
        with open(path, encoding="utf-8") as stream:
            meta = json.load(stream)
    except FileNotFoundError:
        raise InputError(f"{path} is missing: {_AGAIN}") from None
    except ValueError as error:
        raise InputError(f"{path} is no complete JSON file ({error}): {_AGAIN}") from None
    _check_meta(meta, path)
    return meta


def _check_meta(meta, where):
    missing = [key for key in META if not isinstance(meta, dict) or key not in meta]
    if missing:
        raise InputError(f"{where} lacks {', '.join(missing)}: {_AGAIN}")
    for key, allowed in (("attention_norm", NORMS), ("feature_norm", FEATURE_NORMS)):
        if meta[key] not in allowed:
            raise InputError(f"{where}: {key} is {meta[key]!r}, not one of {', '.join(allowed)}; {_AGAIN}")


def _map(directory, name, rows, dtype=np.float32):
    path = os.path.join(directory, name)
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise InputError(f"{path} is missing: {_AGAIN}") from None
    except (ValueError, EOFError, OSError) as error:
        raise InputError(f"{path} is cut short or no .npy file ({error}): {_AGAIN}") from None
    if array.dtype != dtype or array.ndim == 0 or len(array) != rows:
        raise InputError(f"{path} holds {array.dtype} {array.shape}, but tracklets.csv needs "
                         f"{np.dtype(dtype)} with {rows} rows: {_AGAIN}")
    return array


def _check_shapes(directory, arrays):
    parts = arrays["parts.npy"].shape
    fits = {"global.npy": arrays["global.npy"].ndim == 2, "parts.npy": len(parts) == 3,
            "parts_mean.npy": arrays["parts_mean.npy"].shape == parts,
            "attention.npy": arrays["attention.npy"].shape == parts[:2]}
    for name in _ARRAYS:
        if not fits[name]:
            raise InputError(f"{directory}/{name} holds {arrays[name].shape}, which does not go with "
                             f"parts.npy {parts}: {_AGAIN}")


def _check_values(directory, name, array, tracklet_of):
    """Reads the whole array once, in blocks; ``tracklet_of`` names the tracklet of a row for the error."""
    step = max(1, _BLOCK_BYTES // max(1, array[:1].nbytes))
    scores = name.endswith("attention.npy")
    for start in range(0, len(array), step):
        block = array[start:start + step].reshape(len(array[start:start + step]), -1)
        good = np.isfinite(block) & (block >= 0) if scores else np.isfinite(block)
        if not good.all():
            row = start + int(np.flatnonzero(~good.all(axis=1))[0])
            raise InputError(f"{directory}/{name} holds a value that is NaN, infinite or a negative score "
                             f"for tracklet {tracklet_of(row)}: check the weights, then {_AGAIN}")
