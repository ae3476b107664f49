"""The rigs that scenes are rendered for: nuScenes' own, or a rig file (docs/rig_files.md)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from bevdepth_plus.errors import DataError
from bevdepth_plus.rigs.poses import camera_pose, pose_matrix, rotation_from_angles
from bevdepth_plus.rigs.rig import Rig, RigCamera
from bevdepth_plus.rigs.rig_file import LIDAR_POSITION, LIDAR_YAW, load_rig

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
_EGO_T_LIDAR = pose_matrix(rotation_from_angles(LIDAR_YAW, 0.0, 0.0), LIDAR_POSITION)


def nuscenes_rig(size: tuple[int, int] | None = None) -> Rig:
    """nuScenes' six cameras; ``size`` (width, height) rescales the 1600 x 900 calibration."""
    cameras = tuple(
        RigCamera(
            name,
            1600,
            900,
            np.array([[focal, 0, cx], [0, focal, cy], [0, 0, 1.0]]),
            camera_pose(position, *angles),
            delay / 1000,
        )
        for name, focal, cx, cy, position, angles, delay in _NUSCENES
    )
    rig = Rig(cameras, _EGO_T_LIDAR)
    return rig.resized(*size) if size else rig


def rendered_rig(path: str | Path, size: tuple[int, int] | None = None) -> Rig:
    """A rig file's rig; without a LiDAR in the file, nuScenes' one is on its roof.

    Raises:
        DataError: the file is wrong, or asks for what is not rendered.
    """
    rig = load_rig(path, size)
    for index, camera in enumerate(rig.cameras):
        if camera.distortion is not None:
            raise DataError(
                f"{path}: cameras[{index}].distortion: pictures are rendered without; remove it"
            )
    return rig if rig.ego_T_lidar is not None else replace(rig, ego_T_lidar=_EGO_T_LIDAR)
