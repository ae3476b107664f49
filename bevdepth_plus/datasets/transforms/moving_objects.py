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
        size = results["img"][0].shape[:2]
        names = ("ego_T_cam", "intrinsics", "image_aug")
        cameras = zip(*(torch.from_numpy(results[name][0]) for name in names), strict=True)
        masks = [moving_mask(boxes, size, *camera, self.min_speed) for camera in cameras]
        return {**results, "moving_pixels": np.stack(masks)}

    def __repr__(self) -> str:
        return f"{type(self).__name__}(min_speed={self.min_speed})"


def moving_mask(
    boxes: Tensor,  # [M, 9], ego, metres and metres a second
    size: tuple[int, int],  # height, width of the result
    ego_T_cam: Tensor,  # [4, 4]
    intrinsics: Tensor,  # [3, 3]
    image_aug: Tensor | None = None,  # [3, 3], pixels of the intrinsics -> those of the result
    min_speed: float = 0.5,
) -> np.ndarray:
    """The pixels of one camera inside boxes that move, bool ``[H, W]``."""
    still = boxes[:, 7:9].norm(dim=1) < min_speed  # False for NaN
    corners = box_corners(boxes[~still])  # [K, 8, 3], ego
    mask = np.zeros(size, dtype=np.uint8)
    for box in transform_points(invert_rigid(ego_T_cam), corners):
        edges = edges_before_camera(box, _NEAR).flatten(0, 1)
        if not len(edges):
            continue
        pixels = project(edges, intrinsics)[0]
        if image_aug is not None:
            pixels = transform_pixels(image_aug, pixels)
        # OpenCV counts pixels at integers, and takes no number beyond int32.
        places = (pixels - 0.5).round().clamp(-30000, 30000).numpy().astype(np.int32)
        cv2.fillConvexPoly(mask, cv2.convexHull(places), 1)
    return mask.astype(bool)
