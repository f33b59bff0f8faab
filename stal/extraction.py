"""Features of tracklets of any length, and joints, from a net that sees single frames, in bounded memory."""

import hashlib
import os
import subprocess

import numpy as np
from tqdm import tqdm

from stal.errors import InputError
from stal.features import FeatureWriter
from stal.images import prepare_frame, read_image
from stal.tracklets import JOINTS, joints_path, read_joints, read_list


class Aggregate:
    """Running sums over a tracklet's frames: the mean of g, Eq. 9, the plain mean of the parts, the mean score."""

    def __init__(self, parts, global_width, part_width):
        self.count = 0
        self._global = np.zeros(global_width)
        self._weighted, self._plain = np.zeros((2, parts, part_width))
        self._scores = np.zeros(parts)

    def add(self, global_, parts, scores):
        """Adds frames: (n, C), (n, R, C), (n, R)."""
        self.count += len(global_)
        self._global += global_.sum(0, dtype=np.float64)
        self._weighted += np.einsum("nr,nrc->rc", scores, parts, dtype=np.float64)
        self._plain += parts.sum(0, dtype=np.float64)
        self._scores += scores.sum(0, dtype=np.float64)

    def result(self):
        """global (C,), parts (R, C) of Eq. 9, parts_mean (R, C), attention (R,).

        A part whose scores sum to 0 is averaged plainly, as the AttentionPooling layer does.
        """
        plain = self._plain / self.count
        scored = self._scores[:, None] > 0
        parts = np.where(scored, self._weighted / np.where(scored, self._scores[:, None], 1), plain)
        return self._global / self.count, parts, plain, self._scores / self.count


def extract(net, net_path, weights_path, list_path, root, out, joints=None, batch=32, keep_frames=False):
    """Writes the feature directory ``out`` of a tracklet list; a killed run goes on where it stopped.

    Args:
        net: a :class:`stal.caffe_net.FrameNet` of ``net_path`` and ``weights_path``.
        root: what the list's paths are relative to.
        joints: the list's joints file; None: the one beside the list. Not read for a net without the input joints.
        batch: frames a forward pass; bounds the memory.
        keep_frames: write the features of single frames as well.
    Raises:
        InputError: for each kind of wrong input, in words.
    """
    tracklets = read_list(list_path)
    joints_file = None
    if net.takes_joints:
        joints_file = joints or joints_path(list_path)
        joints = read_joints(joints_file, tracklets)
    elif joints:
        raise InputError(f"the net {net_path} takes no joints: leave out --joints {joints}")
    images = [frame for tracklet in tracklets for frame in tracklet.frames]
    starts = np.cumsum([0] + [len(tracklet.frames) for tracklet in tracklets])
    meta = {"net": os.fspath(net_path), "weights": os.fspath(weights_path), "weights_sha256": file_sha256(weights_path),
            "list": os.fspath(list_path), "list_sha256": file_sha256(list_path),
            "joints_sha256": joints_file and file_sha256(joints_file),
            "commit": commit(), **net.recipe._asdict()}
    with FeatureWriter(out, tracklets, parts=net.parts, global_width=net.global_width, part_width=net.part_width,
                       meta=meta, frames=keep_frames) as writer:
        first = writer.done()
        with tqdm(total=int(starts[-1]), initial=int(starts[first]), unit="frame", desc="extracting") as progress:
            aggregate, kept = Aggregate(net.parts, net.global_width, net.part_width), []
            n = first
            for begin in range(int(starts[first]), int(starts[-1]), batch):
                end = min(begin + batch, int(starts[-1]))
                data, moved, _ = _load(net, root, images[begin:end], joints[begin:end] if net.takes_joints else None)
                outputs = net.run(data, moved)
                position = begin
                while position < end:  # a batch may hold the end of one tracklet and the start of the next
                    stop = min(end, int(starts[n + 1]))
                    rows = [values[position - begin:stop - begin] for values in outputs]
                    aggregate.add(*rows)
                    if keep_frames:
                        kept.append(rows)
                    if stop == starts[n + 1]:
                        frames = [np.concatenate(column) for column in zip(*kept)] if keep_frames else None
                        writer.add(n, *aggregate.result(), frames=frames)
                        aggregate, kept = Aggregate(net.parts, net.global_width, net.part_width), []
                        n += 1
                    position = stop
                progress.update(end - begin)


def find_joints(net, tracklets, root, batch=32):
    """Joints of the frames of all tracklets.

    Args:
        net: a :class:`stal.caffe_net.PoseNet`.
        root: what the frames' paths are relative to.
    Returns:
        (F, 14, 3) float32: x, y in pixels of the published images, confidence.
    Raises:
        InputError: an image is missing or damaged, or the net gives NaN or infinite joints.
    """
    images = [frame for tracklet in tracklets for frame in tracklet.frames]
    joints = np.empty((len(images), JOINTS, 3), np.float32)
    for begin in tqdm(range(0, len(images), batch), unit="batch", desc="finding joints"):
        some = images[begin:begin + batch]
        data, _, sizes = _load(net, root, some)
        found = net.run(data)
        if not np.isfinite(found).all():
            wrong = some[int(np.flatnonzero(~np.isfinite(found).all((1, 2)))[0])]
            raise InputError(f"the net gives NaN or infinite joints for {wrong}: check the weights")
        for row, size in enumerate(sizes):
            joints[begin + row] = published_joints(found[row], size, net.size)
    return joints


def published_joints(joints, size, squashed):
    """Joints of a squashed frame, in pixels of the published image: the inverse of :func:`stal.images.prepare_frame`.

    Args:
        joints: (14, 3): x, y in pixels of the squashed frame, confidence.
        size, squashed: (height, width) of the published image and of the squashed frame.
    Returns:
        (14, 3) float32.
    """
    moved = np.array(joints, np.float64)
    # Pixel centres lie at halves.
    moved[:, :2] = (moved[:, :2] + 0.5) * (size[1] / squashed[1], size[0] / squashed[0]) - 0.5
    return moved.astype(np.float32)


def _load(net, root, images, joints=None):
    """What the net sees of n images: data (n, 3, H, W), joints (n, 14, 3) or None, and the images' (height, width)."""
    height, width = net.size
    data = np.empty((len(images), 3, height, width), np.float32)
    moved, sizes = None if joints is None else np.empty(joints.shape, np.float32), []
    for row, path in enumerate(images):
        image = read_image(os.path.join(root, path))
        sizes.append(image.shape[:2])
        data[row], own = prepare_frame(image, None if joints is None else joints[row], height, width, net.recipe.mean,
                                       net.recipe.scale)
        if joints is not None:
            moved[row] = own
    return data, moved, sizes


def file_sha256(path):
    """SHA-256 of a file, hexadecimal."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def commit():
    """The repository's commit, "-dirty" behind it if files differ; "unknown" outside a repository."""
    here = os.path.dirname(os.path.abspath(__file__))
    try:
        answer = subprocess.run(["git", "-C", here, "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"],
                                capture_output=True, text=True)
    except FileNotFoundError:  # no git, as in the image
        return "unknown"
    return answer.stdout.strip() or "unknown"
