"""ScanNet scenes as SensReader exports them.

    SCENE/color/N.jpg     1296x968
    SCENE/depth/N.png     640x480, 16 bits, millimetres
    SCENE/pose/N.txt      4x4, camera to world; -inf where tracking was lost
    SCENE/intrinsic/intrinsic_color.txt, intrinsic_depth.txt    4x4

Colour and depth are taken as one camera with two focal lengths, as the poses are.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bevdepth_plus.datasets.sequences.folders import (
    frame_indices,
    numbered_files,
    read_intrinsics,
    read_numbers,
)
from bevdepth_plus.datasets.sequences.frames import (
    DepthPicture,
    Frame,
    FrameSequence,
    is_lost,
    require_pose,
)
from bevdepth_plus.errors import DataError

NEEDED = ("color", "depth", "pose", "intrinsic")


def read_scannet(folder: Path, name: str, depth_unit: float = 1e-3) -> FrameSequence:
    """Reads one scene.

    Args:
        folder: the scene's.
        name: of the sequence, in tokens.
        depth_unit: metres a step of the depth pictures.

    Raises:
        DataError: intrinsics are missing, or a file holds something else.
    """
    images = numbered_files(folder / "color")
    depths = numbered_files(folder / "depth", (".png",))
    intrinsics = read_intrinsics(folder / "intrinsic" / "intrinsic_color.txt")
    of_depth = read_intrinsics(folder / "intrinsic" / "intrinsic_depth.txt")
    poses = numbered_files(folder / "pose", (".txt",))
    indices, missing = frame_indices(list(images))
    frames, lost = [], []
    for (number, image), index in zip(images.items(), indices, strict=True):
        token = f"{name}/{image.stem}"
        pose = _pose(poses[number]) if number in poses else None
        if pose is None or is_lost(pose):
            lost.append(token)
            continue
        depth = None
        if number in depths:
            depth = DepthPicture(str(depths[number]), depth_unit, of_depth, like_image=False)
        require_pose(pose, str(poses[number]))
        frames.append(Frame(token, index, str(image), depth, intrinsics, pose))
    return FrameSequence(name, tuple(frames), tuple(lost), missing)


def _pose(path: Path) -> np.ndarray:
    pose = read_numbers(path, columns=4)
    if len(pose) != 4:
        raise DataError(f"{path} must hold a 4x4 matrix, got {pose.shape}; fetch it again")
    return pose
