"""Which pixels show an object that moves: there a static world is no teacher."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmdet3d.registry import TRANSFORMS
from torch import Tensor

from bevdepth_plus.geometry.boxes import box_corners
from bevdepth_plus.geometry.pinhole import project, transform_pixels
from bevdepth_plus.geometry.rigid import invert_rigid, transform_points
from bevdepth_plus.mmdet3d_boxes import from_mmdet3d

_NEAR = 0.1  # metres before the camera, where a box is cut off
# The twelve edges of a box, by the corners of `box_corners`.
_EDGES = np.array(
    [(i, (i + 1) % 4) for i in range(4)]
    + [(4 + i, 4 + (i + 1) % 4) for i in range(4)]
    + [(i, 4 + i) for i in range(4)]
)


@TRANSFORMS.register_module()
class MovingObjectPixels(BaseTransform):
    """Marks the pixels inside boxes that move: ``moving_pixels``, bool [N, H, W].

    Of the key frame, in the network's pixels. What stands before a moving box is marked with it. It
    must follow ``ImageAugmentation`` and ``BEVAugmentation``. Priors that learn from a static world
    (``DepthPrior.static_only``) are not taught there.

    Args:
        min_speed: of a box that moves, metres a second; an unknown speed counts as moving.
    """

    def __init__(self, min_speed: float = 0.5) -> None:
        self.min_speed = min_speed

    def transform(self, results: dict) -> dict:
        boxes = from_mmdet3d(results["ann_info"]["gt_bboxes_3d"]).double()
        still = boxes[:, 7:9].norm(dim=1) < self.min_speed  # False for NaN
        corners = box_corners(boxes[~still])  # [M, 8, 3], augmented ego
        in_ego = transform_points(
            torch.linalg.inv(torch.from_numpy(results["bev_aug"])), corners.flatten(0, 1)
        )
        masks = np.zeros((len(results["cam_names"]), *results["img"][0].shape[:2]), dtype=np.uint8)
        for camera, mask in enumerate(masks):
            for outline in _outlines(in_ego.unflatten(0, (-1, 8)), results, camera):
                cv2.fillConvexPoly(mask, outline, 1)
        return {**results, "moving_pixels": masks.astype(bool)}

    def __repr__(self) -> str:
        return f"{type(self).__name__}(min_speed={self.min_speed})"


def _outlines(
    corners: Tensor,  # [M, 8, 3], ego, metres
    results: dict,
    camera: int,
) -> list[np.ndarray]:
    """The convex outline of each box that a camera has before it, int32 ``[K, 1, 2]``, pixels."""
    pose = torch.from_numpy(results["ego_T_cam"][0, camera])
    intrinsics = torch.from_numpy(results["intrinsics"][0, camera])
    augmentation = torch.from_numpy(results["image_aug"][0, camera])
    outlines = []
    for box in transform_points(invert_rigid(pose), corners):
        points = _before_the_camera(box.numpy())
        if not len(points):
            continue
        pixels = transform_pixels(augmentation, project(torch.from_numpy(points), intrinsics)[0])
        # OpenCV counts pixels at integers, and takes no number beyond int32.
        places = (pixels - 0.5).round().clamp(-30000, 30000).numpy().astype(np.int32)
        outlines.append(cv2.convexHull(places))
    return outlines


def _before_the_camera(corners: np.ndarray) -> np.ndarray:
    """Corners of a box ``[8, 3]`` and where its edges cross the near plane, ``[K, 3]``."""
    depth = corners[:, 2]
    starts, ends = corners[_EDGES[:, 0]], corners[_EDGES[:, 1]]
    crossing = (depth[_EDGES[:, 0]] > _NEAR) != (depth[_EDGES[:, 1]] > _NEAR)
    starts, ends = starts[crossing], ends[crossing]
    share = (_NEAR - starts[:, 2:]) / (ends[:, 2:] - starts[:, 2:])
    return np.concatenate([corners[depth > _NEAR], starts + share * (ends - starts)])
