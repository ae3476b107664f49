"""Sensor rigs: nuScenes' own, or one read from a small YAML file (see docs/synthetic.md)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml
from scipy.spatial.transform import Rotation

from bevdepth_plus.errors import DataError

# camera axes (right, down, forward) in ego axes (forward, left, up) for yaw = pitch = roll = 0
_EGO_R_CAM = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])


@dataclass(frozen=True)
class Camera:
    """One camera of a rig.

    Attributes:
        name: channel, for example ``CAM_FRONT``.
        width: pixels.
        height: pixels.
        intrinsics: [3, 3], pixels.
        ego_T_cam: [4, 4].
        delay: seconds after the LiDAR's timestamp (negative: before).
    """

    name: str
    width: int
    height: int
    intrinsics: np.ndarray
    ego_T_cam: np.ndarray
    delay: float


@dataclass(frozen=True)
class Rig:
    """Cameras and one LiDAR; poses relative to the rear axle on the ground."""

    cameras: tuple[Camera, ...]
    ego_T_lidar: np.ndarray


# name, focal length, cx, cy (pixels at 1600 x 900), position, (yaw, pitch, roll) in degrees and
# delay in ms: rounded from a nuScenes vehicle.
_NUSCENES = [
    ("CAM_FRONT", 1266.4, 816.3, 491.5, (1.70, 0.02, 1.51), (0.3, 0.3, 0.0), -35.5),
    ("CAM_FRONT_RIGHT", 1260.8, 808.0, 495.3, (1.55, -0.49, 1.50), (-56.4, 0.8, -0.5), -27.6),
    ("CAM_FRONT_LEFT", 1272.6, 826.6, 479.8, (1.52, 0.49, 1.51), (55.2, -0.1, 0.2), -43.1),
    ("CAM_BACK", 809.2, 829.2, 481.8, (0.03, 0.0, 1.58), (179.9, -1.0, 0.2), -10.4),
    ("CAM_BACK_LEFT", 1256.7, 792.1, 492.8, (1.04, 0.48, 1.59), (108.6, 0.9, -0.2), -0.5),
    ("CAM_BACK_RIGHT", 1259.5, 807.3, 501.2, (1.01, -0.48, 1.56), (-110.8, 0.9, 0.6), -20.1),
]
LIDAR_POSITION = (0.94, 0.0, 1.84)
LIDAR_YAW = -90.0  # degrees; the LiDAR's y axis points forward


def nuscenes_rig(size: tuple[int, int] | None = None) -> Rig:
    """nuScenes' six cameras; ``size`` (width, height) rescales the 1600 x 900 calibration."""
    cameras = []
    for name, focal, cx, cy, position, angles, delay in _NUSCENES:
        camera = Camera(
            name,
            1600,
            900,
            np.array([[focal, 0, cx], [0, focal, cy], [0, 0, 1.0]]),
            _camera_pose(position, angles),
            delay / 1000,
        )
        cameras.append(_resized(camera, size) if size else camera)
    return Rig(tuple(cameras), _lidar_pose(LIDAR_POSITION, LIDAR_YAW))


def load_rig(path: str | Path, size: tuple[int, int] | None = None) -> Rig:
    """Reads a rig file.

    Args:
        path: YAML or JSON file.
        size: (width, height) every camera is rescaled to; None keeps each camera's own.

    Raises:
        DataError: the file is missing or a field is wrong; the message names the field.
    """
    path = Path(path)
    try:
        content = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot read the rig file ({error})") from None
    except yaml.YAMLError as error:
        problem = " ".join(str(error).split())
        raise DataError(f"{path}: not valid YAML ({problem})") from None
    if not isinstance(content, dict):
        raise DataError(f"{path}: expected a mapping with 'cameras', got {type(content).__name__}")
    entries = content.get("cameras")
    if not isinstance(entries, list) or not entries:
        raise DataError(f"{path}: cameras: expected a list of at least one camera")
    reader = _Reader(path)
    reader.known(content, "rig", {"cameras", "lidar"})
    cameras = [reader.camera(e, f"cameras[{i}]") for i, e in enumerate(entries)]
    names = [c.name for c in cameras]
    if len(set(names)) < len(names):
        raise DataError(f"{path}: cameras: two cameras have the same name, names are {names}")
    lidar = content.get("lidar", {})
    reader.known(lidar, "lidar", {"position", "yaw"})
    position = reader.numbers(lidar, "lidar", "position", 3, LIDAR_POSITION)
    pose = _lidar_pose(position, reader.number(lidar, "lidar", "yaw", LIDAR_YAW))
    return Rig(tuple(_resized(c, size) if size else c for c in cameras), pose)


