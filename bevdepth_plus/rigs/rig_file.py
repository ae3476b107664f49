"""The rig file: YAML or JSON that describes a rig, see docs/rig_files.md."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from bevdepth_plus.errors import DataError
from bevdepth_plus.files import atomic_write
from bevdepth_plus.rigs.poses import (
    EGO_R_CAM,
    angles_of,
    pose_matrix,
    pose_problem,
    quaternion_of,
    rotation_from_angles,
    rotation_from_quaternion,
)
from bevdepth_plus.rigs.rig import DISTORTION_MODELS, Distortion, Rig, RigCamera
from bevdepth_plus.rigs.yaml_fields import Fields, read_yaml

LIDAR_POSITION = (0.94, 0.0, 1.84)  # nuScenes'; the defaults of a LiDAR entry
LIDAR_YAW = -90.0  # degrees; the LiDAR's y axis points forward
MAX_DELAY = 200.0  # milliseconds
_ANGLES = ("yaw", "pitch", "roll")
_POSE = {"position", "quaternion", *_ANGLES}
_PINHOLE = {"fx", "fy", "cx", "cy"}
_TEXTS = ("image", "topic", "frame_id", "body_mask")
_CAMERA = {"name", "width", "height", "delay_ms", "distortion", "rectified", "rectification"}
_CAMERA |= {"ego_T_cam", *_POSE, *_PINHOLE, *_TEXTS}


def load_rig(
    path: str | Path, size: tuple[int, int] | None = None, check_poses: bool = True
) -> Rig:
    """Reads a rig file.

    Args:
        path: YAML or JSON file.
        size: (width, height) every camera is rescaled to; None keeps each camera's own.
        check_poses: False lets mirrored or scaled poses, and cameras below the ground, pass, for
            ``rig_checks`` to name all of them.

    Raises:
        DataError: the file is missing or a field is wrong; the message names the field.
    """
    path = Path(path)
    content = read_yaml(path, "rig file")
    if not isinstance(content, dict):
        raise DataError(f"{path}: expected a mapping with 'cameras', got {type(content).__name__}")
    entries = content.get("cameras")
    if not isinstance(entries, list) or not entries:
        raise DataError(f"{path}: cameras: expected a list of at least one camera")
    Fields(path, "rig", content).known({"cameras", "lidar"})
    cameras = [
        _camera(Fields(path, f"cameras[{index}]", entry), check_poses)
        for index, entry in enumerate(entries)
    ]
    names = [camera.name for camera in cameras]
    if len(set(names)) < len(names):
        raise DataError(f"{path}: cameras: two cameras have the same name, names are {names}")
    lidar = None
    if "lidar" in content:
        lidar = _lidar(Fields(path, "lidar", content["lidar"]))
    rig = Rig(tuple(cameras), lidar)
    return rig.resized(*size) if size else rig


def save_rig(rig: Rig, path: str | Path) -> None:
    """Writes a rig file, which :func:`load_rig` reads back to 1e-12 in every pose."""
    path = Path(path)
    content: dict[str, Any] = {"cameras": [_camera_entry(c, path.parent) for c in rig.cameras]}
    if rig.ego_T_lidar is not None:
        content["lidar"] = _pose_entry(rig.ego_T_lidar, np.eye(3))
    with atomic_write(path, "w") as file:
        yaml.safe_dump(content, file, sort_keys=False, default_flow_style=None, width=100)


def _camera(fields: Fields, check_poses: bool) -> RigCamera:
    fields.known(_CAMERA)
    name = fields.entry.get("name")
    if not isinstance(name, str) or not name.replace("_", "").isalnum():
        raise fields.fail("name", f"expected letters, digits and _, got {name!r}")
    if name == "LIDAR_TOP":
        raise fields.fail("name", "LIDAR_TOP is the LiDAR's name, choose another")
    width, height = fields.pixels("width"), fields.pixels("height")
    delay = fields.number("delay_ms", 0.0)
    if abs(delay) > MAX_DELAY:
        raise fields.fail("delay_ms", f"expected -{MAX_DELAY:g} to {MAX_DELAY:g}, got {delay}")
    texts = {key: fields.text(key) for key in _TEXTS if key in fields.entry}
    folder = fields.path.parent
    mask = texts.pop("body_mask", None)
    rotation = None
    if "rectification" in fields.entry:
        rotation = fields.matrix("rectification", ((3, 3),))
        problem = pose_problem(pose_matrix(rotation, np.zeros(3)))
        if problem:
            raise fields.fail("rectification", problem)
    rectified = None
    if "rectified" in fields.entry:
        inner = Fields(fields.path, f"{fields.where}.rectified", fields.entry["rectified"])
        inner.known(_PINHOLE)
        rectified = _intrinsics(inner, width, height)
    return RigCamera(
        name,
        width,
        height,
        _intrinsics(fields, width, height),
        _camera_pose(fields, check_poses),
        delay / 1000,
        _distortion(fields),
        rectified,
        rotation,
        body_mask=None if mask is None else folder / mask,
        folder=folder,
        **texts,
    )


def _intrinsics(fields: Fields, width: int, height: int) -> np.ndarray:
    fx = fields.number("fx")
    fy = fields.number("fy", fx)
    for key, value in (("fx", fx), ("fy", fy)):
        if value <= 0:
            raise fields.fail(key, f"expected a positive focal length, got {value}")
    cx, cy = fields.number("cx", width / 2), fields.number("cy", height / 2)
    return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1.0]])


def _distortion(fields: Fields) -> Distortion | None:
    if "distortion" not in fields.entry:
        return None
    inner = Fields(fields.path, f"{fields.where}.distortion", fields.entry["distortion"])
    inner.known({"model", "d"})
    model = inner.entry.get("model")
    if model not in DISTORTION_MODELS:
        raise inner.fail("model", f"expected one of {', '.join(DISTORTION_MODELS)}, got {model!r}")
    coefficients = inner.list_of_numbers("d")
    try:
        return Distortion(model, tuple(coefficients))
    except ValueError as error:
        raise inner.fail("d", str(error)) from None


def _camera_pose(fields: Fields, check: bool) -> np.ndarray:
    if "ego_T_cam" in fields.entry:
        other = next((key for key in sorted(_POSE) if key in fields.entry), None)
        if other:
            raise fields.fail("ego_T_cam", f"give either it or {other}, not both")
        matrix = fields.matrix("ego_T_cam", ((3, 4), (4, 4)))
        pose = np.vstack([matrix, [0, 0, 0, 1.0]]) if len(matrix) == 3 else matrix
        height, where = pose[2, 3], "ego_T_cam"
        problem = pose_problem(pose)
        if check and problem:
            raise fields.fail("ego_T_cam", problem)
    else:
        pose = pose_matrix(_rotation(fields, EGO_R_CAM), fields.numbers("position", 3))
        height, where = pose[2, 3], "position"
    if check and height <= 0:
        raise fields.fail(where, f"z must be above the ground (positive), got {height}")
    return pose


def _rotation(fields: Fields, own_axes: np.ndarray, usual_yaw: float = 0.0) -> np.ndarray:
    """Angles turn the sensor from where its ``own_axes`` look ahead; a quaternion is whole."""
    angles = [key for key in _ANGLES if key in fields.entry]
    if "quaternion" not in fields.entry:
        yaw = fields.number("yaw", usual_yaw)
        pitch, roll = fields.number("pitch", 0.0), fields.number("roll", 0.0)
        return rotation_from_angles(yaw, pitch, roll) @ own_axes
    if angles:
        raise fields.fail("quaternion", f"give either it or {angles[0]}, not both")
    return rotation_from_quaternion(*fields.quaternion("quaternion"))


def _lidar(fields: Fields) -> np.ndarray:
    fields.known(_POSE)
    position = fields.numbers("position", 3, LIDAR_POSITION)
    return pose_matrix(_rotation(fields, np.eye(3), LIDAR_YAW), position)


def _camera_entry(camera: RigCamera, folder: Path) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": camera.name, "width": camera.width, "height": camera.height}
    entry |= _pinhole_entry(camera.intrinsics)
    if camera.distortion is not None:
        entry["distortion"] = {
            "model": camera.distortion.model,
            "d": [float(value) for value in camera.distortion.coefficients],
        }
    if camera.rectified_intrinsics is not None:
        entry["rectified"] = _pinhole_entry(camera.rectified_intrinsics)
    if camera.rectification is not None:
        entry["rectification"] = camera.rectification.tolist()
    entry |= _pose_entry(camera.ego_T_cam, EGO_R_CAM)
    if camera.delay:
        entry["delay_ms"] = float(camera.delay * 1000)
    if camera.image is not None:
        entry["image"] = os.path.relpath(camera.folder.resolve() / camera.image, folder.resolve())
    if camera.body_mask is not None:
        entry["body_mask"] = os.path.relpath(camera.body_mask.resolve(), folder.resolve())
    entry |= {key: getattr(camera, key) for key in ("topic", "frame_id") if getattr(camera, key)}
    return entry


def _pinhole_entry(intrinsics: np.ndarray) -> dict[str, float]:
    places = {"fx": (0, 0), "fy": (1, 1), "cx": (0, 2), "cy": (1, 2)}
    return {key: float(intrinsics[place]) for key, place in places.items()}


def _pose_entry(pose: np.ndarray, own_axes: np.ndarray) -> dict[str, Any]:
    """Position and angles, which people can read; a quaternion where angles lose something."""
    entry: dict[str, Any] = {"position": pose[:3, 3].tolist()}
    quaternion = quaternion_of(pose[:3, :3])  # of a matrix from float32, the nearest rotation
    rotation = rotation_from_quaternion(*quaternion)
    angles = [round(angle, 12) for angle in angles_of(rotation @ own_axes.T)]
    if np.abs(rotation_from_angles(*angles) @ own_axes - rotation).max() < 1e-12:
        return entry | dict(zip(_ANGLES, angles, strict=True))
    return entry | {"quaternion": list(quaternion)}
