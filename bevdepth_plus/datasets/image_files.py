"""Reading images whole: what is cut, has a hole or is no image is named, never half decoded."""

from __future__ import annotations

import os
import tempfile
import threading
import zlib

import cv2
import numpy as np

from bevdepth_plus.errors import DataError

_JPEG, _PNG = b"\xff\xd8", b"\x89PNG\r\n\x1a\n"
_JPEG_END = b"\xff\xd9"
_START_OF_SCAN = 0xDA
_MARKERS_ALONE = {0x01, *range(0xD0, 0xD8)}  # JPEG markers without a length
# How libjpeg's warnings of lost data begin.
_DAMAGE = (b"Corrupt JPEG data", b"Premature end of JPEG file")
_one_at_a_time = threading.Lock()


def read_image(path: str) -> np.ndarray:
    """Reads one image.

    Returns:
        uint8 BGR, [H, W, 3].

    Raises:
        DataError: The file is missing, truncated, damaged or no image.
    """
    content = read_bytes(path, "image")
    # Images are used as calibrated: a rotation stored in EXIF must not be applied.
    return decode(content, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION, path, "image")


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
    problem = _problem(content.tobytes())
    if problem:
        raise DataError(f"{kind} {path} {problem} ({content.size} bytes); fetch it again")
    return content


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
