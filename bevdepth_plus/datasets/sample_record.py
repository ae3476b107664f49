"""From an info file's nested lists to compact arrays: one checked record a sample.

A record is what the dataset keeps in memory. It is plain numpy (no mm* import) and self-contained:
the past frames of a sample are copied into it, so that any subset of the records is usable.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Integral
from os import path as osp

import numpy as np

from bevdepth_plus.datasets.fields import intrinsic_matrices, mapping, rigid_matrices, short, text
from bevdepth_plus.datasets.ground_truth import read_objects
from bevdepth_plus.errors import DataError

Record = dict
NUSCENES_POINT_NUMBERS = 5  # x, y, z, intensity, ring
ONLY_UNLINKED = ("global_T_cam", "cameras_present", "prev")  # what linking frames uses up
MAX_STEP = 10.0  # seconds from one key frame to the next of a scene


def parse_sample(
    info: Mapping,
    camera_names: Sequence[str],
    label_map: Mapping[int, int],
    camera_folders: Mapping[str, str],
    lidar_folder: str,
    stand_ins: Mapping[str, Mapping] | None = None,
) -> Record:
    """Checks one sample of an info file and packs it into arrays.

    Args:
        info: One entry of ``data_list``, as ``read_info_file`` returns it.
        camera_names: N cameras to take, in this order.
        label_map: Label in the info file to label in the config; both may be -1 (ignored).
        camera_folders: Folder of each camera's images.
        lidar_folder: Folder of the point clouds.
        stand_ins: For a camera that this sample lacks, its entry in another sample: the camera
            then counts as out. Without one, a missing camera is an error.

    Returns:
        ``token, prev, scene_token, timestamp, ego2global, lidar2ego, lidar_path`` (None without a
        sweep), ``num_pts_feats`` (numbers a LiDAR point), ``cam_names``; ``img_path`` (N strings;
        None for a camera that is out); ``intrinsics`` [N, 3, 3]; ``ego_T_cam`` [N, 4, 4] from each
        camera at its own shot into the ego frame at the LiDAR's time; ``global_T_cam`` [N, 4, 4];
        ``cameras_present`` [N] bool; ``map_layers``, layer -> mask file;
        ``labelled``, False if the sample has no ``instances`` at all;
        ``boxes`` [M, 9] (x, y, z, l, w, h, yaw, vx, vy) in the LiDAR frame, gravity centre, an
        unknown velocity NaN; ``labels`` [M]; ``num_points`` [M], LiDAR and radar, -1: unknown.
        Matrices are float64.

    Raises:
        DataError: If a camera is missing, a calibration is not finite or not invertible, a box is
            not finite, or a label is unknown. The message names sample, camera and field.
    """
    token = info["token"]
    present = [name in info["images"] for name in camera_names]
    cameras = _cameras(info, camera_names, stand_ins or {})
    lidar = mapping(info["lidar_points"], f"sample {token}: lidar_points", ("lidar2ego",))
    ego2global = rigid_matrices([info["ego2global"]], [f"sample {token}: ego2global"])[0]
    lidar2ego = rigid_matrices([lidar["lidar2ego"]], [f"sample {token}: lidar_points.lidar2ego"])[0]
    where = [f"sample {token}: images.{name}" for name in camera_names]
    lidar2cam = rigid_matrices(
        [camera["lidar2cam"] for camera in cameras], [f"{place}.lidar2cam" for place in where]
    )
    ego_T_cam = lidar2ego @ np.linalg.inv(lidar2cam)
    instances = info.get("instances")
    return {
        "token": token,
        "prev": info.get("prev"),
        "scene_token": info.get("scene_token"),
        "timestamp": float(info["timestamp"]),
        "ego2global": ego2global,
        "lidar2ego": lidar2ego,
        "lidar_path": _lidar_path(lidar, lidar_folder, f"sample {token}: lidar_points"),
        "num_pts_feats": _point_numbers(lidar, f"sample {token}: lidar_points"),
        "cam_names": list(camera_names),
        "img_path": [
            osp.join(camera_folders[name], text(camera["img_path"], f"{place}.img_path"))
            if there
            else None
            for name, camera, place, there in zip(
                camera_names, cameras, where, present, strict=True
            )
        ],
        "intrinsics": intrinsic_matrices(
            [camera["cam2img"] for camera in cameras], [f"{place}.cam2img" for place in where]
        ),
        "ego_T_cam": ego_T_cam,
        "global_T_cam": _through_own_poses(cameras, where, ego2global @ ego_T_cam),
        "cameras_present": np.array(present),
        "map_layers": {
            layer: text(file, f"sample {token}: map_layers.{layer}")
            for layer, file in mapping(
                info.get("map_layers", {}), f"sample {token}: map_layers", ()
            ).items()
        },
        "labelled": instances is not None,
        **read_objects(_list(instances, f"sample {token}"), label_map, f"sample {token}"),
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
        ``frame_lidar_path`` has S sweeps, None where a frame has none or does not exist;
        ``key_T_lidar`` [S, 4, 4] maps each frame's LiDAR into the key ego frame;
        ``camera_mask`` [S, N] and ``frame_mask`` [S] bool; ``time_offset`` [S], seconds relative to
        the key frame (zero or negative). ``global_T_cam``, ``cameras_present`` and ``prev`` are
        gone.

    Raises:
        DataError: A past frame is of another scene, is not earlier, or is more than ``MAX_STEP``
            seconds away.
    """
    linked = {key: value for key, value in record.items() if key not in ONLY_UNLINKED}
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
    linked["frame_lidar_path"] = [
        frame["lidar_path"] if exists else None for frame, exists in frames
    ]
    linked["key_T_lidar"] = np.stack(
        [
            record["lidar2ego"]
            if frame is record
            else ego_T_global @ frame["ego2global"] @ frame["lidar2ego"]
            for frame, _ in frames
        ]
    )
    linked["camera_mask"] = np.stack([frame["cameras_present"] for frame, _ in frames])
    linked["frame_mask"] = np.array([exists for _, exists in frames])
    linked["time_offset"] = np.array(
        [frame["timestamp"] - record["timestamp"] for frame, _ in frames]
    )
    return linked


