"""What is annotated: objects by class and range, with and without LiDAR points."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from bevdepth_plus.checks.findings import Findings
from bevdepth_plus.datasets.ground_truth import num_points, read_objects

RANGES = (0, 20, 40, 60, 100, np.inf)  # metres from the vehicle, on the ground
FEW = 20  # objects of a class; fewer teach nothing that holds elsewhere


def check_objects(
    infos: Sequence[Mapping], names: Mapping[int, str], reach: float | None = None
) -> Findings:
    """Counts by class.

    Args:
        infos: samples as ``read_info_file`` returns them.
        names: label in the file -> class name.
        reach: how far the BEV grid goes, metres, if a config says.

    Raises:
        DataError: a box or a label cannot be used.
    """
    labels = {-1: -1} | {label: label for label in names}
    objects = [_objects(info, labels) for info in infos]
    label, distance, points, size = (
        np.concatenate([sample[key] for sample in objects]) for key in objects[0]
    )
    classes = {
        name: _class_numbers(label == value, distance, points, size)
        for value, name in names.items()
    }
    findings = Findings(numbers={"classes": classes, "ignored_objects": int((label < 0).sum())})
    unlabelled = [info["token"] for info in infos if info.get("instances") is None]
    if unlabelled:
        findings.problems.append(
            f"{len(unlabelled)} of {len(infos)} samples have no instances, first {unlabelled[0]}"
        )
    if not (label >= 0).any():
        findings.problems.append("no sample has an object of a class: nothing to train on")
    for name, numbers in classes.items():
        if numbers["objects"] < FEW:
            findings.notes.append(f"class {name} has {numbers['objects']} objects")
        elif numbers["without_points"] == numbers["objects"]:
            findings.problems.append(
                f"class {name}: none of {numbers['objects']} objects holds a LiDAR or radar point, "
                "so none is trained on (write -1 where the count is unknown)"
            )
    far = int((distance[label >= 0] > reach).sum()) if reach is not None else 0
    if far:
        findings.notes.append(f"{far} objects are farther than {reach:g} m, beyond the BEV grid")
    return findings


def _objects(info: Mapping, labels: Mapping[int, int]) -> dict[str, np.ndarray]:
    where = f"sample {info['token']}"
    instances = info.get("instances") or []
    objects = read_objects(instances, labels, where)
    lidar2ego = np.asarray(info["lidar_points"]["lidar2ego"], dtype=float)
    centres = objects["boxes"][:, :3] @ lidar2ego[:3, :3].T + lidar2ego[:3, 3]
    return {
        "label": objects["labels"],
        "distance": np.linalg.norm(centres[:, :2], axis=1),
        "points": np.array([num_points(i, where) for i in instances], dtype=np.int64),
        "size": objects["boxes"][:, 3:6],
    }


def _class_numbers(
    chosen: np.ndarray, distance: np.ndarray, points: np.ndarray, size: np.ndarray
) -> dict[str, Any]:
    counts, _ = np.histogram(distance[chosen], RANGES)
    names = [f"{near:g}-{far:g} m" for near, far in pairwise(RANGES)]
    median = np.median(size[chosen], axis=0).round(2).tolist() if chosen.any() else None
    return {
        "objects": int(chosen.sum()),
        "with_points": int((points[chosen] > 0).sum()),
        "without_points": int((points[chosen] == 0).sum()),
        "points_unknown": int((points[chosen] < 0).sum()),
        "by_range": dict(zip(names, counts.tolist(), strict=True)),
        "median_size": median,  # length, width, height, metres
    }
