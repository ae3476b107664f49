"""SUN3D sequences: as they are published, and as code for DELTAS-type networks expects them.

    raw        SEQ/image/FRAME-MICROSECONDS.jpg, SEQ/depth/FRAME-MICROSECONDS.png,
               SEQ/extrinsics/DATE.txt, SEQ/intrinsics.txt
    prepared   SEQ/color/N.jpg, SEQ/depth/N.png, SEQ/intrinsics.txt or SEQ/intrinsic/intrinsics.txt,
               SEQ/pose/: N.txt each 4x4 (or 3x4), or one file as extrinsics/DATE.txt

``DATE.txt`` holds three lines of four numbers a frame, camera to world. The newest file counts.
Published depth is 16 bits, millimetres turned left by three bits.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bevdepth_plus.datasets.sequences.folders import (
    MAX_TIME_GAP,
    frame_indices,
    nearest_in_time,
    numbered_files,
    read_intrinsics,
    read_numbers,
)
from bevdepth_plus.datasets.sequences.frames import (
    DepthPicture,
    Frame,
    FrameSequence,
    is_lost,
    require_pose,
)
from bevdepth_plus.errors import DataError

NEEDED = ("image", "depth", "extrinsics", "intrinsics.txt")
NEEDED_PREPARED = ("color", "depth", "pose")
_MICRO = 1e-6


def read_sun3d(
    folder: Path,
    name: str,
    depth_unit: float = 1e-3,
    depth_rotated: bool = True,
    max_time_gap: float = MAX_TIME_GAP,
) -> FrameSequence:
    """Reads one sequence as published; depth is matched to images by time.

    Args:
        folder: the sequence's.
        name: of the sequence, in tokens.
        depth_unit: metres a step of the depth pictures.
        depth_rotated: their bits are turned left by three.
        max_time_gap: seconds from an image to its depth picture.

    Raises:
        DataError: a file is missing or holds something else, or the poses are not as many as the
            frames.
    """
    images = numbered_files(folder / "image")
    depths = list(numbered_files(folder / "depth", (".png",)).values())
    times = [_time(path) for path in images.values()]
    matched = nearest_in_time(np.array([_time(path) for path in depths]), times, max_time_gap)
    return _sequence(
        name,
        images,
        [None if position is None else depths[position] for position in matched],
        times,
        _poses_of_file(folder / "extrinsics", list(images), first=1),
        (read_intrinsics(folder / "intrinsics.txt"), depth_unit, depth_rotated),
    )


def read_prepared(
    folder: Path, name: str, depth_unit: float = 1e-3, depth_rotated: bool = False
) -> FrameSequence:
    """Reads one prepared sequence; depth is matched to images by number.

    Args:
        folder: the sequence's.
        name: of the sequence, in tokens.
        depth_unit: metres a step of the depth pictures.
        depth_rotated: their bits are turned left by three: they were copied from SUN3D.

    Raises:
        DataError: as :func:`read_sun3d`.
    """
    images = numbered_files(folder / "color")
    depths = numbered_files(folder / "depth", (".png",))
    beside, within = folder / "intrinsics.txt", folder / "intrinsic" / "intrinsics.txt"
    return _sequence(
        name,
        images,
        [depths.get(number) for number in images],
        [None] * len(images),
        _poses(folder / "pose", list(images)),
        (
            read_intrinsics(beside if beside.exists() or not within.exists() else within),
            depth_unit,
            depth_rotated,
        ),
    )


def _sequence(
    name: str,
    images: dict[int, Path],
    depths: Sequence[Path | None],
    times: Sequence[float | None],
    poses: Sequence[tuple[np.ndarray | None, str]],
    camera: tuple[np.ndarray, float, bool],  # intrinsics, metres a step, rotated bits
) -> FrameSequence:
    intrinsics, unit, rotated = camera
    indices, missing = frame_indices(list(images))
    frames, lost = [], []
    rows = zip(images.values(), indices, depths, times, poses, strict=True)
    for image, index, depth_path, time, (pose, where) in rows:
        token = f"{name}/{image.stem}"
        if pose is None or is_lost(pose):
            lost.append(token)
            continue
        depth = None
        if depth_path is not None:
            depth = DepthPicture(str(depth_path), unit, intrinsics, rotated)
        pose = require_pose(_square(pose), where)
        frames.append(Frame(token, index, str(image), depth, intrinsics, pose, time))
    return FrameSequence(name, tuple(frames), tuple(lost), missing)


def _poses(folder: Path, numbers: list[int]) -> list[tuple[np.ndarray | None, str]]:
    """Each frame's pose, and its place in errors: from a file a frame, or one file for all."""
    files = sorted(folder.glob("*.txt"))
    if len(files) == 1 and len(numbers) > 1:
        return _poses_of_file(folder, numbers)
    by_number = numbered_files(folder, (".txt",))
    found: list[tuple[np.ndarray | None, str]] = []
    for number in numbers:
        path = by_number.get(number)
        found.append((None, "") if path is None else (_one_pose(path), str(path)))
    return found


def _one_pose(path: Path) -> np.ndarray:
    pose = read_numbers(path, columns=4)
    if len(pose) not in (3, 4):
        raise DataError(f"{path} must hold one pose, 3x4 or 4x4, got {pose.shape}; fetch it again")
    return pose


def _poses_of_file(
    folder: Path, numbers: list[int], first: int | None = None
) -> list[tuple[np.ndarray | None, str]]:
    """``first``: the number of the first pose's frame, where it is known."""
    files = sorted(folder.glob("*.txt"))
    if not files:
        raise DataError(f"{folder} holds no .txt with poses; complete the sequence")
    rows = read_numbers(files[-1], columns=4)
    count, rest = divmod(len(rows), 3)
    positions = _positions(numbers, count, first)
    if rest or positions is None:
        raise DataError(
            f"{files[-1]} has {len(rows)} lines of poses, expected {3 * len(numbers)}: three lines "
            f"of four numbers for each of {len(numbers)} images; fetch it again"
        )
    return [
        (rows[3 * position : 3 * position + 3], f"{files[-1]}: pose {position + 1}")
        for position in positions
    ]


def _positions(numbers: list[int], count: int, first: int | None) -> list[int] | None:
    """Which of ``count`` poses is whose; None if that cannot be told.

    Poses are in the order of the images. Where some of these are missing, their numbers tell.
    """
    if count == len(numbers):
        return list(range(count))
    if first is None and (numbers[0] == 0 or numbers[-1] == count):
        first = 0 if numbers[0] == 0 else 1
    if first is None or numbers[0] < first or numbers[-1] - first >= count:
        return None
    return [number - first for number in numbers]


def _square(pose: np.ndarray) -> np.ndarray:
    return pose if len(pose) == 4 else np.vstack([pose, [0, 0, 0, 1]])


def _time(path: Path) -> float:
    stamp = re.search(r"-(\d+)$", path.stem)
    if stamp is None:
        raise DataError(
            f"{path} must be named FRAME-MICROSECONDS, as SUN3D names it; for numbered files set "
            'layout="prepared"'
        )
    return int(stamp[1]) * _MICRO
