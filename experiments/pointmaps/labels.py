"""How good are depth labels of a two-view network in scenes that it never saw?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from tqdm import tqdm

from bevdepth_plus.datasets.info_file import read_info_file
from bevdepth_plus.datasets.sample_record import Record, parse_sample
from bevdepth_plus.datasets.transforms.dense_depth import depth_picture_path, read_depth
from bevdepth_plus.datasets.transforms.moving_objects import moving_mask
from bevdepth_plus.files import atomic_write
from bevdepth_plus.geometry.boxes import transform_boxes
from bevdepth_plus.pointmaps.checkpoints import load_model
from bevdepth_plus.pointmaps.depth_labels import LabelSettings, make_depth_labels
from bevdepth_plus.pointmaps.depth_pictures import UNIT, LabelFolder
from bevdepth_plus.pointmaps.drives import Drive, read_drives
from bevdepth_plus.pointmaps.metric_depth import ScaleRules

FARTHEST = 60.0  # metres: where the detector's bins end
MIN_CONFIDENCE = 1.05  # about the median of the small network
LONG_SIDE = 256  # pixels: the network learnt at this width


def records_of(root: Path, ann_file: str) -> list[Record]:
    """The samples of an info file, boxes in the LiDAR frame."""
    records = []
    for info in read_info_file(root / ann_file)["data_list"]:
        names = list(info["images"])
        folders = {name: str(root / "samples" / name) for name in names}
        labels = {int(each["bbox_label_3d"]): 0 for each in info["instances"]}
        records.append(parse_sample(info, names, labels, folders, ""))
    return records


def images_of(records: Sequence[Record]) -> set[str]:
    """Files of the images of all cameras."""
    return {path for record in records for path in record["img_path"]}


def drives_of(root: Path, version: str, images: set[str]) -> list[Drive]:
    """The drives that some images belong to."""
    return [
        drive
        for drive in read_drives(root, version)
        if any(str(shot.path) in images for shot in drive.shots)
    ]


def make_labels(
    root: Path, version: str, weights: Path, out: str, records: Sequence[Record], masks: Path | None
) -> None:
    """Labels of all images of some samples, in ``root / out``; those that are there stay."""
    images = images_of(records)
    drives = drives_of(root, version, images)
    model = load_model(weights)
    # So small a network does not learn where view 2 lies: its own metres are the better scale.
    rules = ScaleRules(min_confidence=MIN_CONFIDENCE, scale="network")
    settings = LabelSettings(rules, LONG_SIDE, masks=masks)
    folder = LabelFolder(root, out, settings.to_dict(model))
    with tqdm(total=len(images), desc=out, unit="image") as bar:
        print(make_depth_labels(model, drives, folder, settings, bar.update))


def write_moving_masks(records: Sequence[Record], folder: Path) -> None:
    """A mask for each image: 0 inside the boxes of what moves."""
    for record in tqdm(records, desc="masks", unit="sample"):
        for camera, path in enumerate(record["img_path"]):
            depth = read_depth(depth_picture_path(path, "depth"), UNIT)
            moving = moving_pixels(record, camera, depth.shape)
            place = folder / Path(path).parent.name / f"{Path(path).stem}.png"
            with atomic_write(place, "wb") as file:
                file.write(cv2.imencode(".png", np.uint8(255) * ~moving)[1].tobytes())


def moving_pixels(record: Record, camera: int, size: tuple[int, ...]) -> np.ndarray:
    """The pixels of an image inside the boxes of what moves, bool ``[H, W]``."""
    boxes = torch.from_numpy(np.asarray(record["boxes"], dtype=np.float64))
    ego = transform_boxes(boxes, torch.from_numpy(record["lidar2ego"]))
    pose, matrix = (torch.from_numpy(record[key][camera]) for key in ("ego_T_cam", "intrinsics"))
    return moving_mask(ego, (size[0], size[1]), pose, matrix)


def label_scores(records: Sequence[Record], folder: str) -> dict[str, Any]:
    """Labels against exact depth up to 60 m: ``all``, and what ``moves`` and what ``stands`` alone.

    Each has ``abs_rel``, ``d1`` (share within a factor of 1.25) and ``coverage`` (share of the
    pixels with exact depth that have a label).
    """
    sums = {name: np.zeros(4) for name in ("all", "moves", "stands")}
    for record in records:
        for camera, path in enumerate(record["img_path"]):
            true = read_depth(depth_picture_path(path, "depth"), UNIT)
            label = read_depth(depth_picture_path(path, folder), UNIT)
            moves = moving_pixels(record, camera, true.shape)
            for name, part in (("all", True), ("moves", moves), ("stands", ~moves)):
                sums[name] += _sums(true, label, part & (true > 0) & (true <= FARTHEST))
    return {name: _scores(*values) for name, values in sums.items()}


def _sums(true: np.ndarray, label: np.ndarray, counted: np.ndarray) -> np.ndarray:
    """Pixels, labels among them, their summed relative errors and their hits."""
    both = counted & (label > 0)
    ratio = label[both].astype(np.float64) / true[both]
    hits = (np.maximum(ratio, 1 / ratio) < 1.25).sum()
    return np.array([counted.sum(), both.sum(), np.abs(ratio - 1).sum(), hits])


def _scores(pixels: float, labels: float, error: float, hits: float) -> Mapping[str, float | None]:
    return {
        "abs_rel": error / labels if labels else None,
        "d1": hits / labels if labels else None,
        "coverage": labels / pixels if pixels else None,
    }
