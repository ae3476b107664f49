"""One sample of an info file in the standard layout: units, tokens and matrices as readers expect.

Nothing is changed in place; what already is as it should be is handed on as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from bevdepth_plus.datasets.fields import (
    CALIBRATION_HINT,
    intrinsic_matrices,
    mapping,
    number,
    numbers,
    short,
)
from bevdepth_plus.errors import DataError

REQUIRED_KEYS = ("token", "timestamp", "ego2global", "images")
# A time since 1970 says its unit by its size: 1e11 seconds are the year 5138.
UNITS = ((1e17, 1e-9), (1e14, 1e-6), (1e11, 1e-3))


def standard_sample(info: Any, where: str) -> dict:
    """A sample with a text as token, times in seconds, 3x3 intrinsics and a LiDAR entry.

    ``prev`` is a text or None, ``scene_token`` a text or absent.

    Args:
        info: An entry of ``data_list``.
        where: What to call it in an error while its token is not known.

    Returns:
        A new dict; parts without a change are shared with ``info``.

    Raises:
        DataError: A key is missing or has a wrong type. Matrices that are 3x3 already are left to
            ``parse_sample``.
    """
    mapping(info, where, REQUIRED_KEYS)
    token = _name(info["token"], f"{where}.token")
    place = f"sample {token}"
    images = mapping(info["images"], f"{place}: images")
    standard = {
        **info,
        "token": token,
        "timestamp": seconds(info["timestamp"], f"{place}: timestamp"),
        "images": {
            name: _camera(camera, f"{place}: images.{name}") for name, camera in images.items()
        },
        "lidar_points": _lidar(info.get("lidar_points"), f"{place}: lidar_points"),
    }
    prev, scene = info.get("prev"), info.get("scene_token")
    standard["prev"] = None if _is_empty(prev) else _name(prev, f"{place}: prev")
    if _is_empty(scene):
        standard.pop("scene_token", None)
    else:
        standard["scene_token"] = _name(scene, f"{place}: scene_token")
    return standard


def seconds(value: Any, where: str) -> float:
    """A time since 1970 in seconds; milli-, micro- and nanoseconds are told by their size."""
    time = number(value, where)
    return time * next((unit for least, unit in UNITS if abs(time) >= least), 1)


def pinhole_with_baseline(cam2img: Any, where: str) -> tuple[np.ndarray, np.ndarray]:
    """Splits a projection ``[3 or 4, 4]`` = K [I | t] into K and t.

    KITTI's matrices have it: ``lidar2cam`` leads to the reference camera, and the fourth column
    holds how far from it this camera stands.

    Returns:
        K ``[3, 3]``, and ``t`` ``[3]``, metres: point in this camera = point in the reference + t.

    Raises:
        DataError: The last row of a 4x4 matrix is not 0 0 0 1, or K cannot be inverted.
    """
    matrix = numbers(cam2img, where)
    if matrix.shape == (4, 4) and np.abs(matrix[3] - [0, 0, 0, 1]).max() > 1e-6:
        raise DataError(
            f"{where}: the last row must be 0 0 0 1, got {matrix[3].tolist()}; {CALIBRATION_HINT}"
        )
    intrinsics = intrinsic_matrices([matrix[:3, :3]], [where])[0]
    return intrinsics, np.linalg.solve(intrinsics, matrix[:3, 3])


def _camera(camera: Any, where: str) -> Mapping:
    mapping(camera, where)
    changes = {}
    if "timestamp" in camera:
        time = seconds(camera["timestamp"], f"{where}.timestamp")
        if time != camera["timestamp"]:
            changes["timestamp"] = time
    if camera.get("sweeps"):
        changes["sweeps"] = _sweeps(camera["sweeps"], f"{where}.sweeps")
    if _row_lengths(camera.get("cam2img")) in ([4] * 3, [4] * 4):
        changes |= _without_baseline(camera, where)
    return {**camera, **changes} if changes else camera


def _sweeps(sweeps: Any, where: str) -> list[Mapping]:
    if not isinstance(sweeps, list | tuple):
        raise DataError(f"{where} must be a list, got {short(sweeps)}; make the info file anew")
    return [_camera(sweep, f"{where}[{index}]") for index, sweep in enumerate(sweeps)]


def _row_lengths(matrix: Any) -> list[int]:
    try:
        return [len(row) for row in matrix]
    except TypeError:  # no matrix at all; parse_sample says so
        return []


def _without_baseline(camera: Mapping, where: str) -> dict:
    """3x3 intrinsics, and the poses of the camera itself instead of the reference camera's."""
    intrinsics, offset = pinhole_with_baseline(camera["cam2img"], f"{where}.cam2img")
    changes = {"cam2img": intrinsics.tolist()}
    if np.any(offset):
        step = np.eye(4)
        step[:3, 3] = offset
        if "lidar2cam" in camera:
            matrix = numbers(camera["lidar2cam"], f"{where}.lidar2cam", (4, 4))
            changes["lidar2cam"] = (step @ matrix).tolist()
        if "cam2ego" in camera:
            matrix = numbers(camera["cam2ego"], f"{where}.cam2ego", (4, 4))
            changes["cam2ego"] = (matrix @ np.linalg.inv(step)).tolist()
    return changes


def _lidar(lidar: Any, where: str) -> Mapping:
    """The LiDAR entry; a vehicle without LiDAR has none, and its boxes are in the ego frame."""
    if lidar is None:
        return {"lidar_path": None, "lidar2ego": np.eye(4).tolist()}
    mapping(lidar, where)
    return {**lidar, "lidar_path": None} if _is_empty(lidar.get("lidar_path")) else lidar


def _is_empty(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value)


def _name(value: Any, where: str) -> str:
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str) or not value:
        raise DataError(f"{where} must be a text, got {short(value)}; make the info file anew")
    return value
