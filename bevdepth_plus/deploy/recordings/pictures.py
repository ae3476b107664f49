"""Camera images as recordings store them: encoded, as they came wherever that is possible."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bevdepth_plus.errors import DataError

ImageSource = str | os.PathLike | bytes | bytearray | memoryview | np.ndarray
FORMATS = {"JPEG": "jpeg", "PNG": "png", "WEBP": "webp"}  # Pillow's name -> the viewers'
JPEG_QUALITY = 90  # of pixels that come without an encoding


@dataclass(frozen=True)
class Picture:
    """An encoded image.

    Attributes:
        data: the bytes of an image file.
        format: ``jpeg``, ``png`` or ``webp``.
        width, height: pixels.
    """

    data: bytes
    format: str
    width: int
    height: int


def picture_of(
    source: ImageSource,  # path, bytes of an image file, or uint8 [H, W, 3] RGB
    camera: str,
) -> Picture:
    """The image as it is stored; bytes of a JPEG, PNG or WebP file are not changed.

    Raises:
        DataError: it is no image, or of another format; the message names the camera.
    """
    from PIL import Image, UnidentifiedImageError

    if isinstance(source, np.ndarray):
        if source.dtype != np.uint8 or source.ndim != 3 or source.shape[2] != 3:
            raise DataError(
                f"camera {camera}: an image must be uint8 [H, W, 3], got {source.dtype} "
                f"{list(source.shape)}"
            )
        buffer = io.BytesIO()
        Image.fromarray(source).save(buffer, "JPEG", quality=JPEG_QUALITY)
        return Picture(buffer.getvalue(), "jpeg", source.shape[1], source.shape[0])
    try:
        data = Path(source).read_bytes() if isinstance(source, str | os.PathLike) else bytes(source)
        with Image.open(io.BytesIO(data)) as image:  # reads the header alone
            form, (width, height) = image.format, image.size
    except (OSError, UnidentifiedImageError) as error:
        where = f" ({source})" if isinstance(source, str | os.PathLike) else ""
        raise DataError(f"camera {camera}: its image{where} cannot be read: {error}") from None
    if form not in FORMATS:
        raise DataError(
            f"camera {camera}: recordings hold JPEG, PNG or WebP images, got {form}; pass its "
            "pixels as an array instead"
        )
    return Picture(data, FORMATS[form], width, height)
