"""Reading images whole: what is cut, has a hole or is no image is named, never half decoded.

JPEGs are decoded by simplejpeg where it is installed (``pip install bevdepth_plus[images]``), else
by OpenCV: the same bits in more time.
"""

from __future__ import annotations

import os
import tempfile
import threading
import zlib
from typing import Any

import cv2
import numpy as np

from bevdepth_plus.errors import DataError

simplejpeg: Any
try:
    import simplejpeg  # pyright: ignore[reportMissingImports]
except ModuleNotFoundError:
    simplejpeg = None

_JPEG, _PNG = b"\xff\xd8", b"\x89PNG\r\n\x1a\n"
_JPEG_END = b"\xff\xd9"
_START_OF_SCAN = 0xDA
_MARKERS_ALONE = {0x01, *range(0xD0, 0xD8)}  # JPEG markers without a length
# How libjpeg's warnings of lost data begin.
_DAMAGE = (b"Corrupt JPEG data", b"Premature end of JPEG file")
_one_at_a_time = threading.Lock()


# Images are used as calibrated: a rotation stored in EXIF must not be applied.
_COLOUR = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
_REDUCED = {
    1: _COLOUR,
    2: cv2.IMREAD_REDUCED_COLOR_2 | cv2.IMREAD_IGNORE_ORIENTATION,
    4: cv2.IMREAD_REDUCED_COLOR_4 | cv2.IMREAD_IGNORE_ORIENTATION,
    8: cv2.IMREAD_REDUCED_COLOR_8 | cv2.IMREAD_IGNORE_ORIENTATION,
}


def read_image(path: str) -> np.ndarray:
    """Reads one image.

    Returns:
        uint8 BGR, [H, W, 3].

    Raises:
        DataError: The file is missing, truncated, damaged or no image.
    """
    return decode_colour(read_bytes(path, "image"), path, "image")


def read_bytes(path: str, kind: str) -> np.ndarray:
    """A JPEG's or PNG's bytes, uint8; ``kind`` is what messages call the file.

    Raises:
        DataError: The file is missing or truncated, or a PNG's checksums do not fit.
    """
    try:
        content = np.fromfile(path, dtype=np.uint8)
    except (FileNotFoundError, IsADirectoryError):
        raise DataError(
            f"{kind} {path} does not exist; check data_root and data_prefix, or fetch it again"
        ) from None
    require_whole(content.tobytes(), path, kind)
    return content


def require_whole(content: bytes, path: str, kind: str) -> None:
    """Refuses a JPEG or PNG that is cut, or whose checksums do not fit.

    Raises:
        DataError: it is.
    """
    problem = _problem(content)
    if problem:
        raise DataError(f"{kind} {path} {problem} ({len(content)} bytes); fetch it again")


def is_jpeg(content: np.ndarray) -> bool:
    """Whether a file's bytes begin as a JPEG's do."""
    return content[:2].tobytes() == _JPEG


def decode_colour(
    content: np.ndarray, path: str, kind: str, reduced: int = 1, rgb: bool = False
) -> np.ndarray:
    """Decodes an image of any kind to colour.

    Args:
        content: The file's bytes, uint8.
        path: The file, for errors.
        kind: What errors call it.
        reduced: 2, 4 or 8: a JPEG is decoded at this fraction of its size (rounded up), which its
            decoder does in less time.
        rgb: Red first instead of blue.

    Returns:
        uint8 ``[H, W, 3]``.

    Raises:
        DataError: The content is no image, or damaged.
    """
    if simplejpeg is not None and is_jpeg(content):
        image = _decode_with_simplejpeg(content.tobytes(), path, kind, reduced, rgb)
        if image is not None:
            return image
    image = decode(content, _REDUCED[reduced if is_jpeg(content) else 1], path, kind)
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB) if rgb else image


