"""Reading frames, strictly: a damaged image is an error, never a half-grey picture."""

import cv2
import numpy as np

from stal.errors import InputError

# Bytes that end a complete file, and how many bytes of padding after them are tolerated.
_TRAILERS = {b"\xff\xd8": (b"\xff\xd9", "JPEG"), b"\x89PNG": (b"IEND\xaeB`\x82", "PNG")}
_PADDING = 64


def read_image(path):
    """Reads an image file.

    Returns:
        (H, W, 3) uint8, BGR.
    Raises:
        InputError: the file is missing, empty, cut short or no image.
    """
    try:
        with open(path, "rb") as stream:
            data = stream.read()
    except OSError as error:
        raise InputError(f"cannot read the image {path} ({error.strerror}): restore it or prepare the list anew") from None
    for start, (trailer, kind) in _TRAILERS.items():
        if data.startswith(start) and trailer not in data[-_PADDING - len(trailer):]:
            raise InputError(f"{path} is a {kind} file that is cut short: restore it from the data set's archive")
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
    if image is None:
        raise InputError(f"{path} is no readable image: restore it from the data set's archive")
    return image
