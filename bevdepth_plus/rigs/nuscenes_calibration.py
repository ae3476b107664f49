"""nuScenes calibration to a rig and back: info files and ``calibrated_sensor.json``.

nuScenes' ego frame is ours, and its camera matrices are taken as they are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bevdepth_plus.errors import DataError
from bevdepth_plus.files import atomic_folder, write_json
from bevdepth_plus.rigs.distortion import rectified
from bevdepth_plus.rigs.nuscenes_tables import linked, table
from bevdepth_plus.rigs.poses import (
    pose_matrix,
    quaternion_of,
    rotation_from_quaternion,
)
from bevdepth_plus.rigs.rig import Rig, RigCamera
from bevdepth_plus.rigs.yaml_fields import Fields

LIDAR = "LIDAR_TOP"


def rig_from_info(info: Mapping, sizes: Mapping[str, tuple[int, int]]) -> Rig:
    """The rig of one sample of an info file, as ``read_info_file`` returns it.

    Where the file has ``cam2ego``, that is the mount. Else the pose comes from ``lidar2cam``, which
    also holds what the vehicle moved between sweep and shot.

    Args:
        info: an entry of ``data_list``.
        sizes: camera -> width and height of its images, pixels.

    Raises:
        DataError: a camera lacks its matrices.
    """
    lidar = np.array(info["lidar_points"]["lidar2ego"], dtype=np.float64)
    cameras = []
    for name, camera in info["images"].items():
        where = f"sample {info['token']}: images.{name}"
        try:
            pose = camera.get("cam2ego")
            if pose is None:
                pose = lidar @ np.linalg.inv(np.array(camera["lidar2cam"], dtype=np.float64))
            intrinsics = np.array(camera["cam2img"], dtype=np.float64)[:3, :3]
            delay = camera.get("timestamp", info["timestamp"]) - info["timestamp"]
            cameras.append(RigCamera(name, *sizes[name], intrinsics, np.array(pose), float(delay)))
        except KeyError as missing:
            raise DataError(f"{where} lacks {missing}; add it to the info file") from None
        except ValueError as error:
            raise DataError(f"{where}: {error}; make the info file anew") from None
    return Rig(tuple(cameras), lidar)


def rig_from_tables(folder: str | Path, scene: str | None = None) -> Rig:
    """The rig of a scene's first key frame, from a nuScenes version folder (``v1.0-mini``).

    The calibration differs from vehicle to vehicle and from log to log. Where the folder has no
    ``sample.json``, every channel must have one calibration, with its image size beside it, as
    :func:`rig_to_tables` writes it.

    Args:
        folder: with ``calibrated_sensor.json`` and ``sensor.json``.
        scene: name of a scene; None: the first.

    Raises:
        DataError: a table is missing or damaged, or there is no such scene.
    """
    folder = Path(folder)
    sensors = {record["token"]: record for record in table(folder / "sensor.json")}
    calibrated = {record["token"]: record for record in table(folder / "calibrated_sensor.json")}
    if (folder / "sample.json").exists():
        shots = _first_key_frame(folder, scene, len(sensors))
    else:
        shots = [{"calibrated_sensor_token": token} for token in calibrated]
    cameras: list[RigCamera] = []
    poses: dict[str, np.ndarray] = {}
    times: dict[str, int] = {}
    for shot in shots:
        record = linked(folder / "calibrated_sensor.json", calibrated, shot, "calibrated_sensor")
        sensor = linked(folder / "sensor.json", sensors, record, "sensor")
        name = sensor["channel"]
        if name in poses:
            raise DataError(
                f"{folder}/calibrated_sensor.json: {name} has several calibrations, and there is "
                "no sample.json beside it that says whose they are"
            )
        fields = Fields(folder / "calibrated_sensor.json", name, {**shot, **record})
        rotation = rotation_from_quaternion(*fields.quaternion("rotation"))
        poses[name] = pose_matrix(rotation, fields.numbers("translation", 3))
        times[name] = shot.get("timestamp", 0)
        if sensor["modality"] == "camera":
            intrinsics = fields.matrix("camera_intrinsic", ((3, 3),))
            size = fields.pixels("width"), fields.pixels("height")
            cameras.append(RigCamera(name, *size, intrinsics, poses[name]))
    if not cameras:
        raise DataError(f"{folder}/calibrated_sensor.json: no camera in it")
    return Rig(tuple(_with_delays(cameras, times)), poses.get(LIDAR))


def rig_to_tables(rig: Rig, folder: str | Path) -> None:
    """Writes ``sensor.json`` and ``calibrated_sensor.json`` into a new folder.

    nuScenes knows pinhole cameras only: a distorted camera is written as it is after undistortion.
    Its records have ``width`` and ``height`` beside nuScenes' own fields.

    Raises:
        DataError: the folder exists and holds other tables.
    """
    folder = Path(folder)
    names = {"sensor.json", "calibrated_sensor.json"}
    if folder.exists() and (not folder.is_dir() or {p.name for p in folder.iterdir()} - names):
        raise DataError(f"{folder} exists and holds other files; choose a new folder")
    sensors, records = [], []
    entries: list[tuple[str, str, np.ndarray, RigCamera | None]] = [
        (camera.name, "camera", camera.ego_T_cam, camera)
        for camera in (rectified(each) for each in rig.cameras)
    ]
    if rig.ego_T_lidar is not None:
        entries.append((LIDAR, "lidar", rig.ego_T_lidar, None))
    for name, modality, pose, camera in entries:
        token = _token("sensor", name)
        sensors.append({"token": token, "channel": name, "modality": modality})
        record: dict[str, Any] = {
            "token": _token("calibrated_sensor", name, pose.tobytes()),
            "sensor_token": token,
            "translation": pose[:3, 3].tolist(),
            "rotation": list(quaternion_of(pose[:3, :3])),
            "camera_intrinsic": [] if camera is None else camera.intrinsics.tolist(),
        }
        if camera is not None:
            record |= {"width": camera.width, "height": camera.height}
        records.append(record)
    with atomic_folder(folder) as new:
        write_json(new / "sensor.json", sensors, indent=0)
        write_json(new / "calibrated_sensor.json", records, indent=0)


def _with_delays(cameras: list[RigCamera], times: Mapping[str, int]) -> Iterator[RigCamera]:
    for camera in cameras:
        delay = (times[camera.name] - times[LIDAR]) / 1e6 if times.get(LIDAR) else 0.0
        yield replace(camera, delay=delay)


def _first_key_frame(folder: Path, scene: str | None, count: int) -> list[dict]:
    """The data of a scene's first key frame: ``count`` records, or as many as there are."""
    scenes = {record["name"]: record for record in table(folder / "scene.json")}
    if not scenes or (scene is not None and scene not in scenes):
        raise DataError(f"{folder}/scene.json has no scene {scene!r}; it has {', '.join(scenes)}")
    chosen = scenes[scene] if scene else next(iter(scenes.values()))
    shots = []
    for record in table(folder / "sample_data.json"):
        if record["sample_token"] == chosen["first_sample_token"] and record["is_key_frame"]:
            shots.append(record)
            if len(shots) == count:
                break
    if not shots:
        raise DataError(f"{folder}/sample_data.json has no data of scene {chosen['name']}")
    return shots


def _token(*parts: object) -> str:
    return hashlib.md5("/".join(map(str, parts)).encode()).hexdigest()
