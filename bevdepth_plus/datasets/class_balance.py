"""Class-balanced sampling (CBGS) for data sets that do not have every class."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence

import numpy as np
from mmdet3d.datasets import CBGSDataset
from mmdet3d.registry import DATASETS
from mmengine.dataset import BaseDataset
from mmengine.logging import print_log

from bevdepth_plus.errors import DataError

OFTEN = 50  # repetitions of one sample in an epoch from which on the log says so


def balanced_indices(
    classes_of_samples: Sequence[Collection[int]], num_classes: int
) -> tuple[list[int], dict[int, float]]:
    """Samples of one epoch, drawn so that each class that occurs has an equal share.

    Draws from numpy's global generator exactly what mmdet3d's ``CBGSDataset`` draws where all
    classes occur.

    Args:
        classes_of_samples: the labels of each sample.
        num_classes: labels are below it.

    Returns:
        Indices of samples, and how often each sample of a class is repeated for its sake (0 for a
        class without samples).

    Raises:
        DataError: no sample has any class.
    """
    samples_of = [
        [index for index, labels in enumerate(classes_of_samples) if label in labels]
        for label in range(num_classes)
    ]
    total = sum(map(len, samples_of))
    if total == 0:
        raise DataError(
            "class-balanced sampling (CBGS) needs samples with objects, and no sample has any; "
            "check metainfo.classes and num_lidar_pts"
        )
    share = 1.0 / sum(len(samples) > 0 for samples in samples_of)
    indices: list[int] = []
    repeated = dict.fromkeys(range(num_classes), 0.0)
    for label, samples in enumerate(samples_of):
        if samples:
            repeated[label] = share / (len(samples) / total)
            indices += np.random.choice(samples, int(len(samples) * repeated[label])).tolist()
    return indices, repeated


@DATASETS.register_module()
class BEVCBGSDataset(CBGSDataset):
    """mmdet3d's ``CBGSDataset`` over the classes that occur; a class without samples is left out.

    mmdet3d divides by the number of samples of each class. Classes that occur are balanced among
    themselves; the log names those that do not, and those whose few samples are repeated often.
    """

    def _get_sample_indices(self, dataset: BaseDataset) -> list[int]:
        names = self.metainfo["classes"]
        classes_of_samples = [dataset.get_cat_ids(index) for index in range(len(dataset))]
        indices, repeated = balanced_indices(classes_of_samples, len(names))
        absent = [names[label] for label, times in repeated.items() if times == 0]
        often = [
            f"{names[label]} x{times:.0f}" for label, times in repeated.items() if times > OFTEN
        ]
        for what, found in (("have no sample and are left out", absent), ("are repeated", often)):
            if found:
                message = f"class-balanced sampling: {', '.join(found)} {what}"
                print_log(message, logger="current", level=logging.WARNING)
        return indices
