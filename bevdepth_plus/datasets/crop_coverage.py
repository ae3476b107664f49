"""How much of what a camera saw is left in the network's image: said before training starts."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from bevdepth_plus.datasets.transforms.image_augmentation import ImageAugmentation
from bevdepth_plus.datasets.transforms.lidar_depth import LoadLidarPoints
from bevdepth_plus.datasets.transforms.load_images import LoadMultiViewImages
from bevdepth_plus.geometry.cameras import project_from_ego
from bevdepth_plus.geometry.pinhole import in_image, transform_pixels

MIN_DEPTH = 1.0  # metres; nearer points lie on the own vehicle
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
        sample = crop(LoadMultiViewImages()(dataset.get_data_info(int(index))))
        _count(sample, _points(sample, readers), found)
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


def _points(sample: dict, readers: Sequence[LoadLidarPoints]) -> np.ndarray:
    """The sweep in the ego frame, [P, 3]; empty without one."""
    if sample["lidar_path"] is None or not readers:
        return np.zeros((0, 3))
    points = readers[0](sample)["points"][:, :3].astype(np.float64)
    return points @ sample["lidar2ego"][:3, :3].T + sample["lidar2ego"][:3, 3]


def _count(sample: dict, points: np.ndarray, found: dict[str, CameraCoverage]) -> None:
    boxes = sample["ann_info"]["gt_bboxes_3d"].gravity_center.double().numpy()
    for camera, name in enumerate(sample["cam_names"]):
        row = found.setdefault(name, CameraCoverage(name))
        if sample["camera_mask"][0, camera]:
            for kind, places in (("boxes", boxes), ("points", points)):
                seen, left = _seen(places, sample, camera)
                setattr(row, kind, getattr(row, kind) + seen)
                setattr(row, f"{kind}_left", getattr(row, f"{kind}_left") + left)


def _seen(
    points: np.ndarray,  # [P, 3], ego frame
    sample: dict,
    camera: int,
) -> tuple[int, int]:
    """How many points lie in the camera's image, and how many in its crop."""
    pixels, depth = project_from_ego(
        torch.from_numpy(points),
        torch.from_numpy(sample["ego_T_cam"][0, camera]),
        torch.from_numpy(sample["intrinsics"][0, camera]),
    )
    raw = pixels[(depth >= MIN_DEPTH) & in_image(pixels, sample["raw_shape"][camera])]
    cropped = transform_pixels(torch.from_numpy(sample["image_aug"][0, camera]), raw)
    return len(raw), int(in_image(cropped, sample["img"][camera].shape[:2]).sum())


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.0f} %" if whole else "-"
