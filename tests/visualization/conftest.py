"""Hand-made rigs, so that every expected pixel can be worked out on paper."""

from __future__ import annotations

import numpy as np
import pytest

from bevdepth_plus.visualization.scene import Boxes, Camera, Scene

# Camera axes (x right, y down, z forward) seen from an ego whose x is forward and z up.
EGO_R_CAM = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])


def make_camera(
    name: str = "FRONT", azimuth: float = 0.0, size: tuple[int, int] = (200, 400), focal=200.0
) -> Camera:
    """A camera at the ego origin whose optical axis is turned left by ``azimuth`` degrees."""
    height, width = size
    cos, sin = np.cos(np.radians(azimuth)), np.sin(np.radians(azimuth))
    ego_T_cam = np.eye(4)
    ego_T_cam[:3, :3] = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]]) @ EGO_R_CAM
    intrinsics = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
    image = np.full((height, width, 3), 90, dtype=np.uint8)
    return Camera(name, image, intrinsics, ego_T_cam)


def make_boxes(*numbers, names=None, scores=None) -> Boxes:
    array = np.array(numbers, dtype=float).reshape(len(numbers), -1 if numbers else 7)
    names = names or ("car",) * len(array)
    return Boxes(array, tuple(names), None if scores is None else np.array(scores))


def make_scene(azimuths, sizes=None) -> Scene:
    sizes = sizes or [(200, 400)] * len(azimuths)
    cameras = tuple(
        make_camera(f"CAM_{i}", azimuth, size)
        for i, (azimuth, size) in enumerate(zip(azimuths, sizes, strict=True))
    )
    points = np.random.default_rng(0).uniform(-40, 40, (500, 3)) * [1, 1, 0.05]
    return Scene(cameras, points, ("a title", "a fact"))


@pytest.fixture
def make():
    """The builders, as tests are imported without a package."""

    class Make:
        camera = staticmethod(make_camera)
        boxes = staticmethod(make_boxes)
        scene = staticmethod(make_scene)

    return Make
