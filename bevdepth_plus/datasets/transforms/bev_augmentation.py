"""Rotate, scale and mirror the ego frame; boxes move along, images and depth labels do not."""

from __future__ import annotations

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmdet3d.registry import TRANSFORMS
from mmdet3d.structures import LiDARInstance3DBoxes

from bevdepth_plus.geometry.boxes import transform_boxes
from bevdepth_plus.mmdet3d_boxes import from_mmdet3d, to_mmdet3d


def bev_matrix(
    rotation: float,  # radians, counter-clockwise seen from above
    scale: float,
    flip_x: bool,
    flip_y: bool,
) -> np.ndarray:
    """The map key ego -> augmented ego, [4, 4] float64: rotate, scale, then mirror.

    ``flip_x`` maps x to -x (front and rear change places), ``flip_y`` y to -y (left and right).
    """
    cos, sin = np.cos(rotation), np.sin(rotation)
    rotate = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
    mirror = np.diag([-1.0 if flip_x else 1.0, -1.0 if flip_y else 1.0, 1.0])
    matrix = np.eye(4)
    matrix[:3, :3] = mirror @ (scale * rotate)
    return matrix


def move_boxes(
    boxes: LiDARInstance3DBoxes,
    matrix: np.ndarray,  # [4, 4], rotation about z, uniform scale, mirrors
) -> LiDARInstance3DBoxes:
    """Boxes (nine numbers each) in the frame that ``matrix`` leads to; a new object."""
    return to_mmdet3d(transform_boxes(from_mmdet3d(boxes), torch.from_numpy(matrix)))


@TRANSFORMS.register_module()
class BEVAugmentation(BaseTransform):
    """Random rotation, scale and mirrors of the BEV frame (``bev_aug``) and its boxes.

    Args:
        rot: Range of the rotation about the ego's z axis, degrees.
        scale: Range of the scale.
        flip_x: Probability that x is mirrored (front and rear change places).
        flip_y: Probability that y is mirrored (left and right change places).
    """

    def __init__(
        self,
        rot: tuple[float, float] = (-22.5, 22.5),
        scale: tuple[float, float] = (0.95, 1.05),
        flip_x: float = 0.5,
        flip_y: float = 0.5,
    ) -> None:
        self.rot = tuple(rot)
        self.scale = tuple(scale)
        self.flip_x = flip_x
        self.flip_y = flip_y

    def transform(self, results: dict) -> dict:
        matrix = self.draw()
        ann_info = dict(results["ann_info"])
        ann_info["gt_bboxes_3d"] = move_boxes(ann_info["gt_bboxes_3d"], matrix)
        return {**results, "ann_info": ann_info, "bev_aug": matrix @ results["bev_aug"]}

    def draw(self) -> np.ndarray:
        """A random matrix, see ``bev_matrix``."""
        return bev_matrix(
            rotation=np.deg2rad(np.random.uniform(*self.rot)),
            scale=np.random.uniform(*self.scale),
            flip_x=np.random.uniform() < self.flip_x,
            flip_y=np.random.uniform() < self.flip_y,
        )

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(rot={self.rot}, scale={self.scale}, flip_x={self.flip_x}, "
            f"flip_y={self.flip_y})"
        )
