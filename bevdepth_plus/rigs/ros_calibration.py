"""ROS calibration: ``camera_info`` files and static transforms to a rig, and back.

ROS counts pixel centres at integers (as OpenCV, which calibrates), this project at integers + 0.5:
the principal point moves by half a pixel on the way in and back on the way out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from bevdepth_plus.errors import DataError
from bevdepth_plus.files import atomic_folder, atomic_write
from bevdepth_plus.rigs.poses import EGO_R_CAM, pose_matrix
from bevdepth_plus.rigs.rig import Distortion, Rig, RigCamera
from bevdepth_plus.rigs.static_transforms import (
    StaticTransform,
    chain,
    read_static_transforms,
    save_static_transforms,
)
from bevdepth_plus.rigs.yaml_fields import Fields, read_yaml

BASE_FRAME = "base_link"  # Autoware's is our ego frame: on the ground under the rear axle
LIDAR_FRAME = "lidar_top"
AXES = ("auto", "optical", "body")
_MODELS = {  # ROS' name -> ours
    "plumb_bob": "plumb_bob",
    "rational_polynomial": "rational",
    "rational": "rational",
    "equidistant": "fisheye",
    "fisheye": "fisheye",
}
_TO_ROS = {"plumb_bob": "plumb_bob", "rational": "rational_polynomial", "fisheye": "equidistant"}


@dataclass(frozen=True, eq=False)
class CameraInfo:
    """What a ``camera_info`` says.

    Attributes:
        name: ``camera_name`` of the calibration file, or None.
        frame_id: of the message's header, or None.
        width, height: pixels.
        intrinsics: ``[3, 3]``, this project's pixel centres.
        distortion: None where all coefficients are 0.
        rectification: ``[3, 3]``, or None where it is the identity.
        rectified_intrinsics: ``[3, 3]`` of the projection matrix, or None where it says nothing.
    """

    name: str | None
    frame_id: str | None
    width: int
    height: int
    intrinsics: np.ndarray
    distortion: Distortion | None
    rectification: np.ndarray | None
    rectified_intrinsics: np.ndarray | None


def read_camera_info(path: str | Path) -> CameraInfo:
    """Reads camera_calibration's YAML file, or a message as ``ros2 topic echo --once`` prints it.

    Raises:
        DataError: the file cannot be read or a field is wrong; the message names the field.
    """
    path = Path(path)
    return camera_info_of(_first(read_yaml(path, "camera_info")), path)


def camera_info_of(entry: Any, source: str | Path) -> CameraInfo:
    """A calibration's content: the mapping of a file or of a message.

    Args:
        entry: the mapping.
        source: what errors call it: the file, or the topic.

    Raises:
        DataError: a field is wrong; the message names the field.
    """
    fields = Fields(Path(source), "camera_info", entry)
    is_message = "image_width" not in fields.entry
    width, height = ("width", "height") if is_message else ("image_width", "image_height")
    letters = {key.lower(): key for key in map(str, fields.entry)}
    keys = ("k", "d", "r", "p") if is_message else _LONG_KEYS
    k, d, r, p = (_numbers(fields, letters.get(key, key)) for key in keys)
    intrinsics = _with_our_centres(_reshaped(fields, keys[0], k, (3, 3)))
    rectification = _reshaped(fields, keys[2], r, (3, 3)) if r.any() else np.eye(3)
    projection = _reshaped(fields, keys[3], p, (3, 4)) if p.any() else np.zeros((3, 4))
    header = fields.entry.get("header")
    frame = header.get("frame_id") if isinstance(header, dict) else None
    name = fields.entry.get("camera_name")
    return CameraInfo(
        None if name is None else str(name),
        None if not frame else str(frame).lstrip("/"),
        fields.pixels(width),
        fields.pixels(height),
        intrinsics,
        _distortion(fields, keys[1], d),
        None if np.allclose(rectification, np.eye(3), atol=1e-9) else rectification,
        _with_our_centres(projection[:, :3]) if projection[0, 0] > 0 else None,
    )


_LONG_KEYS = (
    "camera_matrix",
    "distortion_coefficients",
    "rectification_matrix",
    "projection_matrix",
)


def rig_from_ros(
    camera_infos: Sequence[str | Path],
    transforms: str | Path,
    base: str = BASE_FRAME,
    frames: Mapping[str, str] | None = None,
    axes: str = "auto",
    lidar: str | None = None,
) -> Rig:
    """A rig of ROS calibration files.

    Args:
        camera_infos: one file a camera. The camera's name is its ``camera_name``, else the file's.
        transforms: file of static transforms.
        base: frame of the vehicle; it must be our ego frame.
        frames: camera name -> frame of its pose. Default: the header's ``frame_id``, else the
            frame of the camera's name, with ``_optical_frame`` behind it if there is one.
        axes: of these frames. ``optical``: x right, y down, z forward (REP 103). ``body``: x
            forward, y left, z up. ``auto``: optical if the frame's name says ``optical``, else
            whichever of the two looks nearer to level.
        lidar: frame of the LiDAR; None: no LiDAR.

    Raises:
        DataError: a file cannot be read, a field is wrong, a frame is not known, or two cameras
            have one name.
    """
    tree = read_static_transforms(transforms)
    cameras: list[RigCamera] = []
    for path in camera_infos:
        info = read_camera_info(path)
        name = channel(info.name or Path(path).stem)
        if name in [camera.name for camera in cameras]:
            raise DataError(f"{path}: a second camera {name}; give each its own camera_name")
        cameras.append(_camera(info, name, tree, base, (frames or {}).get(name), axes))
    return Rig(tuple(cameras), None if lidar is None else chain(tree, base, lidar))


def rig_to_ros(rig: Rig, folder: str | Path, base: str = BASE_FRAME) -> None:
    """Writes ``CAMERA.yaml`` for every camera, and ``static_transforms.yaml``.

    Lost on the way: delays, image patterns, topics and body masks, which ROS' files do not have.

    Raises:
        DataError: the folder exists and holds something else.
    """
    folder = Path(folder)
    names = {f"{name}.yaml" for name in rig.names} | {"static_transforms.yaml"}
    if folder.exists() and (not folder.is_dir() or {p.name for p in folder.iterdir()} - names):
        raise DataError(f"{folder} exists and holds other files; choose a new folder")
    transforms = [
        StaticTransform(base, c.frame_id or f"{c.name}_optical_frame", c.ego_T_cam)
        for c in rig.cameras
    ]
    if rig.ego_T_lidar is not None:
        transforms.append(StaticTransform(base, LIDAR_FRAME, rig.ego_T_lidar))
    with atomic_folder(folder) as new:
        for camera in rig.cameras:
            with atomic_write(new / f"{camera.name}.yaml", "w") as file:
                yaml.safe_dump(_calibration_file(camera), file, sort_keys=False, width=120)
        save_static_transforms(transforms, new / "static_transforms.yaml")


def channel(name: str) -> str:
    """A name as rig files take it: letters, digits and _."""
    cleaned = "".join(letter if letter.isalnum() else "_" for letter in name).strip("_")
    return cleaned or "camera"


def _camera(
    info: CameraInfo,
    name: str,
    tree: Sequence[StaticTransform],
    base: str,
    frame: str | None,
    axes: str,
) -> RigCamera:
    frame = frame or info.frame_id or _frame_of(info.name or name, tree)
    pose = chain(tree, base, frame)
    return mounted_camera(info, name, pose, _is_body(pose, frame, axes), frame)


def mounted_camera(
    info: CameraInfo, name: str, ego_T_frame: np.ndarray, body_axes: bool, frame: str | None
) -> RigCamera:
    """A camera of a rig.

    Args:
        info: its calibration.
        name: in the rig.
        ego_T_frame: ``[4, 4]``, the pose of its frame.
        body_axes: the frame is x forward, y left, z up; else the optical axes'.
        frame: its name.
    """
    pose = ego_T_frame @ pose_matrix(EGO_R_CAM, np.zeros(3)) if body_axes else ego_T_frame
    return RigCamera(
        name,
        info.width,
        info.height,
        info.intrinsics,
        pose,
        distortion=info.distortion,
        rectified_intrinsics=info.rectified_intrinsics,
        rectification=info.rectification,
        frame_id=frame,
    )


def _frame_of(name: str, tree: Sequence[StaticTransform]) -> str:
    known = {frame for each in tree for frame in (each.parent, each.child)}
    candidates = [f"{name}{end}" for end in ("_optical_frame", "_optical_link", "_optical", "")]
    for candidate in candidates:
        if candidate in known:
            return candidate
    raise DataError(
        f"camera {name}: its file names no frame, and none of {', '.join(candidates)} is in the "
        f"static transforms; say --frames {channel(name)}=FRAME, one of {', '.join(sorted(known))}"
    )


def _is_body(pose: np.ndarray, frame: str, axes: str) -> bool:
    if axes != "auto":
        return axes == "body"
    # z of optical axes looks ahead, z of a body's axes looks up
    return "optical" not in frame and abs(pose[2, 2]) > abs(pose[2, 0])


def _calibration_file(camera: RigCamera) -> dict[str, Any]:
    lens = camera.distortion
    rectified = camera.rectified_intrinsics
    projection = camera.intrinsics if rectified is None else rectified
    rotation = np.eye(3) if camera.rectification is None else camera.rectification
    return {
        "image_width": camera.width,
        "image_height": camera.height,
        "camera_name": camera.name,
        "camera_matrix": _matrix(_with_ros_centres(camera.intrinsics)),
        "distortion_model": _TO_ROS[lens.model] if lens else "plumb_bob",
        "distortion_coefficients": _matrix(np.array([lens.coefficients if lens else [0.0] * 5])),
        "rectification_matrix": _matrix(rotation),
        "projection_matrix": _matrix(np.hstack([_with_ros_centres(projection), np.zeros((3, 1))])),
    }


def _matrix(values: np.ndarray) -> dict[str, Any]:
    rows, columns = values.shape
    return {"rows": rows, "cols": columns, "data": [float(v) for v in values.ravel()]}


def _first(content: Any) -> Any:
    """Of a topic's messages, separated by ---, the first."""
    return content[0] if isinstance(content, list) and content else content


