"""One sample's files: images, sweep and calibration, and whether boxes and points agree."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from bevdepth_plus.datasets.calibration import check_sample
from bevdepth_plus.datasets.ground_truth import read_objects
from bevdepth_plus.datasets.sweeps import read_points
from bevdepth_plus.errors import DataError
from bevdepth_plus.evaluation.coverage import count_uncovered
from bevdepth_plus.geometry.boxes import points_in_boxes
from bevdepth_plus.rigs.image_files import read_image

CONFIRMED = 5  # points that a box must have by its count, for the sweep to be asked
POINT_NUMBERS = 5  # x, y, z, intensity, ring, as in nuScenes


def check_files(
    info: Mapping,
    image_folders: Mapping[str, str],
    lidar_folder: str,
    drop_not_finite: bool = False,
) -> dict[str, Any]:
    """Reads everything that one sample names.

    Args:
        info: The sample.
        image_folders: By camera.
        lidar_folder: Folder of the sweeps.
        drop_not_finite: Points without finite coordinates are no problem: training drops them.

    Returns:
        ``problems`` (lines), ``cameras`` (name -> ``size`` and ``boxes``: how many have their
        centre in the image), ``sweep`` (``points``, ``farthest``, ``asked`` and ``confirmed``
        boxes) or None, and ``seconds`` (``images``, ``sweep``). All of it can be written as JSON.
    """
    problems: list[str] = []
    sizes, cameras, seconds = {}, {}, {"images": 0.0, "sweep": 0.0}
    for name, camera in info["images"].items():
        start = time.perf_counter()
        try:
            image = read_image(f"{image_folders[name]}/{camera['img_path']}")
        except DataError as error:
            problems.append(f"sample {info['token']}, {name}: {error}")
            continue
        seconds["images"] += time.perf_counter() - start
        sizes[name] = (image.shape[1], image.shape[0])
        cameras[name] = {"size": list(sizes[name]), "boxes": _boxes_in(info, name, sizes[name])}
    readable = {**info, "images": {name: info["images"][name] for name in sizes}}
    problems += check_sample(readable, sizes)
    start = time.perf_counter()
    try:
        sweep = _check_sweep(info, lidar_folder, drop_not_finite)
    except DataError as error:
        sweep = None
        problems.append(f"sample {info['token']}: {error}")
    seconds["sweep"] = time.perf_counter() - start
    return {"problems": problems, "cameras": cameras, "sweep": sweep, "seconds": seconds}


def _boxes_in(info: Mapping, name: str, size: tuple[int, int]) -> int:
    if info.get("instances") is None:
        return 0
    camera = {**info["images"][name], "width": size[0], "height": size[1]}
    outside, total = count_uncovered({**info, "images": {name: camera}}, [name])
    return total - outside


def _check_sweep(info: Mapping, folder: str, drop_not_finite: bool) -> dict[str, Any] | None:
    lidar = info["lidar_points"]
    if not lidar.get("lidar_path"):
        return None
    width = lidar.get("num_pts_feats") or POINT_NUMBERS
    points = read_points(f"{folder}/{lidar['lidar_path']}", width, drop_not_finite)[:, :3]
    instances = [
        instance
        for instance in info.get("instances") or []
        if (instance.get("num_lidar_pts") or 0) >= CONFIRMED and instance["bbox_label_3d"] >= 0
    ]
    every_label = {i["bbox_label_3d"]: 0 for i in instances}
    boxes = read_objects(instances, every_label, f"sample {info['token']}")["boxes"]
    inside = points_in_boxes(torch.from_numpy(points.astype(np.float64)), torch.from_numpy(boxes))
    return {
        "points": len(points),
        "farthest": float(np.abs(points).max(initial=0)),
        "asked": len(boxes),
        "confirmed": int(inside.any(dim=1).sum()) if len(boxes) else 0,
    }
