"""Which pixels show an object that moves: there a static world is no teacher."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmdet3d.registry import TRANSFORMS
from torch import Tensor

from bevdepth_plus.geometry.boxes import box_corners, edges_before_camera, transform_boxes
from bevdepth_plus.geometry.pinhole import project, transform_pixels
from bevdepth_plus.geometry.rigid import invert_rigid, transform_points
from bevdepth_plus.mmdet3d_boxes import from_mmdet3d

_NEAR = 0.1  # metres before the camera, where a box is cut off


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
        augmented = from_mmdet3d(results["ann_info"]["gt_bboxes_3d"]).double()
        boxes = transform_boxes(augmented, torch.linalg.inv(torch.from_numpy(results["bev_aug"])))
        still = boxes[:, 7:9].norm(dim=1) < self.min_speed  # False for NaN
        corners = box_corners(boxes[~still])  # [M, 8, 3], ego
        masks = np.zeros((len(results["cam_names"]), *results["img"][0].shape[:2]), dtype=np.uint8)
        for camera, mask in enumerate(masks):
            for outline in _outlines(corners, results, camera):
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
        edges = edges_before_camera(box, _NEAR).flatten(0, 1)
        if not len(edges):
            continue
        pixels = transform_pixels(augmentation, project(edges, intrinsics)[0])
        # OpenCV counts pixels at integers, and takes no number beyond int32.
        places = (pixels - 0.5).round().clamp(-30000, 30000).numpy().astype(np.int32)
        outlines.append(cv2.convexHull(places))
    return outlines