def _numbers(fields: Fields, key: str) -> np.ndarray:
    value = fields.entry.get(key, [])
    if isinstance(value, dict):
        value = value.get("data", [])
    inner = Fields(fields.path, fields.where, {key: value})
    return np.array(inner.list_of_numbers(key), dtype=np.float64)


def _reshaped(fields: Fields, key: str, values: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    if values.size != shape[0] * shape[1]:
        raise fields.fail(key, f"expected {shape[0] * shape[1]} numbers, got {values.size}")
    matrix = values.reshape(shape)
    if key in ("k", "camera_matrix") and min(matrix[0, 0], matrix[1, 1]) <= 0:
        raise fields.fail(key, "its focal length is 0: the camera is not calibrated")
    return matrix


def _distortion(fields: Fields, key: str, values: np.ndarray) -> Distortion | None:
    if not values.any():
        return None
    model = fields.entry.get("distortion_model")
    if model not in _MODELS:
        raise fields.fail(
            "distortion_model", f"expected one of {', '.join(_MODELS)}, got {model!r}"
        )
    try:
        return Distortion(_MODELS[model], tuple(values.tolist()))
    except ValueError as error:
        raise fields.fail(key, str(error)) from None


def _with_our_centres(matrix: np.ndarray) -> np.ndarray:
    return matrix + np.array([[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]])


def _with_ros_centres(matrix: np.ndarray) -> np.ndarray:
    return matrix - np.array([[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]])
