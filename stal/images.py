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


def prepare_frame(image, joints, height, width, mean, scale):
    """What the nets see of one frame; layers/video_triplet_data does the same in C++.

    Args:
        image: (H, W, 3) uint8, BGR.
        joints: (14, 3): x, y in pixels of ``image``, confidence; or None.
        height, width: the frame is squashed to this size (bilinear), whatever its aspect.
        mean: (B, G, R), subtracted; ``scale`` multiplies what is left.
    Returns:
        data (3, height, width) float32, and joints (14, 3) float32 in pixels of the squashed frame, or None.
    """
    squashed = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    data = ((squashed.astype(np.float32) - np.float32(mean)) * np.float32(scale)).transpose(2, 0, 1)
    if joints is None:
        return data, None
    # Pixel centres lie at halves, for the joints as for cv2.resize.
    factors = np.float32([width / image.shape[1], height / image.shape[0]])
    moved = np.array(joints, np.float32)
    moved[:, :2] = (moved[:, :2] + np.float32(0.5)) * factors - np.float32(0.5)
    return data, moved
