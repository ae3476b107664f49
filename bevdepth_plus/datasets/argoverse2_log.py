"""One log of the Argoverse 2 sensor data set: its tables as arrays, its files by time.

Columns and frames are those of the data set's own description (argoverse/av2-api, sensor README):
times in nanoseconds; cuboids, with their gravity centre, and LiDAR points in the ego frame at the
sweep's time; images without distortion.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from bevdepth_plus.datasets.feather import read_columns
from bevdepth_plus.errors import DataError
from bevdepth_plus.geometry.quaternions import quaternion_to_rotation

ANNOTATIONS = "annotations.feather"
POSES = "city_SE3_egovehicle.feather"
MOUNTS = "calibration/egovehicle_SE3_sensor.feather"
INTRINSICS = "calibration/intrinsics.feather"
TABLES = (ANNOTATIONS, POSES, MOUNTS, INTRINSICS)
RIGID = ("qw", "qx", "qy", "qz", "tx_m", "ty_m", "tz_m")
SIZE = ("length_m", "width_m", "height_m")
PINHOLE = ("fx_px", "fy_px", "cx_px", "cy_px", "width_px", "height_px")
# From an annotation to the next of its track; the nuScenes devkit's limit.
MAX_TRACK_GAP = 1.5  # seconds
NANO = 1e-9


@dataclass(frozen=True)
class Camera:
    """One camera.

    Attributes:
        intrinsics: ``[3, 3]``.
        width, height: Pixels.
        ego_T_cam: ``[4, 4]``, its mount.
        shots: Times of its images, ``[K]`` int64, nanoseconds, ascending.
    """

    intrinsics: np.ndarray
    width: int
    height: int
    ego_T_cam: np.ndarray
    shots: np.ndarray


@dataclass(frozen=True)
class Annotations:
    """All cuboids of a log.

    Attributes:
        stamps: The sweep each belongs to, ``[R]`` int64, nanoseconds.
        categories, tracks: ``[R]`` texts.
        num_points: LiDAR points inside, ``[R]``.
        ego_T_box: ``[R, 4, 4]``.
        sizes: Length, width, height, ``[R, 3]``.
        velocities: In the city frame, ``[R, 3]`` m/s; NaN at a track's first and last cuboid.
    """

    stamps: np.ndarray
    categories: np.ndarray
    tracks: np.ndarray
    num_points: np.ndarray
    ego_T_box: np.ndarray
    sizes: np.ndarray
    velocities: np.ndarray


class Poses:
    """Where the vehicle was: ``city_T_ego`` at the time of each sweep and each image."""

    def __init__(self, path: Path) -> None:
        table = read_columns(path, ("timestamp_ns", *RIGID))
        self.path = path
        order = np.argsort(table["timestamp_ns"], kind="stable")
        self.stamps = table["timestamp_ns"][order].astype(np.int64)
        self.city_T_ego = _rigid(table, path)[order]

    def at(self, stamps: np.ndarray) -> np.ndarray:
        """``[len(stamps), 4, 4]``.

        Raises:
            DataError: The table lacks one of these times.
        """
        rows = np.searchsorted(self.stamps, stamps)
        known = rows < len(self.stamps)
        known[known] = self.stamps[rows[known]] == stamps[known]
        if not known.all():
            raise DataError(
                f"{self.path} has no pose at timestamp_ns {stamps[~known][0]}; fetch it again"
            )
        return self.city_T_ego[rows]


def annotated_sweeps(folder: Path) -> tuple[np.ndarray, set[str]]:
    """Times of a log's annotated sweeps, ascending ``[K]`` int64, and the categories in it.

    Raises:
        DataError: The annotations cannot be read, or there are none.
    """
    table = read_columns(folder / ANNOTATIONS, ("timestamp_ns", "category"))
    if not len(table["category"]):
        raise DataError(f"{folder / ANNOTATIONS} has no rows; fetch it again or remove the log")
    return np.unique(table["timestamp_ns"]).astype(np.int64), set(table["category"])


def sweep_file(stamp: int) -> str:
    """Below the log's folder."""
    return f"sensors/lidar/{stamp}.feather"


def image_file(camera: str, stamp: int) -> str:
    """Below the log's folder."""
    return f"sensors/cameras/{camera}/{stamp}.jpg"


def image_times(folder: Path) -> dict[str, np.ndarray]:
    """Camera -> times of its images, ascending int64; cameras without images are left out."""
    found = {
        camera.name: np.array(
            sorted(int(file.stem) for file in camera.glob("*.jpg") if file.stem.isdigit()), np.int64
        )
        for camera in sorted((folder / "sensors/cameras").glob("*"))
    }
    return {camera: shots for camera, shots in found.items() if len(shots)}


