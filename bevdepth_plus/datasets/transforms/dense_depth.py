"""Dense depth pictures as the teacher of depth, in place of LiDAR."""

from __future__ import annotations

from os import path as osp

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmdet3d.registry import TRANSFORMS

from bevdepth_plus.errors import DataError
from bevdepth_plus.rigs.image_files import decode, read_bytes


def read_depth(path: str, unit: float) -> np.ndarray:
    """Reads one 16-bit depth picture whose steps are ``unit`` metres.

    Returns:
        float32 [H, W], metres, 0 where depth is unknown.

    Raises:
        DataError: If the file is missing, truncated, or no picture of one 16-bit channel.
    """
    return read_steps(path).astype(np.float32) * np.float32(unit)


def read_steps(path: str) -> np.ndarray:
    """Reads one 16-bit depth picture as it is stored, uint16 [H, W].

    Raises:
        DataError: As ``read_depth``.
    """
    content = read_bytes(path, "depth picture")
    steps = decode(content, cv2.IMREAD_UNCHANGED, path, "depth picture")
    if steps.dtype != np.uint16 or steps.ndim != 2:
        raise DataError(
            f"depth picture {path} must have one channel of 16 bits, got shape {steps.shape} of "
            f"{steps.dtype}; write it as a 16-bit grey PNG"
        )
    return steps


def depth_picture_path(image: str, folder: str) -> str:
    """Where the depth picture of ``ROOT/samples/CAMERA/NAME.jpg`` lies."""
    camera_folder, name = osp.split(image)
    samples, camera = osp.split(camera_folder)
    return osp.join(osp.dirname(samples), folder, camera, osp.splitext(name)[0] + ".png")


def warp_nearest(
    values: np.ndarray,  # [H, W]
    matrix: np.ndarray,  # [3, 3], raw pixels -> pixels of the result, the last row 0 0 1
    size: tuple[int, int],  # height, width of the result
) -> np.ndarray:
    """The raw value at each pixel's centre, nothing interpolated; 0 outside the raw picture.

    Between a car's depth and the wall's behind it there is none that anything has.
    """
    height, width = size
    inverse = np.linalg.inv(matrix)
    columns, rows = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    raw_columns = np.floor(inverse[0, 0] * columns + inverse[0, 1] * rows + inverse[0, 2])
    raw_rows = np.floor(inverse[1, 0] * columns + inverse[1, 1] * rows + inverse[1, 2])
    inside = (raw_columns >= 0) & (raw_columns < values.shape[1])
    inside &= (raw_rows >= 0) & (raw_rows < values.shape[0])
    warped = np.zeros(size, dtype=values.dtype)
    warped[inside] = values[raw_rows[inside].astype(np.int64), raw_columns[inside].astype(np.int64)]
    return warped


@TRANSFORMS.register_module()
class LoadDenseDepth(BaseTransform):
    """Loads the key frame's depth pictures as ``depth_maps`` [N, H, W], in the network's pixels.

    It takes the place of ``LoadLidarPoints`` and ``LidarDepthMaps``, behind the image augmentation.
    The picture of ``ROOT/samples/CAMERA/NAME.jpg`` is ``ROOT/FOLDER/CAMERA/NAME.png``, of the
    image's size: 16 bits, depth along the optical axis, 0 where it is unknown.
    ``tools/make_synthetic_nuscenes.py --depth`` writes them.

    Args:
        folder: Folder of the pictures below the data root.
        unit: Metres a step.
    """

    result = "depth_maps"

    def __init__(self, folder: str = "depth", unit: float = 0.01) -> None:
        self.folder = folder
        self.unit = unit

    def transform(self, results: dict) -> dict:
        cameras = range(len(results["cam_names"]))
        return {**results, self.result: np.stack([self._map(results, n) for n in cameras])}

    def __repr__(self) -> str:
        return f"{type(self).__name__}(folder={self.folder!r}, unit={self.unit})"

    def _map(self, results: dict, camera: int) -> np.ndarray:
        size = results["img"][camera].shape[:2]
        if results["img_path"][camera] is None:  # a camera that is out
            return np.zeros(size, dtype=np.float32)
        path = depth_picture_path(results["img_path"][camera], self.folder)
        depth = read_depth(path, self.unit)
        if depth.shape != tuple(results["raw_shape"][camera]):
            raise DataError(
                f"depth picture {path} is {depth.shape}, its image {results['raw_shape'][camera]} "
                "pixels high and wide; both must have one size"
            )
        return warp_nearest(depth, results["image_aug"][0, camera], size)


@TRANSFORMS.register_module()
class LoadTeacherDepth(LoadDenseDepth):
    """Loads depth that another network predicted, as ``teacher_depth`` [N, H, W]; for TeacherDepth.

    The pictures lie and look as those of ``LoadDenseDepth``. Only the order of their values needs
    to be right: larger is farther (turn disparity round), 0 is unknown. It stands beside the labels
    of the LiDAR, not in their place.
    """

    result = "teacher_depth"

    def __init__(self, folder: str = "teacher_depth", unit: float = 0.01) -> None:
        super().__init__(folder, unit)
