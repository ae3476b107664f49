"""Is a calibration plausible? What the data set accepts can still be the wrong camera's matrix."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from bevdepth_plus.datasets.fields import numbers
from bevdepth_plus.errors import DataError
from bevdepth_plus.rigs.horizon import horizon_row

MAX_GAP = 0.1  # seconds between a camera's shot and the sample's moment
MAX_PIXELS = 3.0  # between the two ways from LiDAR to image, for points 20 m ahead
FIELD_OF_VIEW = (15.0, 150.0)  # degrees, horizontal; a pinhole sees no more


def check_sample(
    info: Mapping,
    image_sizes: Mapping[str, tuple[int, int]],  # camera -> (width, height) of the file, pixels
) -> list[str]:
    """What is implausible in one sample of an info file, a line each; empty if nothing is.

    For each camera: the rotation (orthonormal, det 1), intrinsics against the image's size, the
    time between shot and sample, whether the horizon is in the image, and whether ``lidar2cam``
    agrees with the way through the ego poses where the file has them.

    Raises:
        DataError: a camera lacks its matrices or its size, or a matrix is none of finite numbers.
    """
    problems = []
    for name, camera in info["images"].items():
        place = f"sample {info['token']}, {name}"
        for key, shape in (("lidar2cam", (4, 4)), ("cam2img", (3, 3))):
            if key in camera:
                numbers(camera[key], f"{place}: {key}", shape)
        try:
            found = [
                *_rotation(camera),
                *_intrinsics(camera, image_sizes[name]),
                *_time(camera, info["timestamp"]),
                *_horizon(camera, info, image_sizes[name]),
                *_two_ways(camera, info),
            ]
        except KeyError as missing:
            raise DataError(f"{place} lacks {missing}; add it to the info file") from None
        problems += [f"{place}: {problem}" for problem in found]
    return problems


def horizon_of(camera: Mapping, info: Mapping, width: int) -> float:
    """The horizon's row in the middle of a camera's image, pixels; NaN if it has none."""
    lidar2ego = np.asarray(info["lidar_points"]["lidar2ego"], dtype=float)
    ego_T_cam = lidar2ego @ np.linalg.inv(np.asarray(camera["lidar2cam"], dtype=float))
    intrinsics = np.asarray(camera["cam2img"], dtype=float)
    row = horizon_row(intrinsics, ego_T_cam, width / 2)
    return row.item()


def _horizon(camera: Mapping, info: Mapping, size: tuple[int, int]) -> Iterator[str]:
    if next(_rotation(camera), None) is not None:
        return  # said already, and no rotation to tell a horizon by
    width, height = size
    row = horizon_of(camera, info, width)
    if np.isnan(row):
        yield "lies on its side or looks straight up or down: turn the images, or is it lidar2cam?"
    elif not 0 <= row <= height:
        yield (
            f"the horizon is not in the image (row {row:.0f} of {height}): does it look at the "
            "road or the sky alone, or are lidar2cam and lidar2ego of another mount?"
        )


def _rotation(camera: Mapping) -> Iterator[str]:
    rotation = np.asarray(camera["lidar2cam"], dtype=float)[:3, :3]
    determinant = np.linalg.det(rotation)
    off = np.abs(rotation @ rotation.T - np.eye(3)).max()
    if determinant < 0:
        yield f"lidar2cam mirrors (det R = {determinant:.3f}): an axis is swapped or negated"
    elif off > 1e-3:
        yield f"lidar2cam is no rotation (det R = {determinant:.3f}, R R^T off by {off:.1g})"


def _intrinsics(camera: Mapping, size: tuple[int, int]) -> Iterator[str]:
    width, height = size
    recorded = camera.get("width", width), camera.get("height", height)
    if recorded != size:
        yield f"recorded are {recorded[0]} x {recorded[1]} pixels, the image has {width} x {height}"
    matrix = np.asarray(camera["cam2img"], dtype=float)
    fx, fy, cx, cy = matrix[0, 0], matrix[1, 1], matrix[0, 2], matrix[1, 2]
    if abs(fx / fy - 1) > 0.05:
        yield f"fx {fx:.1f} and fy {fy:.1f} differ: was the image resized in one direction?"
    if not (0.25 < cx / width < 0.75 and 0.25 < cy / height < 0.75):
        yield (
            f"the principal point ({cx:.0f}, {cy:.0f}) is far from the middle of {width} x "
            f"{height}: was the image resized or cropped after calibration?"
        )
    view = 2 * np.degrees(np.arctan(width / 2 / fx))
    if not FIELD_OF_VIEW[0] < view < FIELD_OF_VIEW[1]:
        yield f"fx {fx:.1f} means a field of view of {view:.0f} degrees"


def _time(camera: Mapping, timestamp: float) -> Iterator[str]:
    gap = camera.get("timestamp", timestamp) - timestamp
    if abs(gap) > MAX_GAP:
        yield f"shot {gap:+.3f} s from the sample's moment: milliseconds, or another frame?"


def _two_ways(camera: Mapping, info: Mapping) -> Iterator[str]:
    if not {"ego2global", "cam2ego"} <= camera.keys():
        return
    ego2global, lidar2ego, own_pose, mount = (
        np.asarray(matrix, dtype=float)
        for matrix in (
            info["ego2global"],
            info["lidar_points"]["lidar2ego"],
            camera["ego2global"],
            camera["cam2ego"],
        )
    )
    lidar2cam = np.asarray(camera["lidar2cam"], dtype=float)
    through_poses = np.linalg.inv(own_pose @ mount) @ ego2global @ lidar2ego
    ahead = np.array([[x, y, 20.0, 1.0] for x in (-5, 0, 5) for y in (-2, 0, 2)])  # camera, metres
    moved = ahead @ (through_poses @ np.linalg.inv(lidar2cam)).T
    to_pixels = np.asarray(camera["cam2img"], dtype=float)[:3, :3]
    pixels, others = ((points[:, :3] / points[:, 2:3]) @ to_pixels.T for points in (ahead, moved))
    gap = np.linalg.norm((pixels - others)[:, :2], axis=1).max()
    if not gap < MAX_PIXELS or (moved[:, 2] <= 0).any():
        yield (
            f"lidar2cam and the way through ego2global and cam2ego differ by {gap:.0f} pixels at "
            "20 m: one of them is of another moment or camera"
        )
