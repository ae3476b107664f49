"""A camera's image from any source to uint8 pixels; the data pipeline decodes with it as well.

Two ways. ``exact`` decodes the whole image; with ``image_crop.augment_image`` it gives the pixels
that models are trained on, bit for bit. ``fast`` decodes a JPEG at the fraction of its size that
still covers the network's input and interpolates once: less than half the time, about one grey
level from exact.
"""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from bevdepth_plus.errors import DataError
from bevdepth_plus.rigs.image_files import decode_colour, is_jpeg, read_bytes, require_whole

DECODING = ("exact", "fast")
Source = str | os.PathLike | bytes | bytearray | memoryview | np.ndarray


def read_image(source: Source, camera: str, rgb: bool = True) -> np.ndarray:
    """The whole image, exactly.

    Args:
        source: a file's path, the bytes of an image file, or pixels: uint8 ``[H, W, 3]`` in the
            order that is asked for (handed back as they are), or grey ``[H, W]``.
        camera: its name, for errors.
        rgb: red first; False: blue first, as OpenCV.

    Returns:
        uint8 ``[H, W, 3]``.

    Raises:
        DataError: the source is missing, cut, damaged, or no image; names camera and file.
    """
    return decode(source, camera, rgb=rgb)[0]


def decode(
    source: Source,
    camera: str,
    cover: tuple[int, int] | None = None,
    rgb: bool = True,
) -> tuple[np.ndarray, tuple[int, int]]:
    """Decodes an image; in the fast way at the fraction that still covers a size.

    Args:
        source, camera, rgb: as :func:`read_image`.
        cover: width and height of the network's input: the fast way. None: the exact way.

    Returns:
        uint8 ``[H, W, 3]``, and the raw image's width and height, pixels.

    Raises:
        DataError: as :func:`read_image`.
    """
    if isinstance(source, np.ndarray):
        pixels = _pixels(source, camera)
        return pixels, (pixels.shape[1], pixels.shape[0])
    kind = f"camera {camera}: image"
    if isinstance(source, bytes | bytearray | memoryview):
        content, path = np.frombuffer(source, np.uint8), "(bytes)"
        require_whole(bytes(source), path, kind)
    else:
        path = os.fspath(source)
        content = read_bytes(path, kind)
    if cover is None or not is_jpeg(content):
        pixels = decode_colour(content, path, kind, rgb=rgb)
        return pixels, (pixels.shape[1], pixels.shape[0])
    raw_size = _size(content, path, kind)
    return decode_colour(content, path, kind, reduction(raw_size, cover), rgb), raw_size


def reduction(raw_size: tuple[int, int], cover: tuple[int, int]) -> int:
    """1, 2, 4 or 8: how much smaller an image may be and still cover the network's input.

    Args:
        raw_size: width and height of the image file.
        cover: width and height of the network's input.
    """
    fit = max(cover[0] / raw_size[0], cover[1] / raw_size[1])
    return next(factor for factor in (8, 4, 2, 1) if factor == 1 or factor * fit <= 1)


def image_size(source: str | Path, camera: str) -> tuple[int, int]:
    """Width and height of an image file, of its header alone.

    Raises:
        DataError: it cannot be read; names camera and file.
    """
    kind = f"camera {camera}: image"
    return _size(read_bytes(str(source), kind), str(source), kind)


def _size(content: np.ndarray, path: str, kind: str) -> tuple[int, int]:
    try:
        with Image.open(io.BytesIO(content.tobytes())) as image:
            return image.size
    except (OSError, UnidentifiedImageError):
        raise DataError(
            f"{kind} {path} cannot be decoded ({content.size} bytes); fetch it again"
        ) from None


def _pixels(array: np.ndarray, camera: str) -> np.ndarray:
    if array.dtype != np.uint8:
        raise DataError(
            f"camera {camera}: pixels must be uint8 (0 to 255), got {array.dtype}; convert them"
        )
    if array.ndim == 2 and array.size:
        return np.repeat(array[..., None], 3, axis=2)
    if array.ndim != 3 or array.shape[2] != 3 or not array.size:
        raise DataError(f"camera {camera}: pixels must be [H, W, 3], got {array.shape}")
    return array
