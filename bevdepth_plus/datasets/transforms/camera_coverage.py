"""Boxes that no camera sees: for rigs that do not look all around."""

from __future__ import annotations

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmdet3d.registry import TRANSFORMS
from torch import Tensor

from bevdepth_plus.geometry.boxes import box_corners
from bevdepth_plus.geometry.cameras import project_from_ego
from bevdepth_plus.geometry.pinhole import in_image, transform_pixels
from bevdepth_plus.geometry.rigid import transform_points
from bevdepth_plus.mmdet3d_boxes import from_mmdet3d


@TRANSFORMS.register_module()
class DropUncoveredBoxes(BaseTransform):
    """Drops ground truth that lies in no camera's image, in training.

    A detector cannot know what none of its cameras shows; asked for it all the same, it learns to
    guess. What counts are the key frame's images as the network gets them, after resizing, cropping
    and rotation, without cameras that are out. It must follow ``ImageAugmentation`` and
    ``BEVAugmentation``. Occlusion does not count. Cameras all around with overlap do not need it.

    Args:
        keep: What must lie in an image for a box to stay. ``"centre"``: the box's centre.
            ``"part"``: its centre or one of its corners.
    """

    def __init__(self, keep: str = "centre") -> None:
        if keep not in ("centre", "part"):
            raise ValueError(f"keep must be 'centre' or 'part', got {keep!r}")
        self.keep = keep

    def transform(self, results: dict) -> dict:
        ann_info = dict(results["ann_info"])
        boxes = ann_info["gt_bboxes_3d"]
        points = boxes.gravity_center[:, None].double()  # [M, P, 3], augmented ego
        if self.keep == "part":
            corners = box_corners(from_mmdet3d(boxes).double())
            points = torch.cat([points, corners], dim=1)
        covered = covered_points(points.flatten(0, 1), results)
        stay = covered.reshape(len(boxes), points.shape[1]).any(axis=1)
        ann_info["gt_bboxes_3d"] = boxes[torch.from_numpy(stay)]
        ann_info["gt_labels_3d"] = ann_info["gt_labels_3d"][stay]
        return {**results, "ann_info": ann_info}

    def __repr__(self) -> str:
        return f"{type(self).__name__}(keep={self.keep!r})"


def covered_points(
    points: Tensor,  # [P, 3], augmented ego frame, metres
    results: dict,
) -> np.ndarray:
    """Which points lie in the network's image of a working key camera, bool ``[P]``."""
    in_ego = transform_points(torch.linalg.inv(torch.from_numpy(results["bev_aug"])), points)
    raw_pixels, depth = project_from_ego(
        in_ego[None],
        torch.from_numpy(results["ego_T_cam"][0]),
        torch.from_numpy(results["intrinsics"][0]),
    )  # [N, P, 2] and [N, P]
    covered = torch.zeros(len(points), dtype=torch.bool)
    for camera in np.flatnonzero(results["camera_mask"][0]):
        raw = raw_pixels[camera]
        pixels = transform_pixels(torch.from_numpy(results["image_aug"][0, camera]), raw)
        covered |= (
            (depth[camera] > 0)
            & in_image(raw, results["raw_shape"][camera])  # black borders show nothing
            & in_image(pixels, results["img"][camera].shape[:2])
        )
    return covered.numpy()