def _decode_with_simplejpeg(
    content: bytes, path: str, kind: str, reduced: int, rgb: bool
) -> np.ndarray | None:
    """None where OpenCV shall try, and say what is wrong."""
    colours = "RGB" if rgb else "BGR"
    try:
        if reduced == 1:
            return simplejpeg.decode_jpeg(content, colours)
        height, width = simplejpeg.decode_jpeg_header(content)[:2]
        least = {"min_height": -(-height // reduced), "min_width": -(-width // reduced)}
        return simplejpeg.decode_jpeg(content, colours, min_factor=reduced, **least)
    except ValueError as error:  # strict: libjpeg's warnings of lost data are errors
        message = str(error)
        if message.encode().startswith(_DAMAGE):
            raise DataError(f"{kind} {path} is damaged ({message}); fetch it again") from None
        return None


def decode(content: np.ndarray, flags: int, path: str, kind: str) -> np.ndarray:
    """Decodes an image with OpenCV, and believes the decoder when it complains.

    Where a JPEG has a hole, OpenCV returns garbage and libjpeg says so on the standard error stream
    alone; it is read there.

    Args:
        content: The file's bytes, uint8.
        flags: Of ``cv2.imdecode``.
        path: The file, for errors.
        kind: What errors call it.

    Raises:
        DataError: The content is no image, or damaged.
    """
    with _one_at_a_time, _StandardError() as messages:
        image = cv2.imdecode(content, flags) if content.size else None
    if image is None:
        raise DataError(f"{kind} {path} cannot be decoded ({content.size} bytes); fetch it again")
    if messages.damage:
        raise DataError(f"{kind} {path} is damaged ({messages.damage}); fetch it again")
    return image


class _StandardError:
    """Catches what C libraries write to the standard error stream; hands on all but the damage.

    The file descriptor is exchanged, for C code does not ask Python. Where the process has none,
    nothing is caught.
    """

    def __init__(self) -> None:
        self.damage = ""

    def __enter__(self) -> _StandardError:
        try:
            self._original: int | None = os.dup(2)
        except OSError:
            self._original = None
            return self
        self._file = tempfile.TemporaryFile()
        os.dup2(self._file.fileno(), 2)
        return self

    def __exit__(self, *exception: object) -> None:
        if self._original is None:
            return
        os.dup2(self._original, 2)
        os.close(self._original)
        self._file.seek(0)
        for line in self._file.read().splitlines(keepends=True):
            if line.startswith(_DAMAGE):
                self.damage = self.damage or line.decode(errors="replace").strip()
            else:
                os.write(2, line)
        self._file.close()


def _problem(content: bytes) -> str:
    """What is wrong with a file's structure; '' if nothing is, or if it is neither JPEG nor PNG."""
    if content.startswith(_JPEG):
        # In the scan itself 0xFF is always escaped, so the first end mark is the image's own.
        # Thumbnails, which have one too, lie in the segments before; padding may follow.
        scan = _start_of_scan(content)
        if scan is not None and content.find(_JPEG_END, scan) < 0:
            return "is truncated: it has no end mark"
    if content.startswith(_PNG):
        return _png_problem(content)
    return ""


def _start_of_scan(content: bytes) -> int | None:
    """Where a JPEG's compressed pixels begin; None if its segments lead nowhere."""
    at = 2
    while at + 4 <= len(content) and content[at] == 0xFF:
        marker = content[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
            continue
        if marker in _MARKERS_ALONE:
            at += 2
            continue
        length = int.from_bytes(content[at + 2 : at + 4], "big")
        at += 2 + length
        if marker == _START_OF_SCAN:
            return at
    return len(content) if at >= len(content) else None


def _png_problem(content: bytes) -> str:
    at = len(_PNG)
    while at + 12 <= len(content):
        length = int.from_bytes(content[at : at + 4], "big")
        end = at + 12 + length
        if end > len(content):
            break
        if zlib.crc32(content[at + 4 : end - 4]) != int.from_bytes(content[end - 4 : end], "big"):
            return "is damaged: a checksum does not fit"
        if content[at + 4 : at + 8] == b"IEND":
            return ""
        at = end
    return "is truncated: it has no end mark"
