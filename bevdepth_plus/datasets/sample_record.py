"""From an info file's nested lists to compact arrays: one checked record a sample.

A record is what the dataset keeps in memory. It is plain numpy (no mm* import) and self-contained:
the past frames of a sample are copied into it, so that any subset of the records is usable.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import path as osp

import numpy as np

from bevdepth_plus.datasets.ground_truth import num_points
from bevdepth_plus.errors import DataError

Record = dict
CALIBRATION_HINT = "repair the calibration and make the info file anew"
# Infos written by mmdet3d hold float32 matrices; a real calibration is far inside this, a
# forgotten transpose or a scaled matrix far outside.
ORTHONORMAL_TOLERANCE = 1e-2


def parse_sample(
    info: Mapping,
    camera_names: Sequence[str],
    label_map: Mapping[int, int],
    camera_folders: Mapping[str, str],
    lidar_folder: str,
) -> Record:
    """Checks one sample of an info file and packs it into arrays.

    Args:
        info: One entry of ``data_list``.
        camera_names: N cameras to take, in this order.
        label_map: Label in the info file to label in the config; both may be -1 (ignored).
        camera_folders: Folder of each camera's images.
        lidar_folder: Folder of the point clouds.

    Returns:
        ``token, prev, scene_token, timestamp, ego2global, lidar2ego, lidar_path, cam_names``;
        ``img_path`` (N strings); ``intrinsics`` [N, 3, 3]; ``ego_T_cam`` [N, 4, 4] from each
        camera at its own shot into the ego frame at the LiDAR's time; ``global_T_cam`` [N, 4, 4];
        ``boxes`` [M, 9] (x, y, z, l, w, h, yaw, vx, vy) in the LiDAR frame, gravity centre;
        ``labels`` [M]; ``num_points`` [M], LiDAR and radar, -1: unknown. Matrices are float64.

    Raises:
        DataError: If a camera is missing, a calibration is not finite or not invertible, a box is
            not finite, or a label is unknown. The message names sample, camera and field.
    """
    token = info["token"]
    cameras = _cameras(info, camera_names)
    lidar = info["lidar_points"]
    _require(lidar, ("lidar_path", "lidar2ego"), f"sample {token}: lidar_points")
    ego2global = rigid_matrices([info["ego2global"]], [f"sample {token}: ego2global"])[0]
    lidar2ego = rigid_matrices([lidar["lidar2ego"]], [f"sample {token}: lidar_points.lidar2ego"])[0]
    where = [f"sample {token}: images.{name}" for name in camera_names]
    lidar2cam = rigid_matrices(
        [camera["lidar2cam"] for camera in cameras], [f"{place}.lidar2cam" for place in where]
    )
    ego_T_cam = lidar2ego @ np.linalg.inv(lidar2cam)
    return {
        "token": token,
        "prev": info.get("prev"),
        "scene_token": info.get("scene_token"),
        "timestamp": float(info["timestamp"]),
        "ego2global": ego2global,
        "lidar2ego": lidar2ego,
        "lidar_path": osp.join(lidar_folder, lidar["lidar_path"]),
        "cam_names": list(camera_names),
        "img_path": [
            osp.join(camera_folders[name], camera["img_path"])
            for name, camera in zip(camera_names, cameras, strict=True)
        ],
        "intrinsics": intrinsic_matrices(
            [camera["cam2img"] for camera in cameras], [f"{place}.cam2img" for place in where]
        ),
        "ego_T_cam": ego_T_cam,
        "global_T_cam": _through_own_poses(cameras, where, ego2global @ ego_T_cam),
        **_objects(info, label_map),
    }


def link_frames(record: Record, by_token: Mapping[str, Record], num_frames: int) -> Record:
    """Adds the past key frames to a record, placed in the key frame's ego frame.

    A past frame that does not exist (start of a scene) is the key frame again, with no motion, and
    its ``frame_mask`` is False.

    Args:
        record: From ``parse_sample``.
        by_token: All records of the file by token, for the chain of ``prev`` tokens.
        num_frames: S, with time 0 the key frame and growing into the past.

    Returns:
        A new record: ``img_path`` has S * N entries, frame-major; ``intrinsics`` is [S, N, 3, 3];
        ``ego_T_cam`` [S, N, 4, 4] maps each frame's cameras into the *key* ego frame;
        ``frame_mask`` [S] bool; ``time_offset`` [S], seconds relative to the key frame (zero or
        negative). ``global_T_cam`` and ``prev`` are gone.
    """
    linked = {key: value for key, value in record.items() if key not in ("global_T_cam", "prev")}
    frames = _past_frames(record, by_token, num_frames)
    ego_T_global = np.linalg.inv(record["ego2global"])
    linked["img_path"] = [path for frame, _ in frames for path in frame["img_path"]]
    linked["intrinsics"] = np.stack([frame["intrinsics"] for frame, _ in frames])
    linked["ego_T_cam"] = np.stack(
        [
            record["ego_T_cam"] if frame is record else ego_T_global @ frame["global_T_cam"]
            for frame, _ in frames
        ]
    )
    linked["frame_mask"] = np.array([exists for _, exists in frames])
    linked["time_offset"] = np.array(
        [frame["timestamp"] - record["timestamp"] for frame, _ in frames]
    )
    return linked


def rigid_matrices(matrices: Sequence, where: Sequence[str]) -> np.ndarray:
    """Stacks 4x4 rigid transforms and checks them.

    Args:
        matrices: K nested lists or arrays, each 4x4.
        where: What to call each of them in an error.

    Returns:
        [K, 4, 4] float64.

    Raises:
        DataError: If one has another shape, is not finite or its rotation is not one.
    """
    stack = _stack(matrices, where, (4, 4))
    rotations = stack[:, :3, :3]
    off = np.abs(rotations @ rotations.transpose(0, 2, 1) - np.eye(3)).max(axis=(1, 2))
    determinants = np.linalg.det(rotations)
    off_last_row = np.abs(stack[:, 3] - [0, 0, 0, 1]).max(axis=1)
    bad = (off > ORTHONORMAL_TOLERANCE) | (determinants < 0) | (off_last_row > 1e-6)
    for index in np.flatnonzero(bad):
        raise DataError(
            f"{where[index]} is not a rigid transform (det R = {determinants[index]:.4g}, expected "
            f"1; last row {stack[index, 3].tolist()}); {CALIBRATION_HINT}"
        )
    return stack


def intrinsic_matrices(matrices: Sequence, where: Sequence[str]) -> np.ndarray:
    """Stacks 3x3 pinhole matrices (or the upper left of larger ones) and checks them.

    Returns:
        [K, 3, 3] float64.

    Raises:
        DataError: If one is too small, not finite, singular or has a focal length <= 0.
    """
    stack = _stack([np.asarray(m, dtype=np.float64)[:3, :3] for m in matrices], where, (3, 3))
    focal = stack[:, [0, 1], [0, 1]]
    bad = (focal <= 0).any(axis=1) | (np.abs(np.linalg.det(stack)) < 1e-9)
    for index in np.flatnonzero(bad):
        raise DataError(
            f"{where[index]} cannot be inverted or has a focal length <= 0 (fx, fy = "
            f"{focal[index].tolist()}); {CALIBRATION_HINT}"
        )
    return stack


def _stack(matrices: Sequence, where: Sequence[str], shape: tuple[int, int]) -> np.ndarray:
    for matrix, place in zip(matrices, where, strict=True):
        array = np.asarray(matrix, dtype=np.float64)
        if array.shape != shape:
            raise DataError(f"{place} must be {shape}, got {array.shape}; {CALIBRATION_HINT}")
        if not np.isfinite(array).all():
            raise DataError(f"{place} is not finite; {CALIBRATION_HINT}")
    return np.asarray(matrices, dtype=np.float64).reshape(-1, *shape)


def _require(entry: Mapping, keys: Sequence[str], where: str) -> None:
    missing = [key for key in keys if key not in entry]
    if missing:
        raise DataError(
            f"{where} lacks {', '.join(missing)}; make the info file with tools/create_data.py"
        )


def _cameras(info: Mapping, camera_names: Sequence[str]) -> list[Mapping]:
    images = info["images"]
    for name in camera_names:
        if name not in images:
            raise DataError(
                f"sample {info['token']} has no camera {name} (it has {', '.join(images)}); set "
                "the dataset's camera_names to cameras that every sample has"
            )
        place = f"sample {info['token']}: images.{name}"
        _require(images[name], ("img_path", "cam2img", "lidar2cam"), place)
    return [images[name] for name in camera_names]


def _through_own_poses(
    cameras: list[Mapping], where: list[str], fallback: np.ndarray
) -> np.ndarray:
    """``global_T_cam`` [N, 4, 4]; plain v1.1 infos lack the poses and have it by ``lidar2cam``."""
    if not all("ego2global" in camera and "cam2ego" in camera for camera in cameras):
        return fallback
    poses = [camera["ego2global"] for camera in cameras]
    mounts = [camera["cam2ego"] for camera in cameras]
    return rigid_matrices(poses, [f"{place}.ego2global" for place in where]) @ rigid_matrices(
        mounts, [f"{place}.cam2ego" for place in where]
    )


def _past_frames(
    record: Record, by_token: Mapping[str, Record], num_frames: int
) -> list[tuple[Record, bool]]:
    frames = [(record, True)]
    current: Record | None = record
    while len(frames) < num_frames:
        current = by_token.get(current["prev"]) if current is not None else None
        frames.append((record, False) if current is None else (current, True))
    return frames


def _objects(info: Mapping, label_map: Mapping[int, int]) -> dict[str, np.ndarray]:
    instances = info.get("instances") or []
    for index, instance in enumerate(instances):
        where = f"sample {info['token']}: instances[{index}]"
        _require(instance, ("bbox_3d", "bbox_label_3d"), where)
    labels = [instance["bbox_label_3d"] for instance in instances]
    unknown = sorted(set(labels) - set(label_map))
    if unknown:
        raise DataError(
            f"sample {info['token']}: bbox_label_3d {unknown[0]} is not in metainfo.categories; "
            "add its class there, or give the object the label -1 to ignore it"
        )
    boxes = np.zeros((len(instances), 9))
    for row, instance in zip(boxes, instances, strict=True):
        row[:7] = instance["bbox_3d"]
        row[7:] = instance.get("velocity", (0.0, 0.0))
    # The devkit has no velocity for objects seen in one key frame only; as BEVDepth does, 0.
    boxes[:, 7:] = np.nan_to_num(boxes[:, 7:], nan=0.0)
    if not np.isfinite(boxes).all():
        index = int(np.flatnonzero(~np.isfinite(boxes).all(axis=1))[0])
        raise DataError(
            f"sample {info['token']}: instances[{index}] has a box or velocity that is not finite; "
            "repair the annotation and make the info file anew"
        )
    return {
        "boxes": boxes,
        "labels": np.array([label_map[label] for label in labels], dtype=np.int64),
        "num_points": np.array([num_points(instance) for instance in instances], dtype=np.int64),
    }
