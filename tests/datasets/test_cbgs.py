from __future__ import annotations

import numpy as np
from mmdet3d.datasets import CBGSDataset

from bevdepth_plus.datasets.nuscenes_dataset import NuScenesBEVDataset


def make(path, **options) -> NuScenesBEVDataset:
    return NuScenesBEVDataset(ann_file=path.name, data_root=str(path.parent), **options)


def test_a_samples_labels_are_those_it_trains_on(write_infos, infos):
    # a car, a barrier no point hit, an ignored object, a pedestrian only radar saw
    path = write_infos(infos)
    assert make(path).get_cat_ids(0) == {0, 7}
    assert make(path, test_mode=True).get_cat_ids(0) == {0, 7, 9}


def test_mmdet3ds_class_balanced_sampling_repeats_the_samples_of_rare_classes(write_infos, infos):
    for index, info in enumerate(infos):  # cars and pedestrians: two samples; the rest: one
        template = info["instances"][0]
        labels = (0, 7) if index else range(10)
        info["instances"] = [{**template, "bbox_label_3d": label} for label in labels]
    np.random.seed(0)
    balanced = CBGSDataset(make(write_infos(infos)))
    drawn = [balanced[index]["sample_idx"] for index in range(len(balanced))]
    assert drawn.count(0) > len(drawn) / 2
    assert balanced.metainfo["classes"][0] == "car"
