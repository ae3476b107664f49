"""Is there anything to learn in these records? Said before training starts, not after it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bevdepth_plus.datasets.ground_truth import is_hit
from bevdepth_plus.datasets.sample_record import Record
from bevdepth_plus.errors import DataError


def require_trainable(
    records: Sequence[Record], classes: Sequence[str], min_points: int, where: str
) -> list[str]:
    """Refuses records that would train on nothing.

    Args:
        records: Of ``parse_sample`` or ``link_frames``.
        classes: The config's class names, in the order of its labels.
        min_points: LiDAR and radar points that a box needs in training.
        where: The info file, as errors name it.

    Returns:
        Notes on what is missing without harm, one sentence each.

    Raises:
        DataError: A sample is not labelled (it has no ``instances``), no object is of a class of
            the config, or no such object has enough points.
    """
    unlabelled = [record["token"] for record in records if not record["labelled"]]
    if unlabelled:
        raise DataError(
            f"{where}: {len(unlabelled)} of {len(records)} samples have no instances, first sample "
            f"{unlabelled[0]}: they would be taught as empty road; remove them from the training "
            "file, or give a sample without objects an empty list"
        )
    labels = np.concatenate([record["labels"] for record in records])
    points = np.concatenate([record["num_points"] for record in records])
    known = labels >= 0
    if not known.any():
        raise DataError(
            f"{where}: none of {len(labels)} objects is of a class of the config "
            f"({', '.join(classes)}): there is nothing to train on; check metainfo.classes and the "
            "labels"
        )
    used = known & is_hit(points, min_points)
    if not used.any():
        raise DataError(
            f"{where}: none of {known.sum()} objects has {min_points} LiDAR or radar points "
            "(num_lidar_pts, num_radar_pts): there is nothing to train on; write -1 where the "
            "count is unknown, or set the dataset's min_lidar_points=0"
        )
    counts = np.bincount(labels[used], minlength=len(classes))
    absent = [name for name, count in zip(classes, counts, strict=True) if count == 0]
    return [f"no object to train on of class {', '.join(absent)}"] if absent else []
