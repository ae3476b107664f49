"""Loading the cameras' images, with truncated files named instead of half decoded."""

from __future__ import annotations

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmdet3d.registry import TRANSFORMS

from bevdepth_plus.errors import DataError

# Where a complete file's end mark must lie: recorders may pad a file or append a few bytes.
TAIL_BYTES = 1024
# Start of a file -> mark of its end. Decoders return the decoded part of a cut file silently.
END_MARKS = {b"\xff\xd8": b"\xff\xd9", b"\x89PNG": b"IEND"}


def read_image(path: str) -> np.ndarray:
    """Reads one image.

    Returns:
        uint8 BGR, [H, W, 3].

    Raises:
        DataError: If the file is missing, truncated or no image.
    """
    content = read_bytes(path, "image")
    # Images are used as calibrated: a rotation stored in EXIF must not be applied.
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    image = cv2.imdecode(content, flags) if content.size else None
    if image is None:
        raise DataError(f"image {path} cannot be decoded ({content.size} bytes); fetch it again")
    return image


def read_bytes(path: str, kind: str) -> np.ndarray:
    """A JPEG's or PNG's bytes, uint8; ``kind`` is what messages call the file.

    Raises:
        DataError: If the file is missing or truncated.
    """
    try:
        content = np.fromfile(path, dtype=np.uint8)
    except (FileNotFoundError, IsADirectoryError):
        raise DataError(
            f"{kind} {path} does not exist; check data_root and data_prefix, or fetch it again"
        ) from None
    if _is_truncated(content):
        raise DataError(
            f"{kind} {path} is truncated ({content.size} bytes, no end mark); fetch it again"
        )
    return content


@TRANSFORMS.register_module()
class LoadMultiViewImages(BaseTransform):
    """Loads all images of all frames: ``img_path`` -> ``img``, a list of S * N BGR arrays.

    Cameras may differ in size; ``raw_shape`` keeps each image's height and width.
    """

    def transform(self, results: dict) -> dict:
        images = [read_image(path) for path in results["img_path"]]
        return {**results, "img": images, "raw_shape": [image.shape[:2] for image in images]}

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


def _is_truncated(content: np.ndarray) -> bool:
    head, tail = content[:8].tobytes(), content[-TAIL_BYTES:].tobytes()
    return any(head.startswith(start) and end not in tail for start, end in END_MARKS.items())
