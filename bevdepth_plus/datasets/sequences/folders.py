"""What the readers of folders share: numbers in text files, numbered files, times."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bevdepth_plus.errors import DataError

IMAGES = (".jpg", ".jpeg", ".png")
# Half a frame at 30 Hz, rounded up: two shots nearer than this are of one moment.
MAX_TIME_GAP = 0.02  # seconds


def read_numbers(path: Path, columns: int | None = None) -> np.ndarray:
    """The numbers of a text file, blank lines and ``#`` comments left out.

    Args:
        path: the file.
        columns: numbers that each line must have.

    Returns:
        float64 ``[lines, columns]``; NaN and infinity are read as such.

    Raises:
        DataError: the file is missing, holds other text, or a line has another count.
    """
    rows = []
    for number, words in read_rows(path):
        try:
            rows.append([float(word) for word in words])
        except ValueError:
            raise DataError(
                f"{path}:{number} must hold numbers alone, got {' '.join(words)[:40]!r}; is it the "
                "file of another layout?"
            ) from None
        if len(words) != (columns or len(rows[0])):
            raise DataError(
                f"{path}:{number} has {len(words)} numbers, expected {columns or len(rows[0])}; is "
                "it cut, or the file of another layout?"
            )
    if not rows:
        raise DataError(f"{path} is empty; fetch it again")
    return np.array(rows)


def read_rows(path: Path) -> list[tuple[int, list[str]]]:
    """The words of each line with the line's number; blank lines and ``#`` comments left out.

    Raises:
        DataError: the file is missing or no text.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (FileNotFoundError, IsADirectoryError):
        raise DataError(f"{path} does not exist; complete the sequence") from None
    except UnicodeDecodeError:
        raise DataError(f"{path} is no text file; fetch it again") from None
    words = ((number, line.partition("#")[0].split()) for number, line in enumerate(lines, 1))
    return [(number, row) for number, row in words if row]


def read_intrinsics(path: Path) -> np.ndarray:
    """A matrix ``[3 or 4, 3 or 4]`` calibrated with pixel centres at integers.

    Returns:
        ``[3, 3]`` float64, pixel centres at integers + 0.5.

    Raises:
        DataError: the file is missing or holds no pinhole matrix.
    """
    matrix = read_numbers(path)
    if matrix.shape not in ((3, 3), (3, 4), (4, 4)):
        raise DataError(f"{path} must hold a 3x3 or 4x4 matrix, got {matrix.shape}")
    matrix = matrix[:3, :3]
    pinhole = np.isfinite(matrix).all() and matrix[0, 0] > 0 and matrix[1, 1] > 0
    if not pinhole or np.abs(matrix[[1, 2, 2, 2], [0, 0, 1, 2]] - [0, 0, 0, 1]).max() > 1e-6:
        raise DataError(
            f"{path} is no pinhole matrix [[fx, s, cx], [0, fy, cy], [0, 0, 1]]: "
            f"{np.round(matrix, 3).tolist()}; fetch it again"
        )
    return at_half_pixels(matrix)


def at_half_pixels(matrix: np.ndarray) -> np.ndarray:
    """From pixel centres at integers to pixel centres at integers + 0.5, ``[3, 3]``."""
    return matrix + np.array([[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]])


def numbered_files(folder: Path, endings: Sequence[str] = IMAGES) -> dict[int, Path]:
    """The files of a folder by the first number in their names, rising.

    Raises:
        DataError: two files have one number, a name has none, or there is no file.
    """
    files: dict[int, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in endings or path.name.startswith("."):
            continue
        number = re.search(r"\d+", path.stem)
        if number is None:
            raise DataError(f"{path} has no frame number in its name; remove or rename it")
        other = files.setdefault(int(number[0]), path)
        if other is not path:
            raise DataError(f"{other} and {path} are one frame by their numbers; remove one")
    if not files:
        raise DataError(f"{folder} holds no {' or '.join(endings)}; complete the sequence")
    return dict(sorted(files.items()))


def frame_indices(numbers: Sequence[int]) -> tuple[list[int], int]:
    """Numbers of frames as steps of one, from 0, and how many of them are missing.

    Exports often keep each tenth frame: the step is what all numbers have in common.

    Args:
        numbers: rising.
    """
    step = math.gcd(*(number - numbers[0] for number in numbers)) or 1
    indices = [(number - numbers[0]) // step for number in numbers]
    return indices, indices[-1] + 1 - len(indices)


def nearest_in_time(
    times: np.ndarray, wanted: Sequence[float], limit: float = MAX_TIME_GAP
) -> list[int | None]:
    """For each wanted time the position of the nearest one; None beyond the limit.

    Args:
        times: seconds, ``[K]``, in any order.
        wanted: seconds.
        limit: seconds.
    """
    if not len(times):
        return [None] * len(wanted)
    order = np.argsort(times, kind="stable")
    found: list[int | None] = []
    for time in wanted:
        after = int(np.searchsorted(times[order], time))
        near = order[max(0, after - 1) : after + 1]
        best = int(near[np.abs(times[near] - time).argmin()])
        found.append(best if abs(times[best] - time) <= limit else None)
    return found
