"""LiDAR depth of the past frames, for metrics over time: each frame's own sweep in its cameras."""

from __future__ import annotations

import numpy as np
from mmcv.transforms import BaseTransform
from mmdet3d.registry import TRANSFORMS

from bevdepth_plus.datasets.sweeps import read_points
from bevdepth_plus.datasets.transforms.lidar_depth import project_sweep
from bevdepth_plus.errors import DataError


@TRANSFORMS.register_module()
class PastLidarDepthMaps(BaseTransform):
    """Projects each past frame's sweep into that frame's images: ``past_depth_maps``.

    float32 [S - 1, N, H, W], newest first; metres in the network's pixels, as ``LidarDepthMaps``
    has them for the key frame. All 0 for a frame that does not exist or has no sweep of its own
    (such as frames at a ``frame_interval``), and for cameras that are out. It loads the sweeps
    itself and must follow the image augmentation.

    Args:
        num_features: float32 numbers a point, as in ``LoadLidarPoints``.
        drop_not_finite: Leave out points without finite coordinates, as in ``LoadLidarPoints``.
        min_depth: Points nearer than this (metres) are dropped, as in ``LidarDepthMaps``.

    Raises:
        DataError: The data set gives no past frames, or ``read_points`` refuses a file.
    """

    def __init__(
        self,
        num_features: int | None = None,
        drop_not_finite: bool = False,
        min_depth: float = 1.0,
    ) -> None:
        self.num_features = num_features
        self.drop_not_finite = drop_not_finite
        self.min_depth = min_depth

    def transform(self, results: dict) -> dict:
        num_frames = len(results["frame_lidar_path"])
        if num_frames < 2:
            raise DataError(
                f"sample {results['token']} has no past frame: set the dataset's num_frames to 2 "
                "or more, or leave PastLidarDepthMaps out of the pipeline"
            )
        maps = [self._maps(results, frame) for frame in range(1, num_frames)]
        return {**results, "past_depth_maps": np.stack(maps)}

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(num_features={self.num_features}, "
            f"drop_not_finite={self.drop_not_finite}, min_depth={self.min_depth})"
        )

    def _maps(self, results: dict, frame: int) -> np.ndarray:
        """One frame's maps, [N, H, W]."""
        path = results["frame_lidar_path"][frame]
        num_features = self.num_features or results["num_pts_feats"]
        points = np.zeros((0, num_features), dtype=np.float32)
        if path is not None:
            points = read_points(path, num_features, self.drop_not_finite)
        maps = project_sweep(points, results["key_T_lidar"][frame], results, frame, self.min_depth)
        return maps * results["camera_mask"][frame, :, None, None]