def read_cameras(folder: Path) -> dict[str, Camera]:
    """The cameras that a log has images of, in the order of its calibration.

    Raises:
        DataError: There is none, or one lacks a calibration.
    """
    times = image_times(folder)
    if not times:
        raise DataError(f"{folder}/sensors/cameras holds no CAMERA/TIME.jpg; complete the download")
    inner = read_columns(folder / INTRINSICS, ("sensor_name", *PINHOLE))
    outer = read_columns(folder / MOUNTS, ("sensor_name", *RIGID))
    mounts = dict(zip(outer["sensor_name"], _rigid(outer, folder / MOUNTS), strict=True))
    rows = {name: row for row, name in enumerate(inner["sensor_name"])}
    for file, names in ((INTRINSICS, rows), (MOUNTS, mounts)):
        lacking = sorted(set(times) - set(names))
        if lacking:
            raise DataError(f"{folder / file} has no camera {lacking[0]}; fetch it again")
    cameras = {}
    for name in (name for name in rows if name in times):
        fx, fy, cx, cy, width, height = (float(inner[key][rows[name]]) for key in PINHOLE)
        intrinsics = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
        cameras[name] = Camera(intrinsics, int(width), int(height), mounts[name], times[name])
    return cameras


def read_annotations(folder: Path, poses: Poses) -> Annotations:
    """All cuboids of a log with their velocities.

    Raises:
        DataError: The file cannot be read, or there is no pose for a sweep.
    """
    path = folder / ANNOTATIONS
    names = ("timestamp_ns", "track_uuid", "category", "num_interior_pts", *SIZE, *RIGID)
    table = read_columns(path, names)
    stamps = table["timestamp_ns"].astype(np.int64)
    ego_T_box = _rigid(table, path)
    # Box centres in the city frame, [R, 3]
    centres = (poses.at(stamps) @ ego_T_box[:, :, 3:])[:, :3, 0]
    return Annotations(
        stamps=stamps,
        categories=table["category"],
        tracks=table["track_uuid"],
        num_points=table["num_interior_pts"],
        ego_T_box=ego_T_box,
        sizes=np.stack([table[key] for key in SIZE], axis=1).astype(np.float64),
        velocities=track_velocities(table["track_uuid"], stamps, centres),
    )


def track_velocities(
    tracks: np.ndarray,  # [R] texts
    stamps: np.ndarray,  # [R] int64, nanoseconds
    centres: np.ndarray,  # [R, 3] of one frame that stands still, metres
) -> np.ndarray:
    """Velocities ``[R, 3]``, m/s: from the cuboid before to the one after of the same track.

    NaN where a track has no cuboid before or after, or none within ``MAX_TRACK_GAP``.
    """
    order = np.lexsort((stamps, tracks.astype(str)))
    velocities = np.full((len(order), 3), np.nan)
    before, now, after = order[:-2], order[1:-1], order[2:]
    back = (stamps[now] - stamps[before]) * NANO
    ahead = (stamps[after] - stamps[now]) * NANO
    known = (tracks[before] == tracks[now]) & (tracks[now] == tracks[after])
    known &= (back > 0) & (ahead > 0) & (back <= MAX_TRACK_GAP) & (ahead <= MAX_TRACK_GAP)
    step = centres[after] - centres[before]
    velocities[now[known]] = step[known] / (back + ahead)[known, None]
    return velocities


def _rigid(table: Mapping[str, np.ndarray], path: Path) -> np.ndarray:
    """The rows' rotations and translations as matrices ``[rows, 4, 4]``, float64."""
    numbers = np.stack([table[key] for key in RIGID], axis=1).astype(np.float64)
    norms = np.linalg.norm(numbers[:, :4], axis=1)
    fine = np.isfinite(numbers).all(axis=1) & (np.abs(norms - 1) < 1e-2)
    if not fine.all():
        row = int(np.flatnonzero(~fine)[0])
        raise DataError(
            f"{path}: row {row} is no rotation and translation (qw, qx, qy, qz of length 1, tx_m, "
            f"ty_m, tz_m, all finite), got {numbers[row].round(3).tolist()}; fetch it again"
        )
    matrices = np.tile(np.eye(4), (len(numbers), 1, 1))
    xyzw = torch.from_numpy(numbers[:, [1, 2, 3, 0]])
    matrices[:, :3, :3] = quaternion_to_rotation(xyzw).numpy()
    matrices[:, :3, 3] = numbers[:, 4:]
    return matrices