class _Reader:
    """Reads fields and complains with the file's and the field's name."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def fail(self, field: str, problem: str) -> DataError:
        return DataError(f"{self.path}: {field}: {problem}")

    def known(self, entry: object, where: str, allowed: set[str]) -> None:
        if not isinstance(entry, dict):
            raise self.fail(where, f"expected a mapping, got {type(entry).__name__}")
        unknown = sorted(map(str, set(entry) - allowed))
        if unknown:
            raise self.fail(where, f"unknown field {unknown[0]!r}, known are {sorted(allowed)}")

    def number(self, entry: dict, where: str, key: str, default: float | None = None) -> float:
        value = entry.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value):
            raise self.fail(f"{where}.{key}", f"expected a finite number, got {value!r}")
        return float(value)

    def numbers(
        self,
        entry: dict,
        where: str,
        key: str,
        count: int,
        default: tuple[float, ...] | None = None,
    ) -> np.ndarray:
        value = entry.get(key, default)
        if not isinstance(value, list | tuple) or len(value) != count:
            raise self.fail(f"{where}.{key}", f"expected {count} numbers, got {value!r}")
        items = [self.number({key: v}, where, key) for v in value]
        return np.array(items)

    def camera(self, entry: dict, where: str) -> Camera:
        self.known(
            entry,
            where,
            {
                "name",
                "width",
                "height",
                "fx",
                "fy",
                "cx",
                "cy",
                "position",
                "yaw",
                "pitch",
                "roll",
                "quaternion",
                "delay_ms",
            },
        )
        name = entry.get("name")
        if not isinstance(name, str) or not name.replace("_", "").isalnum():
            raise self.fail(f"{where}.name", f"expected letters, digits and _, got {name!r}")
        if name == "LIDAR_TOP":
            raise self.fail(f"{where}.name", "LIDAR_TOP is the LiDAR's name, choose another")
        size = {}
        for key in ("width", "height"):
            value = self.number(entry, where, key)
            if value != int(value) or not 16 <= value <= 8192:
                raise self.fail(f"{where}.{key}", f"expected 16 to 8192 whole pixels, got {value}")
            size[key] = int(value)
        fx = self.number(entry, where, "fx")
        fy = self.number(entry, where, "fy", fx)
        for key, value in (("fx", fx), ("fy", fy)):
            if value <= 0:
                raise self.fail(f"{where}.{key}", f"expected a positive focal length, got {value}")
        cx = self.number(entry, where, "cx", size["width"] / 2)
        cy = self.number(entry, where, "cy", size["height"] / 2)
        position = self.numbers(entry, where, "position", 3)
        if position[2] <= 0:
            raise self.fail(
                f"{where}.position", f"z must be above the ground (positive), got {position[2]}"
            )
        delay = self.number(entry, where, "delay_ms", 0.0)
        if abs(delay) > 200:
            raise self.fail(f"{where}.delay_ms", f"expected -200 to 200, got {delay}")
        pose = self._pose(entry, where, position)
        intrinsics = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1.0]])
        return Camera(name, size["width"], size["height"], intrinsics, pose, delay / 1000)

    def _pose(self, entry: dict, where: str, position: np.ndarray) -> np.ndarray:
        angles = [k for k in ("yaw", "pitch", "roll") if k in entry]
        if "quaternion" not in entry:
            return _camera_pose(
                position, [self.number(entry, where, k, 0.0) for k in ("yaw", "pitch", "roll")]
            )
        if angles:
            raise self.fail(f"{where}.quaternion", f"give either it or {angles[0]}, not both")
        w, x, y, z = self.numbers(entry, where, "quaternion", 4)
        norm = np.sqrt(w * w + x * x + y * y + z * z)
        if abs(norm - 1) > 1e-2:
            raise self.fail(f"{where}.quaternion", f"expected unit length, got {norm:.3f}")
        pose = np.eye(4)
        pose[:3, :3] = Rotation.from_quat([x, y, z, w]).as_matrix()
        pose[:3, 3] = position
        return pose


def _camera_pose(position: object, angles: object) -> np.ndarray:
    """ego_T_cam from a position and (yaw, pitch, roll) in degrees.

    Yaw turns left, pitch looks down, roll turns the camera clockwise as it looks.
    """
    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_euler("ZYX", angles, degrees=True).as_matrix() @ _EGO_R_CAM
    pose[:3, 3] = position
    return pose


def _lidar_pose(position: object, yaw: float) -> np.ndarray:
    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_euler("Z", yaw, degrees=True).as_matrix()
    pose[:3, 3] = position
    return pose


def _resized(camera: Camera, size: tuple[int, int]) -> Camera:
    scale = np.array([size[0] / camera.width, size[1] / camera.height, 1.0])
    return Camera(
        camera.name,
        size[0],
        size[1],
        camera.intrinsics * scale[:, None],
        camera.ego_T_cam,
        camera.delay,
    )
