"""A rig of two cameras, and results in front of it."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from bevdepth_plus.deploy.results import Boxes, Result
from bevdepth_plus.rigs.poses import camera_pose, pose_matrix, rotation_from_angles
from bevdepth_plus.rigs.rig import Rig, RigCamera

CLASSES = ("car", "pedestrian", "traffic_cone")
START = 1_532_402_927.5  # seconds


def camera(name: str, yaw: float, **options) -> RigCamera:
    intrinsics = np.array([[500.0, 0, 320], [0, 500, 180], [0, 0, 1]])
    return RigCamera(name, 640, 360, intrinsics, camera_pose((1.5, 0, 1.6), yaw, 0, 0), **options)


@pytest.fixture
def rig() -> Rig:
    return Rig((camera("FRONT", 0.0), camera("BACK", 180.0, frame_id="back_optical")))


@pytest.fixture
def boxes() -> Boxes:
    """A car ahead that drives to the left, a pedestrian ahead, a cone behind."""
    return Boxes(
        centres=np.array([[12.0, 1.0, 0.8], [8.0, -2.0, 0.9], [-7.0, 0.5, 0.4]]),
        sizes=np.array([[4.5, 1.9, 1.6], [0.7, 0.6, 1.8], [0.4, 0.4, 0.8]]),
        yaws=np.array([np.pi / 2 + 0.2, -0.4, 0.0]),
        velocities=np.array([[0.5, 6.0], [np.nan, np.nan], [0.0, 0.0]]),
        scores=np.array([0.9, 0.6, 0.3]),
        labels=np.array([0, 1, 2]),
        classes=CLASSES,
    )


@pytest.fixture(name="world_T_ego")
def ego_pose() -> np.ndarray:
    return pose_matrix(rotation_from_angles(30.0, 1.0, -2.0), (400.0, 1100.0, 0.5))


@pytest.fixture
def result(boxes, world_T_ego) -> Result:
    return Result(
        boxes,
        stamp=START,
        cameras=("FRONT", "BACK"),
        depth={"FRONT": np.arange(8, dtype=np.float32).reshape(2, 4)},
        world_T_ego=world_T_ego,
    )


@pytest.fixture
def jpeg() -> Callable[..., bytes]:
    def make(width: int = 640, height: int = 360, form: str = "JPEG") -> bytes:
        shades = np.linspace(0, 255, width * height * 3).astype(np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(shades.reshape(height, width, 3)).save(buffer, form)
        return buffer.getvalue()

    return make


@pytest.fixture
def images(jpeg) -> dict[str, bytes]:
    return {"FRONT": jpeg(), "BACK": jpeg()}
