from __future__ import annotations

import numpy as np
import pytest
from mmdet3d.datasets import CBGSDataset

from bevdepth_plus.datasets.class_balance import BEVCBGSDataset, balanced_indices
from bevdepth_plus.datasets.nuscenes_dataset import NuScenesBEVDataset
from bevdepth_plus.errors import DataError


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


def test_where_all_classes_occur_the_draws_are_mmdet3ds_own(write_infos, infos):
    for index, info in enumerate(infos):
        template = info["instances"][0]
        labels = (0, 7) if index else range(10)
        info["instances"] = [{**template, "bbox_label_3d": label} for label in labels]
    drawn = []
    for kind in (CBGSDataset, BEVCBGSDataset):
        np.random.seed(0)
        drawn.append(kind(make(write_infos(infos))).sample_indices)
    assert drawn[0] == drawn[1]


@pytest.mark.parametrize(
    ("samples", "shares"),
    [
        ([{0}, {0}, {0}, {1}], {0: 2 / 3, 1: 2.0, 2: 0.0}),  # class 2 has none, class 1 has one
        ([{0, 1, 2}, {0, 1, 2}], {0: 1.0, 1: 1.0, 2: 1.0}),  # all samples have all classes
        ([{1}, set()], {0: 0.0, 1: 1.0, 2: 0.0}),  # one sample in all
    ],
)
def test_a_class_with_no_one_or_all_samples_is_balanced_or_left_out(samples, shares):
    indices, repeated = balanced_indices(samples, 3)
    assert repeated == pytest.approx(shares)
    assert all(samples[index] for index in indices)
    for label in (label for label, share in shares.items() if share):
        assert any(label in samples[index] for index in indices)


def test_balancing_no_objects_at_all_is_refused():
    with pytest.raises(DataError, match="no sample has any"):
        balanced_indices([set(), set()], 3)
