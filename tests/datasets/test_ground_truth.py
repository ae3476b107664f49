from __future__ import annotations

import numpy as np
import pytest

from bevdepth_plus.datasets.ground_truth import is_hit, label_map, names_by_label, num_points
from bevdepth_plus.errors import DataError

GAPS = {"car": 3, "trailer": -1, "bus": 7, "animal": -2}


def test_a_label_is_no_position_in_a_list_of_names():
    assert names_by_label(GAPS) == {3: "car", 7: "bus"}


def test_labels_follow_names_over_gaps_and_ignored_classes():
    assert label_map(GAPS, ["bus", "car"]) == {-1: -1, 3: 1, 7: 0}


def test_an_ignored_class_of_the_config_maps_to_ignored():
    assert label_map({"car": 1, "tram": 2}, ["car"], ignored=["tram"]) == {-1: -1, 1: 0, 2: -1}


def test_numpy_integers_are_labels():
    assert names_by_label({"car": np.int64(2)}) == {2: "car"}


@pytest.mark.parametrize(
    ("categories", "complaint"),
    [
        ({"car": 0, "van": 0}, "'car' and 'van' have the same label 0"),
        ({"car": 0.5}, "'car': 0.5"),
        ({"car": True}, "'car': True"),
        ({3: 1}, "3: 1"),
        (["car"], r"must be a dict .class name: label., got \['car'\]"),
        ({}, "must be a dict"),
    ],
)
def test_categories_that_do_not_name_each_label_once_are_refused(categories, complaint):
    with pytest.raises(DataError, match=complaint) as error:
        names_by_label(categories, "infos.pkl: metainfo.categories")
    assert str(error.value).startswith("infos.pkl: metainfo.categories")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("classes", "ignored", "complaint"),
    [
        (["car", "bus", "tram"], (), "class 'tram' of the config"),
        (["car", "bus"], ["tram"], "class 'tram' of the config"),
        (["car"], (), "has class 'bus', which the config does not know; add it"),
        (["car", "car", "bus"], (), "names 'car' twice"),
        (["car", "bus"], ["bus"], "in metainfo.classes and in metainfo.ignored_classes"),
    ],
)
def test_a_config_and_a_file_that_do_not_share_their_classes_are_refused(
    classes, ignored, complaint
):
    with pytest.raises(DataError, match=complaint):
        label_map(GAPS, classes, ignored)


def test_a_class_that_the_file_ignores_may_be_ignored_by_the_config_too():
    assert label_map(GAPS, ["car", "bus"], ignored=["trailer"]) == {-1: -1, 3: 0, 7: 1}


@pytest.mark.parametrize(
    ("lidar", "radar", "points"),
    [(3, 2, 5), (0, 0, 0), (0, 2, 2), (0, None, 0), (-1, 0, -1), (-1, 2, 2), (None, None, -1),
     (None, 0, -1), (-1, -1, -1), (4, -1, 4)],
)  # fmt: skip
def test_unknown_counts_are_neither_zero_nor_minus_something(lidar, radar, points):
    given = {"num_lidar_pts": lidar, "num_radar_pts": radar}
    assert num_points({key: value for key, value in given.items() if value is not None}) == points


def test_an_object_with_an_unknown_number_of_points_is_kept():
    assert is_hit(-1) and is_hit(1) and not is_hit(0)
    assert not is_hit(4, minimum=5) and is_hit(-1, minimum=5)
