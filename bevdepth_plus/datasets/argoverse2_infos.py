"""One log of Argoverse 2 -> entries of an info file, see ``nuscenes_infos`` for the keys.

The LiDAR's frame is the ego frame, for Argoverse 2 stores points and cuboids in it. All paths are
below the root.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bevdepth_plus.datasets.argoverse2_log import (
    NANO,
    Annotations,
    Camera,
    Poses,
    image_file,
    read_annotations,
    read_cameras,
    sweep_file,
)
from bevdepth_plus.datasets.argoverse2_log import POSES as POSE_TABLE
from bevdepth_plus.errors import DataError

POINT_NUMBERS = 5  # x, y, z, intensity, laser_number
# A camera whose nearest image is further from the sweep is out there; they fire at 20 Hz.
MAX_SHOT_GAP = 0.1  # seconds


@dataclass(frozen=True)
class _Log:
    """A log as it is read.

    Attributes:
        path: Below the root.
        labels: Category -> label.
        sweeps: Take the cameras' images between the key frames, too.
    """

    path: Path
    poses: Poses
    cameras: Mapping[str, Camera]
    annotations: Annotations
    labels: Mapping[str, int]
    sweeps: bool


def log_infos(
    root: Path, path: Path, key_stamps: np.ndarray, labels: Mapping[str, int], sweeps: bool
) -> list[dict]:
    """The info entries of a log, without their ``sample_idx``.

    Args:
        root: Folder with the splits.
        path: The log's folder below it.
        key_stamps: Times of the sweeps that become samples, ``[K]`` int64, nanoseconds, ascending.
        labels: Category -> label.
        sweeps: List the cameras' images between the key frames, too.

    Raises:
        DataError: A table cannot be read or lacks what a sample needs.
    """
    folder = root / path
    poses = Poses(folder / POSE_TABLE)
    annotations = read_annotations(folder, poses)
    log = _Log(path, poses, read_cameras(folder), annotations, labels, sweeps)
    before = [None, *key_stamps[:-1].tolist()]
    return [
        _sample_info(log, stamp, earlier)
        for stamp, earlier in zip(key_stamps.tolist(), before, strict=True)
    ]


def _sample_info(log: _Log, stamp: int, earlier: int | None) -> dict:
    city_T_ego = log.poses.at(np.array([stamp]))[0]
    name = log.path.name
    images = {
        camera: _camera_info(log, camera, stamp, earlier, city_T_ego)
        for camera in log.cameras
        if abs(_nearest(log.cameras[camera].shots, stamp) - stamp) * NANO <= MAX_SHOT_GAP
    }
    if not images:
        raise DataError(
            f"{log.path}: no camera has an image within {MAX_SHOT_GAP} s of sweep {stamp}; "
            "complete the download"
        )
    return {
        "token": f"{name}_{stamp}",
        "scene_token": name,
        "scene_name": name,
        "prev": None if earlier is None else f"{name}_{earlier}",
        "timestamp": stamp * NANO,
        "ego2global": city_T_ego.tolist(),
        "lidar_points": {
            "num_pts_feats": POINT_NUMBERS,
            "lidar_path": (log.path / sweep_file(stamp)).as_posix(),
            "lidar2ego": np.eye(4).tolist(),
        },
        "images": images,
        "instances": _instances(log, stamp, city_T_ego),
    }


def _nearest(shots: np.ndarray, stamp: int) -> int:
    return int(shots[np.abs(shots - stamp).argmin()])


def _camera_info(
    log: _Log, name: str, stamp: int, earlier: int | None, city_T_ego: np.ndarray
) -> dict:
    camera = log.cameras[name]
    shot = _nearest(camera.shots, stamp)
    city_T_ego_at_shot = log.poses.at(np.array([shot]))[0]
    # Through the city frame: the vehicle moves between the sweep and the shot.
    ego_T_cam = np.linalg.inv(city_T_ego) @ city_T_ego_at_shot @ camera.ego_T_cam
    info = {
        **_shot_info(log, name, shot, city_T_ego_at_shot),
        "cam2img": camera.intrinsics.tolist(),
        "cam2ego": camera.ego_T_cam.tolist(),
        "lidar2cam": np.linalg.inv(ego_T_cam).tolist(),
        "width": camera.width,
        "height": camera.height,
    }
    if log.sweeps and earlier is not None:
        since = camera.shots > _nearest(camera.shots, earlier)
        between = camera.shots[since & (camera.shots < shot)][::-1]
        info["sweeps"] = [
            _shot_info(log, name, int(time), pose)
            for time, pose in zip(between, log.poses.at(between), strict=True)
        ]
    return info


def _shot_info(log: _Log, camera: str, shot: int, city_T_ego: np.ndarray) -> dict:
    return {
        "img_path": (log.path / image_file(camera, shot)).as_posix(),
        "timestamp": shot * NANO,
        "ego2global": city_T_ego.tolist(),
    }


def _instances(log: _Log, stamp: int, city_T_ego: np.ndarray) -> list[dict]:
    found = log.annotations
    ego_R_city = city_T_ego[:3, :3].T
    instances = []
    for row in np.flatnonzero(found.stamps == stamp):
        label = log.labels[found.categories[row]]
        pose, points = found.ego_T_box[row], int(found.num_points[row])
        yaw = float(np.arctan2(pose[1, 0], pose[0, 0]))
        # As for nuScenes: the ground velocity, turned into the frame of the boxes.
        velocity = ego_R_city @ [*found.velocities[row, :2], 0.0]
        instances.append(
            {
                "bbox_3d": [*pose[:3, 3].tolist(), *found.sizes[row].tolist(), yaw],
                "bbox_label": label,
                "bbox_label_3d": label,
                "bbox_3d_isvalid": points > 0,
                "velocity": velocity[:2].tolist(),
                "num_lidar_pts": points,
                "instance_token": str(found.tracks[row]),
            }
        )
    return instances
