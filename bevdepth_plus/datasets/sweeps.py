"""Reading LiDAR sweeps: raw float32 files whose width nothing but the info file tells.

Argoverse 2's feather files are read as they are: copies would double the LiDAR's disk space.
"""

from __future__ import annotations

from os import path as osp

import numpy as np

from bevdepth_plus.datasets.feather import read_columns
from bevdepth_plus.errors import DataError

FEATHER_COLUMNS = ("x", "y", "z", "intensity", "laser_number")
USUAL_WIDTHS = (5, 4, 3, 6)
MAX_RANGE = 1000.0  # metres; no vehicle's LiDAR reaches so far
# Below it, too few points to compare how coordinates are spread.
ENOUGH_POINTS = 1000
COMPARED_POINTS = 4000
PRIME = 7919
# Gaps between two cumulative distributions: up to the first they count as the same, above the
# second as having nothing in common. Measured on sweeps of nuScenes, KITTI and Waymo: read rightly,
# x and y differ from z by 0.27 and more and every second point from the others by less than 0.1;
# read wrongly, by less than 0.05, or every second point by more than 0.45.
SAME_SPREAD, OTHER_SPREAD = 0.05, 0.45


def read_points(path: str, num_features: int, drop_not_finite: bool = False) -> np.ndarray:
    """Reads a sweep of little-endian float32 numbers, or a feather file of Argoverse 2.

    Args:
        path: The file; ``*.feather`` has the columns x, y, z, intensity, laser_number.
        num_features: Numbers a point.
        drop_not_finite: Leave out points without finite coordinates instead of refusing the file.

    Returns:
        [P, num_features] float32; the first three are x, y, z in the LiDAR frame, metres.

    Raises:
        DataError: The file is missing, empty, cut inside a point, a coordinate is not finite, or
            what is read cannot be coordinates (another width, float64).
    """
    if not osp.isfile(path):
        raise DataError(
            f"LiDAR file {path} does not exist; check data_root and data_prefix, or fetch it again"
        )
    points = (_read_feather if path.endswith(".feather") else _read_raw)(path, num_features)
    finite = np.isfinite(points[:, :3]).all(axis=1)
    if not finite.all():
        if not drop_not_finite:
            raise DataError(
                f"LiDAR file {path} has {(~finite).sum()} points that are not finite; fetch it "
                "again, or drop them with LoadLidarPoints(drop_not_finite=True)"
            )
        points = points[finite]
    problem = _problem(points)
    if problem:
        raise DataError(
            f"LiDAR file {path}, read as {num_features} float32 a point, {problem}; correct "
            "num_pts_feats in the info file, or write the sweep as float32"
        )
    return points


def point_width(path: str) -> int:
    """How many numbers a point of this sweep has, by its size and what can be coordinates.

    Raises:
        DataError: None of the usual widths fits.
    """
    for width in USUAL_WIDTHS:
        try:
            read_points(path, width, drop_not_finite=True)
        except DataError:
            continue
        return width
    raise DataError(
        f"LiDAR file {path} can be read with none of {USUAL_WIDTHS} float32 a point; write its "
        "sweeps as plain float32"
    )


def _read_raw(path: str, num_features: int) -> np.ndarray:
    size = osp.getsize(path)
    if size == 0 or size % (4 * num_features):
        raise DataError(
            f"LiDAR file {path} is truncated: {size} bytes are not a whole number of points of "
            f"{num_features} float32; fetch it again, or correct num_pts_feats in the info file"
        )
    return np.fromfile(path, dtype="<f4").reshape(-1, num_features)


def _read_feather(path: str, num_features: int) -> np.ndarray:
    if num_features > len(FEATHER_COLUMNS):
        raise DataError(
            f"LiDAR file {path}: a point of a feather sweep has {len(FEATHER_COLUMNS)} numbers "
            f"({', '.join(FEATHER_COLUMNS)}), not {num_features}; correct num_pts_feats in the "
            "info file"
        )
    columns = read_columns(path, FEATHER_COLUMNS[:num_features])
    points = np.stack([column.astype(np.float32) for column in columns.values()], axis=1)
    if not len(points):
        raise DataError(f"LiDAR file {path} has no points; fetch it again")
    return points


def _problem(points: np.ndarray) -> str:
    """Why these numbers cannot be coordinates; '' if they can."""
    farthest = np.abs(points[:, :3]).max(initial=0)
    if farthest > MAX_RANGE:
        return f"has a coordinate of {farthest:.3g} m, more than {MAX_RANGE:g} m"
    if len(points) >= ENOUGH_POINTS and _is_mixed(points[:, :3]):
        return "has numbers of different kinds in one column"
    return ""


def _is_mixed(points: np.ndarray) -> bool:
    """Whether a wrong width has put different kinds of numbers into one column.

    Read with a wrong width, x, y and z take their numbers in turn from several columns of the file.
    Either they are spread alike then, where z in a sweep never is as x or y are; or (6 numbers read
    as 3) every second point is something else.
    """
    # A prime step meets every point once and never falls into step with a width.
    picked = points[np.arange(min(len(points), COMPARED_POINTS)) * PRIME % len(points)]
    x, y, z = np.sort(picked.T, axis=1)
    if min(_gap(x, z), _gap(y, z)) < SAME_SPREAD:
        return True
    even, odd = (np.sort(points[start::2, :2].T, axis=1) for start in (0, 1))
    return max(_gap(*columns) for columns in zip(even, odd, strict=True)) > OTHER_SPREAD


def _gap(a: np.ndarray, b: np.ndarray) -> float:
    """The largest gap between two cumulative distributions (Kolmogorov and Smirnov); sorted."""
    both = np.concatenate([a, b])
    return np.abs(
        np.searchsorted(a, both, "right") / len(a) - np.searchsorted(b, both, "right") / len(b)
    ).max()
