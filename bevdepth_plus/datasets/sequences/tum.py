"""Sequences of the TUM RGB-D benchmark.

    SEQ/rgb.txt, SEQ/depth.txt    time and file below SEQ
    SEQ/groundtruth.txt           time tx ty tz qx qy qz qw, camera to world

Depth is registered to the colour camera, 16 bits, 5000 steps a metre.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bevdepth_plus.datasets.sequences.folders import (
    MAX_TIME_GAP,
    at_half_pixels,
    nearest_in_time,
    read_numbers,
    read_rows,
)
from bevdepth_plus.datasets.sequences.frames import (
    DepthPicture,
    Frame,
    FrameSequence,
)
from bevdepth_plus.errors import DataError
from bevdepth_plus.rigs.poses import pose_matrix, rotation_from_quaternion
from bevdepth_plus.rigs.rig import Distortion

NEEDED = ("rgb.txt", "depth.txt", "groundtruth.txt")
# What the benchmark advises for its registered depth: fx, fy, cx, cy of 640x480 images.
INTRINSICS = (525.0, 525.0, 319.5, 239.5)


def read_tum(
    folder: Path,
    name: str,
    depth_unit: float = 1 / 5000,
    intrinsics: Sequence[float] = INTRINSICS,
    max_time_gap: float = MAX_TIME_GAP,
    distortion: Sequence[float] | None = None,
) -> FrameSequence:
    """Reads one sequence; depth and pose are the nearest in time to the image.

    Args:
        folder: the sequence's.
        name: of the sequence, in tokens.
        depth_unit: metres a step of the depth pictures.
        intrinsics: fx, fy, cx, cy in pixels, centres at integers, as the benchmark gives them.
        max_time_gap: seconds from an image to its depth picture and to its pose. An image without a
            pose so near is lost.
        distortion: k1, k2, p1, p2, k3 of the lens, with the ``intrinsics`` they belong to; None:
            the images have none, as those of freiburg3.

    Raises:
        DataError: a file is missing or holds something else.
        ValueError: ``intrinsics`` are not four positive numbers, ``distortion`` not four or five.
    """
    if len(intrinsics) != 4 or min(intrinsics) <= 0:
        raise ValueError(f"intrinsics must be fx, fy, cx, cy in pixels, got {intrinsics}")
    fx, fy, cx, cy = intrinsics
    lens = None if distortion is None else Distortion("plumb_bob", tuple(distortion))
    matrix = at_half_pixels(np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1.0]]))
    times, images = _listed(folder, "rgb.txt")
    depth_times, depths = _listed(folder, "depth.txt")
    poses = read_numbers(folder / "groundtruth.txt", columns=8)
    near_depth = nearest_in_time(depth_times, times.tolist(), max_time_gap)
    near_pose = nearest_in_time(poses[:, 0], times.tolist(), max_time_gap)
    frames, lost, missing = [], [], 0
    for index, image in enumerate(images):
        token = f"{name}/{image.stem}"
        if not image.is_file():
            missing += 1
            continue
        pose = None if near_pose[index] is None else poses[near_pose[index], 1:]
        if pose is None or not np.isfinite(pose).all() or not pose[3:].any():
            lost.append(token)
            continue
        depth = None if near_depth[index] is None else depths[near_depth[index]]
        picture = None if depth is None else DepthPicture(str(depth), depth_unit, matrix)
        place = str(image), picture, matrix, _pose(pose), times[index]
        frames.append(Frame(token, index, *place, distortion=lens))
    return FrameSequence(name, tuple(frames), tuple(lost), missing)


def _listed(folder: Path, name: str) -> tuple[np.ndarray, list[Path]]:
    """Times, rising, and files of a list."""
    entries = []
    for number, words in read_rows(folder / name):
        try:
            time, file = words
            entries.append((float(time), folder / file))
        except ValueError:
            raise DataError(
                f"{folder / name}:{number} must be a time and a file, got {' '.join(words)[:60]!r}"
            ) from None
    if not entries:
        raise DataError(f"{folder / name} is empty; fetch it again")
    entries.sort(key=lambda entry: entry[0])
    return np.array([time for time, _ in entries]), [file for _, file in entries]


def _pose(numbers: np.ndarray) -> np.ndarray:
    """``[4, 4]`` of tx ty tz qx qy qz qw: the real part comes last."""
    x, y, z, w = numbers[3:].tolist()
    return pose_matrix(rotation_from_quaternion(w, x, y, z), numbers[:3])
