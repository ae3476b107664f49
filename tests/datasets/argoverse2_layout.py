"""Writes the Argoverse 2 sensor layout: a nuScenes root anew, or a small log made by hand."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from nuscenes import NuScenes
from nuscenes.utils.geometry_utils import transform_matrix
from pyquaternion import Quaternion
from scipy.spatial.transform import Rotation

from bevdepth_plus.datasets.nuscenes_infos import LIDAR, NUSCENES_CAMERAS
from bevdepth_plus.datasets.splits import scenes_of

START = 315_968_112_000_000_000  # nanoseconds
TENTH = 100_000_000


def write_table(path: Path, columns: Mapping[str, Sequence]) -> None:
    import pyarrow
    from pyarrow import feather

    path.parent.mkdir(parents=True, exist_ok=True)
    feather.write_feather(pyarrow.table({k: pyarrow.array(v) for k, v in columns.items()}), path)


def rigid_columns(matrices: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    matrices = np.reshape(matrices, (-1, 4, 4))
    xyzw = Rotation.from_matrix(matrices[:, :3, :3]).as_quat()
    columns = dict(zip(("qx", "qy", "qz", "qw"), xyzw.T, strict=True))
    return columns | dict(zip(("tx_m", "ty_m", "tz_m"), matrices[:, :3, 3].T, strict=True))


def write_poses(log: Path, poses: Mapping[int, np.ndarray]) -> None:
    columns = {"timestamp_ns": list(poses), **rigid_columns(list(poses.values()))}
    write_table(log / "city_SE3_egovehicle.feather", columns)


def write_calibration(
    log: Path,
    mounts: Mapping[str, np.ndarray],
    intrinsics: Mapping[str, np.ndarray],
    size: tuple[int, int],
) -> None:
    columns = {"sensor_name": list(mounts), **rigid_columns(list(mounts.values()))}
    write_table(log / "calibration/egovehicle_SE3_sensor.feather", columns)
    K = np.stack(list(intrinsics.values()))
    columns = {
        "sensor_name": list(intrinsics),
        "fx_px": K[:, 0, 0],
        "fy_px": K[:, 1, 1],
        "cx_px": K[:, 0, 2],
        "cy_px": K[:, 1, 2],
        **{name: np.zeros(len(K)) for name in ("k1", "k2", "k3")},
        "height_px": [size[1]] * len(K),
        "width_px": [size[0]] * len(K),
    }
    write_table(log / "calibration/intrinsics.feather", columns)


def write_annotations(log: Path, rows: Sequence[tuple]) -> None:
    """Rows of (stamp, track, category, (l, w, h), ego_T_box, points inside)."""
    stamps, tracks, categories, sizes, boxes, points = zip(*rows, strict=True)
    columns = {"timestamp_ns": stamps, "track_uuid": tracks, "category": categories}
    columns |= dict(zip(("length_m", "width_m", "height_m"), np.array(sizes).T, strict=True))
    columns |= {**rigid_columns(boxes), "num_interior_pts": points}
    write_table(log / "annotations.feather", columns)


def write_sweep(log: Path, stamp: int, points: np.ndarray) -> None:
    """A sweep of x, y, z (ego frame), intensity, laser number; coordinates become float16."""
    columns = {name: points[:, i].astype(np.float16) for i, name in enumerate("xyz")}
    columns |= {"intensity": points[:, 3].astype(np.uint8)}
    columns |= {"laser_number": points[:, 4].astype(np.uint8)}
    columns |= {"offset_ns": np.zeros(len(points), np.int32)}
    write_table(log / f"sensors/lidar/{stamp}.feather", columns)


def rewrite_nuscenes(root: Path, version: str, target: Path) -> Path:
    """The same scenes, images, boxes and points in the layout of Argoverse 2."""
    nusc = NuScenes(version, str(root), verbose=False)
    for split in ("train", "val"):
        for scene in scenes_of(nusc, split):
            _rewrite_scene(nusc, scene, target / split / scene["name"])
    return target


def _rewrite_scene(nusc: NuScenes, scene: dict, log: Path) -> None:
    poses, mounts, intrinsics, rows = {}, {}, {}, []
    token = scene["first_sample_token"]
    while token:
        sample = nusc.get("sample", token)
        for channel in (LIDAR, *NUSCENES_CAMERAS):
            data = nusc.get("sample_data", sample["data"][channel])
            mount = nusc.get("calibrated_sensor", data["calibrated_sensor_token"])
            stamp = data["timestamp"] * 1000
            poses[stamp] = _matrix(nusc.get("ego_pose", data["ego_pose_token"]))
            mounts[channel] = _matrix(mount)
            source = Path(nusc.dataroot) / data["filename"]
            if channel == LIDAR:
                points = np.fromfile(source, np.float32).reshape(-1, 5).astype(np.float64)
                points[:, :3] = points[:, :3] @ mounts[LIDAR][:3, :3].T + mounts[LIDAR][:3, 3]
                write_sweep(log, stamp, points)
                rows += _rows(nusc, sample, stamp, np.linalg.inv(poses[stamp]))
            else:
                intrinsics[channel] = np.array(mount["camera_intrinsic"])
                size = data["width"], data["height"]
                image = log / f"sensors/cameras/{channel}/{stamp}.jpg"
                image.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(source, image)
        token = sample["next"]
    write_poses(log, poses)
    write_calibration(log, mounts, intrinsics, size)
    write_annotations(log, rows)


def _rows(nusc: NuScenes, sample: dict, stamp: int, ego_T_city: np.ndarray) -> list[tuple]:
    rows = []
    for token in sample["anns"]:
        found = nusc.get("sample_annotation", token)
        width, length, height = found["size"]
        box = ego_T_city @ transform_matrix(found["translation"], Quaternion(found["rotation"]))
        size, track = (length, width, height), found["instance_token"]
        rows.append((stamp, track, found["category_name"], size, box, found["num_lidar_pts"]))
    return rows


def _matrix(record: dict) -> np.ndarray:
    return transform_matrix(record["translation"], Quaternion(record["rotation"]))


def write_small_log(log: Path, sweeps: int = 12) -> None:
    """Sweeps at 10 Hz, two cameras at 20 Hz that fire 10 ms late, a car that drives 3 m/s ahead.

    The vehicle drives 5 m/s along the city's y; images are empty files.
    """
    turn = Rotation.from_euler("z", np.pi / 2).as_matrix()
    stamps = [START + i * TENTH for i in range(sweeps)]
    shots = [START + i * TENTH // 2 + TENTH // 10 for i in range(2 * sweeps)]

    def ego_pose(stamp: int) -> np.ndarray:
        pose = np.eye(4)
        pose[:3, :3], pose[:3, 3] = turn, (700, 1200 + 5e-9 * (stamp - START), 20)
        return pose

    rows = []
    for i, stamp in enumerate(stamps):
        box = np.eye(4)
        box[:3, 3] = (10 + 0.1 * (3 - 5) * i, 2, 1)  # 3 m/s in the city, the ego follows at 5
        rows.append((stamp, "track", "REGULAR_VEHICLE", (4.0, 2.0, 1.5), box, 7))
        write_sweep(log, stamp, np.full((3, 5), i + 0.5))
    write_annotations(log, rows)
    write_poses(log, {stamp: ego_pose(stamp) for stamp in sorted({*stamps, *shots})})
    mount = np.eye(4)
    mount[:3, :3] = [[0, 0, 1], [-1, 0, 0], [0, -1, 0]]
    cameras = ("ring_front_center", "ring_front_left")
    K = np.array([[100.0, 0, 50], [0, 100, 30], [0, 0, 1]])
    write_calibration(log, dict.fromkeys(cameras, mount), dict.fromkeys(cameras, K), (100, 60))
    for camera in cameras:
        for shot in shots:
            image = log / f"sensors/cameras/{camera}/{shot}.jpg"
            image.parent.mkdir(parents=True, exist_ok=True)
            image.touch()
