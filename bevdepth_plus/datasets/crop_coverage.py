"""How much of what a camera saw is left in the network's image: said before training starts."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from bevdepth_plus.datasets.transforms.camera_coverage import covered_points
from bevdepth_plus.datasets.transforms.image_augmentation import ImageAugmentation
from bevdepth_plus.datasets.transforms.lidar_depth import LoadLidarPoints
from bevdepth_plus.datasets.transforms.load_images import LoadMultiViewImages
from bevdepth_plus.geometry.rigid import transform_points

FEW_LEFT = 0.5  # of the box centres; below it the crop is worth a look
ENOUGH_BOXES = 10  # for that


@dataclass
class CameraCoverage:
    """What is in one camera's images and what is left in its crops, summed over samples."""

    name: str
    boxes: int = 0
    boxes_left: int = 0
    points: int = 0
    points_left: int = 0


def crop_coverage(dataset: Any, num_samples: int = 16) -> list[CameraCoverage]:
    """Counts box centres and LiDAR points in the images and in the network's crops of them.

    The crop is the dataset's own ``ImageAugmentation`` without its randomness.

    Args:
        dataset: A ``NuScenesBEVDataset``, or one that wraps it (``CBGSDataset``, ...).
        num_samples: So many samples are looked at, evenly spread.

    Returns:
        One entry a camera; none if the dataset is of another kind or does not crop.

    Raises:
        DataError: A file of one of these samples is missing or broken.
    """
    dataset = _innermost(dataset)
    steps = getattr(getattr(dataset, "pipeline", None), "transforms", ())
    crops = [step for step in steps if isinstance(step, ImageAugmentation)]
    if not crops or not len(dataset):
        return []
    crop = copy.copy(crops[0])
    crop.training = False
    readers = [step for step in steps if isinstance(step, LoadLidarPoints)]
    found: dict[str, CameraCoverage] = {}
    for index in np.unique(np.linspace(0, len(dataset) - 1, num_samples).astype(int)):
        whole = LoadMultiViewImages()(dataset.get_data_info(int(index)))
        _count(whole, crop(whole), _points(whole, readers), found)
    return list(found.values())


def coverage_table(rows: Sequence[CameraCoverage], num_samples: int = 16) -> str:
    """The counts as text, and a warning for each camera whose crop loses most of its boxes."""
    lines = [
        f"What the network's crop leaves of each camera's image (up to {num_samples} samples):",
        f"{'camera':<24}{'boxes':>8}{'left':>8}{'LiDAR points':>16}{'left':>8}",
    ]
    for row in rows:
        lines.append(
            f"{row.name:<24}{row.boxes:>8}{_share(row.boxes_left, row.boxes):>8}"
            f"{row.points:>16}{_share(row.points_left, row.points):>8}"
        )
    lines += [
        f"Warning: the crop of {row.name} leaves {row.boxes_left} of {row.boxes} box centres; "
        "choose another final_dim, or check the calibration with tools/check_calibration.py"
        for row in rows
        if row.boxes >= ENOUGH_BOXES and row.boxes_left < FEW_LEFT * row.boxes
    ]
    return "\n".join(lines)


def _innermost(dataset: Any) -> Any:
    while True:
        inner = getattr(dataset, "dataset", None) or next(
            iter(getattr(dataset, "datasets", ())), None
        )
        if inner is None:
            return dataset
        dataset = inner


def _points(sample: dict, readers: Sequence[LoadLidarPoints]) -> torch.Tensor:
    """The sweep in the ego frame, [P, 3]; empty without one."""
    if sample["lidar_path"] is None or not readers:
        return torch.zeros(0, 3, dtype=torch.float64)
    points = torch.from_numpy(readers[0](sample)["points"][:, :3].astype(np.float64))
    return transform_points(torch.from_numpy(sample["lidar2ego"]), points)


def _count(
    whole: dict,  # a sample with its images as they were taken
    cropped: dict,  # the same as the network gets it
    points: torch.Tensor,  # [P, 3], ego frame
    found: dict[str, CameraCoverage],
) -> None:
    boxes = whole["ann_info"]["gt_bboxes_3d"].gravity_center.double()
    for camera, name in enumerate(whole["cam_names"]):
        row = found.setdefault(name, CameraCoverage(name))
        before, after = _of_one_camera(whole, camera), _of_one_camera(cropped, camera)
        row.boxes += int(covered_points(boxes, before).sum())
        row.boxes_left += int(covered_points(boxes, after).sum())
        row.points += int(covered_points(points, before).sum())
        row.points_left += int(covered_points(points, after).sum())


def _of_one_camera(sample: dict, camera: int) -> dict:
    """The key frame as if the vehicle had this camera alone."""
    arrays = ("intrinsics", "ego_T_cam", "image_aug", "camera_mask")
    return {
        "bev_aug": sample["bev_aug"],
        **{name: sample[name][:1, camera : camera + 1] for name in arrays},
        **{name: [sample[name][camera]] for name in ("img", "raw_shape")},
    }


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.0f} %" if whole else "-"
