"""Frames before and after pollution (section IV-E.2, Fig. 13)."""

import os

from stal.errors import InputError
from stal.images import read_image
from stal.pictures import canvas


def polluted_picture(root, polluted_root, frames):
    """Pairs of a frame and the same frame with its black box, one above the other.

    Args:
        root, polluted_root: folders of the original and the polluted set (data_prep/pollute.py).
        frames: paths relative to both; at least one.
    Raises:
        InputError: an image is missing or damaged, or the two of a pair differ in size.
    """
    pairs = []
    for frame in frames:
        original, polluted = (read_image(os.path.join(folder, frame)) for folder in (root, polluted_root))
        if original.shape != polluted.shape:
            raise InputError(f"{os.path.join(polluted_root, frame)} has another size than the frame in {root}: give the "
                             "polluted set that was made of it")
        pairs.append(canvas.column([canvas.enlarge(original), canvas.enlarge(polluted)], 6))
    names = canvas.column([canvas.caption(["original"]), canvas.caption(["polluted"])], canvas.HEIGHT - 14)
    return canvas.page([canvas.title("Frames with a random black box (Fig. 13)"), canvas.row([names, *pairs])])
