"""Small data made by hand: one info entry, and nuScenes tables with a turning, tilted ego."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from pyquaternion import Quaternion
from scipy.spatial.transform import Rotation

CAMERAS = ("CAM_FRONT", "CAM_BACK")
WIDTH, HEIGHT = 160, 90
# Camera axes (right, down, forward) in the vehicle's (forward, left, up).
FORWARD_CAMERA = np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])


def rigid(yaw: float, translation: tuple[float, float, float], tilt: float = 0.0) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("ZYX", [yaw, tilt, tilt / 2]).as_matrix()
    matrix[:3, 3] = translation
    return matrix


def camera_mount(yaw: float) -> np.ndarray:
    matrix = rigid(yaw, (np.cos(yaw), np.sin(yaw), 1.5))
    matrix[:3, :3] = matrix[:3, :3] @ FORWARD_CAMERA
    return matrix


MOUNTS = {
    "CAM_FRONT": camera_mount(0.0),
    "CAM_BACK": camera_mount(np.pi),
    "LIDAR_TOP": rigid(-np.pi / 2, (0.9, 0, 1.8), tilt=0.02),
}
INTRINSICS = np.array([[120.0, 0, 82], [0, 120, 44], [0, 0, 1]])


def ego_pose(seconds: float) -> np.ndarray:
    """The vehicle drives on a curve and nods a little."""
    return rigid(0.3 * seconds, (500 + 6 * seconds, 900 + seconds**2, 0), tilt=0.01 * seconds)


def make_info(token: str = "a", seconds: float = 0.0, prev: str | None = None) -> dict:
    """One sample as in an info file, with every optional key; the cameras fire 20 ms late."""
    ego2global, lidar2ego = ego_pose(seconds), MOUNTS["LIDAR_TOP"]
    images = {}
    for name in CAMERAS:
        pose = ego_pose(seconds + 0.02)
        images[name] = {
            "img_path": f"{token}_{name}.jpg",
            "cam2img": INTRINSICS.tolist(),
            "cam2ego": MOUNTS[name].tolist(),
            "lidar2cam": (np.linalg.inv(pose @ MOUNTS[name]) @ ego2global @ lidar2ego).tolist(),
            "ego2global": pose.tolist(),
        }
    car = {
        "bbox_3d": [10.0, 2.0, -1.0, 4.5, 1.9, 1.6, 0.4],
        "bbox_label": 0,
        "bbox_label_3d": 0,
        "velocity": [3.0, 1.0],
        "num_lidar_pts": 7,
        "num_radar_pts": 0,
    }
    unseen = {**car, "bbox_label_3d": 9, "num_lidar_pts": 0, "velocity": [np.nan, np.nan]}
    ignored = {**car, "bbox_label_3d": -1}
    radar_only = {**unseen, "bbox_label_3d": 7, "num_radar_pts": 2}
    return {
        "token": token,
        "prev": prev,
        "scene_token": "scene",
        "timestamp": 100.0 + seconds,
        "ego2global": ego2global.tolist(),
        "lidar_points": {"lidar_path": f"{token}.bin", "lidar2ego": lidar2ego.tolist()},
        "images": images,
        "instances": [copy.deepcopy(item) for item in (car, unseen, ignored, radar_only)],
    }


def make_metainfo() -> dict:
    names = "car truck trailer bus construction_vehicle bicycle motorcycle pedestrian traffic_cone"
    return {
        "categories": {name: i for i, name in enumerate([*names.split(), "barrier"])},
        "dataset": "nuscenes",
        "version": "v1.0-mini",
        "info_version": "1.1",
    }


@pytest.fixture
def infos() -> list[dict]:
    """Three key frames in a row, half a second apart."""
    return [
        make_info("a", 0.0),
        make_info("b", 0.5, prev="a"),
        make_info("c", 1.0, prev="b"),
    ]


@pytest.fixture
def metainfo() -> dict:
    return make_metainfo()


@pytest.fixture
def write_infos(tmp_path, metainfo) -> Callable[..., Path]:
    """Writes an info file with these samples and returns its path."""

    def write(data_list: list[dict], **changes: object) -> Path:
        path = tmp_path / "infos.pkl"
        content = {"metainfo": {**metainfo, **changes}, "data_list": copy.deepcopy(data_list)}
        path.write_bytes(pickle.dumps(content))
        return path

    return write


@pytest.fixture
def write_sensor_files(tmp_path) -> Callable[[list[dict]], None]:
    """Writes an image for each camera and a few LiDAR points for each sample."""

    def write(data_list: list[dict]) -> None:
        rng = np.random.default_rng(0)
        for info in data_list:
            for camera in info["images"].values():
                image = rng.integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)
                cv2.imwrite(str(tmp_path / camera["img_path"]), image)
            points = rng.uniform(-30, 30, (200, 5)).astype(np.float32)
            points.tofile(tmp_path / info["lidar_points"]["lidar_path"])

    return write


class Tables:
    """nuScenes tables, just enough for the devkit: two training scenes and one for validation."""

    scenes = ("scene-0061", "scene-0553", "scene-0103")
    num_keyframes = 3

    def __init__(self, root: Path) -> None:
        self.root = root
        self.rows: dict[str, list[dict]] = {
            name: []
            for name in "category attribute visibility instance sensor calibrated_sensor ego_pose "
            "log scene sample sample_data sample_annotation map".split()
        }
        (root / "maps").mkdir(parents=True)
        cv2.imwrite(str(root / "maps" / "map.png"), np.zeros((4, 4), np.uint8))
        self._fixed_rows()
        for name in self.scenes:
            self._scene(name)
        self.write()

    def write(self) -> None:
        (self.root / "v1.0-mini").mkdir(exist_ok=True)
        for name, rows in self.rows.items():
            (self.root / "v1.0-mini" / f"{name}.json").write_text(json.dumps(rows))

    def _fixed_rows(self) -> None:
        for name in ("vehicle.car", "animal", "static_object.bicycle_rack"):
            self._add("category", token=name, name=name)
        self._add("attribute", token="moving", name="vehicle.moving")
        self._add("visibility", token="4", level="v80-100")
        self._add("log", token="log", logfile="log", location="singapore-onenorth")
        self._add("map", token="map", log_tokens=["log"], filename="maps/map.png", category="m")
        for channel, mount in MOUNTS.items():
            is_camera = channel.startswith("CAM")
            self._add(
                "sensor",
                token=channel,
                channel=channel,
                modality="camera" if is_camera else "lidar",
            )
            self._add(
                "calibrated_sensor",
                token=channel,
                sensor_token=channel,
                camera_intrinsic=INTRINSICS.tolist() if is_camera else [],
                **self._pose(mount),
            )

    def _scene(self, name: str) -> None:
        tokens = [f"{name}-{index}" for index in range(self.num_keyframes)]
        self._add(
            "scene",
            token=name,
            name=name,
            log_token="log",
            nbr_samples=len(tokens),
            first_sample_token=tokens[0],
            last_sample_token=tokens[-1],
            description="",
        )
        for category in ("vehicle.car", "animal", "static_object.bicycle_rack"):
            self._add("instance", token=f"{name}-{category}", category_token=category)
        for index, token in enumerate(tokens):
            prev = tokens[index - 1] if index else ""
            next_ = tokens[index + 1] if index + 1 < len(tokens) else ""
            self._add(
                "sample",
                token=token,
                scene_token=name,
                timestamp=self._microseconds(index / 2),
                prev=prev,
                next=next_,
            )
            self._sensors(token, index / 2)
            self._objects(name, token, index, prev, next_)

    def _sensors(self, sample: str, seconds: float) -> None:
        for channel in MOUNTS:
            late = 0.02 if channel.startswith("CAM") else 0.0
            token = f"{sample}-{channel}"
            name = f"samples/{channel}/{token}" + (".jpg" if late else ".pcd.bin")
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"")
            time = self._microseconds(seconds + late)
            pose = ego_pose(seconds + late)
            self._add("ego_pose", token=token, timestamp=time, **self._pose(pose))
            self._add(
                "sample_data",
                token=token,
                sample_token=sample,
                ego_pose_token=token,
                calibrated_sensor_token=channel,
                timestamp=time,
                is_key_frame=True,
                filename=name,
                fileformat=name.split(".", 1)[1],
                width=WIDTH if late else 0,
                height=HEIGHT if late else 0,
                prev="",
                next="",
            )

    def _objects(self, scene: str, sample: str, index: int, prev: str, next_: str) -> None:
        for category in ("vehicle.car", "animal", "static_object.bicycle_rack"):
            is_car = category == "vehicle.car"
            if not is_car and index:
                continue  # seen once, so the devkit gives no velocity
            self._add(
                "sample_annotation",
                token=f"{sample}-{category}",
                sample_token=sample,
                instance_token=f"{scene}-{category}",
                visibility_token="4",
                attribute_tokens=["moving"] if is_car else [],
                translation=[515.0 + 2 * index, 903.0 + index, 0.9],
                size=[1.9, 4.5, 1.6],
                rotation=list(Quaternion(axis=[0, 0, 1], angle=0.46)),
                prev=f"{prev}-{category}" if prev and is_car else "",
                next=f"{next_}-{category}" if next_ and is_car else "",
                num_lidar_pts=5,
                num_radar_pts=0,
            )

    def _add(self, table: str, **row: object) -> None:
        self.rows[table].append(row)

    @staticmethod
    def _microseconds(seconds: float) -> int:
        return 1_500_000_000_000_000 + round(seconds * 1e6)

    @staticmethod
    def _pose(matrix: np.ndarray) -> dict:
        rotation = Quaternion(matrix=matrix[:3, :3], atol=1e-6, rtol=1e-6)
        return {"translation": matrix[:3, 3].tolist(), "rotation": list(rotation)}


@pytest.fixture
def tables(tmp_path) -> Tables:
    """A nuScenes root with tables and empty sensor files."""
    return Tables(tmp_path / "nuscenes")