def previous_record(record: Record, by_token: Mapping[str, Record]) -> Record | None:
    """The key frame before this one; None at the start of a scene and where the file lacks it.

    Raises:
        DataError: It is of another scene, is not earlier, or is more than ``MAX_STEP`` seconds
            away.
    """
    earlier = by_token.get(record["prev"])
    if earlier is not None:
        _require_one_drive(record, earlier)
    return earlier


def _cameras(
    info: Mapping, camera_names: Sequence[str], stand_ins: Mapping[str, Mapping]
) -> list[Mapping]:
    images = info["images"]
    cameras = []
    for name in camera_names:
        if name not in images and name not in stand_ins:
            raise DataError(
                f"sample {info['token']} has no camera {name} (it has {', '.join(images)}); set "
                "the dataset's camera_names to cameras that the file has"
            )
        place = f"sample {info['token']}: images.{name}"
        camera = images[name] if name in images else stand_ins[name]
        cameras.append(mapping(camera, place, ("img_path", "cam2img", "lidar2cam")))
    return cameras


def _lidar_path(lidar: Mapping, folder: str, where: str) -> str | None:
    path = lidar.get("lidar_path")
    return None if path is None else osp.join(folder, text(path, f"{where}.lidar_path"))


def _point_numbers(lidar: Mapping, where: str) -> int:
    count = lidar.get("num_pts_feats", NUSCENES_POINT_NUMBERS)
    if not isinstance(count, Integral) or isinstance(count, bool) or count < 3:
        raise DataError(
            f"{where}.num_pts_feats must be the numbers of a point, 3 or more, got {short(count)}; "
            "correct it and make the info file anew"
        )
    return int(count)


def _list(instances: object, where: str) -> Sequence:
    if instances is None:
        return ()
    if not isinstance(instances, list | tuple):
        raise DataError(
            f"{where}: instances must be a list, got {short(instances)}; make the info file anew"
        )
    return instances


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
        current = None if current is None else previous_record(current, by_token)
        frames.append((record, False) if current is None else (current, True))
    return frames


def _require_one_drive(record: Record, earlier: Record) -> None:
    """A past frame must come from the same scene, shortly before."""
    place = f"sample {record['token']}: prev names sample {earlier['token']}"
    remedy = "set prev to the sample before, or to None at the start of a scene"
    if record["scene_token"] != earlier["scene_token"]:
        raise DataError(
            f"{place} of scene {earlier['scene_token']}, expected scene {record['scene_token']}; "
            f"{remedy}"
        )
    step = record["timestamp"] - earlier["timestamp"]
    if not 0 < step <= MAX_STEP:
        raise DataError(
            f"{place}, which is {step:g} s earlier, expected more than 0 and at most {MAX_STEP:g} "
            f"s; {remedy}"
        )
