"""A frame, a sequence of frames, and which poses are lost."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bevdepth_plus.errors import DataError
from bevdepth_plus.rigs.poses import pose_problem
from bevdepth_plus.rigs.rig import Distortion


@dataclass(frozen=True, eq=False)
class DepthPicture:
    """A 16-bit picture of depth along the optical axis, 0 = unknown.

    It is of the frame's camera, at the same place and turned alike; size and focal length may
    differ.

    Attributes:
        path: the file.
        unit: metres a step.
        intrinsics: of the picture, ``[3, 3]``, its own pixels.
        rotated: the bits of each value are turned left by three, as SUN3D stores them.
        like_image: it must have the image's size.
    """

    path: str
    unit: float
    intrinsics: np.ndarray
    rotated: bool = False
    like_image: bool = True


@dataclass(frozen=True, eq=False)
class LidarSweep:
    """A LiDAR sweep, as ``sweeps.read_points`` reads it.

    Attributes:
        path: the file.
        num_features: float32 numbers a point.
        world_T_lidar: ``[4, 4]``, metres.
    """

    path: str
    num_features: int
    world_T_lidar: np.ndarray


@dataclass(frozen=True, eq=False)
class Frame:
    """One image with its pose.

    Attributes:
        token: names the frame in its data set, ``SEQUENCE/FRAME``.
        index: its number in the sequence; numbers that are missing are frames that are missing.
        image: the file.
        depth: None where there is none; such a frame can be a source, not an anchor.
        intrinsics: of the image as it is on disk, ``[3, 3]`` float64, pixel centres at integers +
            0.5.
        world_T_cam: ``[4, 4]`` float64, metres; camera axes x right, y down, z forward.
        time: seconds, or None.
        distortion: of the lens; it is undone as the image is read, and a depth picture's with it.
    """

    token: str
    index: int
    image: str
    depth: DepthPicture | LidarSweep | None
    intrinsics: np.ndarray
    world_T_cam: np.ndarray
    time: float | None = None
    distortion: Distortion | None = None


@dataclass(frozen=True, eq=False)
class FrameSequence:
    """One camera's way, in order.

    Attributes:
        name: of the sequence.
        frames: with good poses, by rising ``index``.
        lost: tokens of the images whose pose is lost; they are not among the frames.
        missing: how many frame numbers between the first and the last have no image.
    """

    name: str
    frames: tuple[Frame, ...]
    lost: tuple[str, ...] = ()
    missing: int = 0


def is_lost(pose: np.ndarray | None) -> bool:
    """Whether a pose says that tracking failed: it is missing, not finite, or all zero.

    Args:
        pose: ``[3 or 4, 4]``, or None.
    """
    return pose is None or not np.isfinite(pose).all() or not pose[:3].any()


def require_pose(pose: np.ndarray, where: str) -> np.ndarray:
    """Refuses a pose that is neither lost nor a rotation and translation.

    Args:
        pose: ``[4, 4]``.
        where: names it in errors.

    Raises:
        DataError: it is no rigid transform.
    """
    problem = pose_problem(pose)
    if problem:
        raise DataError(f"{where} {problem}; poses must be camera to world, one 4x4 or 3x4 a frame")
    return pose
