from __future__ import annotations

import pytest

from bevdepth_plus.classes import CLASSES
from bevdepth_plus.errors import DataError
from bevdepth_plus.models.heads.head_tasks import check_tasks, head_tasks

OFFICIAL = {
    ("car",): 4.0,
    ("truck", "construction_vehicle"): 12.0,
    ("trailer", "bus"): 10.0,
    ("barrier",): 1.0,
    ("bicycle", "motorcycle"): 0.85,
    ("pedestrian", "traffic_cone"): 0.175,
}


def by_names(tasks: list[dict], radii: list[float]) -> dict:
    return {tuple(task["class_names"]): r for task, r in zip(tasks, radii, strict=True)}


def test_the_ten_classes_of_nuscenes_get_the_six_official_tasks():
    assert by_names(*head_tasks(CLASSES)) == OFFICIAL


def test_other_data_sets_classes_join_those_of_their_size():
    tasks = by_names(*head_tasks(["Car", "Van", "Pedestrian", "Cyclist", "Tram"]))
    assert tasks == {
        ("Car", "Van"): 4.0,
        ("Pedestrian",): 0.175,
        ("Cyclist",): 0.85,
        ("Tram",): 12.0,
    }


def test_an_unheard_of_class_needs_a_radius_in_metres():
    with pytest.raises(DataError, match="no NMS radius is known for class 'forklift'; give"):
        head_tasks(["car", "forklift"])
    tasks = head_tasks(["car", "forklift"], nms_radius=dict(forklift=1.5))
    assert by_names(*tasks) == {("car",): 4.0, ("forklift",): 2.25}


@pytest.mark.parametrize(
    ("nms_radius", "complaint"),
    [
        (dict(forklfit=1.5), "which the data set does not have; did you mean 'forklift'"),
        (dict(forklift=0.0), "must be above 0 m"),
    ],
)
def test_a_radius_for_nothing_or_of_nothing_is_refused(nms_radius, complaint):
    with pytest.raises(DataError, match=complaint):
        head_tasks(["car", "forklift"], nms_radius)


@pytest.mark.parametrize(
    ("names", "complaint"),
    [
        ([["car"], ["bus", "tram"]], "name class 'bus', which the data set does not have"),
        ([["car"]], "class 'tram' is in none of model.heads.boxes.tasks"),
        ([["car", "tram"], ["tram"]], "class 'tram' is in two of"),
    ],
)
def test_tasks_name_every_class_once(names, complaint):
    tasks = [dict(class_names=task) for task in names]
    with pytest.raises(DataError, match=complaint):
        check_tasks(tasks, ["car", "tram"])
