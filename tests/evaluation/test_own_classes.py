"""Scores of data that is not nuScenes: own class names, labels, ranges; unknown velocities."""

from __future__ import annotations

import copy

import numpy as np
import pytest

from bevdepth_plus.classes import CLASSES
from bevdepth_plus.datasets.ground_truth import names_by_label
from bevdepth_plus.errors import DataError
from bevdepth_plus.evaluation.boxes import load_ground_truth
from bevdepth_plus.evaluation.detection import evaluate_detections, predictions_from_ground_truth
from bevdepth_plus.evaluation.rules import scoring_rules

OWN = ("tram", "van", "cyclist")


def relabelled(infos: list[dict], new_label: dict[str, int]) -> list[dict]:
    """The infos with other labels for the ten classes."""
    infos = copy.deepcopy(infos)
    for info in infos:
        for instance in info["instances"]:
            instance["bbox_label_3d"] = new_label[CLASSES[instance["bbox_label_3d"]]]
    return infos


@pytest.fixture
def own_infos(tiny_dataset) -> list[dict]:
    """Cars are trams, trucks vans, pedestrians cyclists; nobody annotated anything else."""
    names = {"car": 0, "truck": 1, "pedestrian": 2}
    return relabelled(tiny_dataset.infos, {name: names.get(name, -1) for name in CLASSES})


@pytest.mark.parametrize(
    "categories",
    [
        {name: label + 1 for label, name in enumerate(CLASSES)},
        {name: 7 * label for label, name in enumerate(CLASSES)},
        {name: len(CLASSES) - label for label, name in enumerate(CLASSES)},
    ],
    ids=["from one", "with gaps", "in another order"],
)
def test_labels_with_gaps_or_not_from_zero_score_by_name(tiny_dataset, categories):
    infos = relabelled(tiny_dataset.infos, categories)
    names = names_by_label(categories)
    found = predictions_from_ground_truth(infos, label_names=names)
    scores = evaluate_detections(found, infos, label_names=names)
    assert scores["mAP"] == pytest.approx(1.0, abs=1e-9)
    expected = evaluate_detections(found, tiny_dataset.infos)["per_class"]
    assert scores["per_class"] == expected


def test_an_ignored_class_does_not_shift_the_names_of_the_later_ones(tiny_dataset):
    categories = {name: label for label, name in enumerate(CLASSES)} | {"trailer": -1}
    infos = relabelled(tiny_dataset.infos, categories)
    classes = [name for name in CLASSES if name != "trailer"]
    names = names_by_label(categories)
    found = predictions_from_ground_truth(infos, classes=classes, label_names=names)
    scores = evaluate_detections(found, infos, classes=classes, label_names=names)
    assert scores["mAP"] == pytest.approx(1.0, abs=1e-9)
    assert list(scores["per_class"]) == classes
    official = evaluate_detections(
        predictions_from_ground_truth(tiny_dataset.infos), tiny_dataset.infos
    )
    for name in classes:
        assert scores["per_class"][name] == official["per_class"][name]


def test_a_label_without_a_name_is_refused(tiny_dataset):
    infos = copy.deepcopy(tiny_dataset.infos)
    infos[2]["instances"][4]["bbox_label_3d"] = 10
    with pytest.raises(DataError, match=r"instances\[4\].bbox_label_3d is 10, which metainfo"):
        load_ground_truth(infos)


def test_own_classes_are_scored_as_the_devkit_scores_its_own(tiny_dataset, own_infos):
    """The same boxes under other names and the same range score the same."""
    found = predictions_from_ground_truth(own_infos, classes=OWN)
    for results in found.values():  # half a metre off: neither perfect nor missed
        for result in results:
            result["translation"][0] += 0.6
            result["size"][0] *= 1.5
    renamed = dict(zip(OWN, ("car", "truck", "pedestrian"), strict=True))
    official = {
        token: [{**r, "detection_name": renamed[r["detection_name"]]} for r in results]
        for token, results in found.items()
    }
    ours = evaluate_detections(found, own_infos, classes=OWN, class_range=45.0)
    theirs = evaluate_detections(official, tiny_dataset.infos, class_range=45.0)
    assert 0.5 < ours["mAP"] < 0.9
    for own, name in renamed.items():
        assert ours["per_class"][own] == theirs["per_class"][name]


def test_a_perfect_detector_of_own_classes_scores_one(own_infos):
    found = predictions_from_ground_truth(own_infos, classes=OWN)
    scores = evaluate_detections(found, own_infos, classes=OWN, default_range=51.2)
    assert scores["mAP"] == pytest.approx(1.0, abs=1e-9)
    assert scores["NDS"] > 0.99


def test_without_attributes_own_classes_have_no_attribute_error(own_infos):
    for info in own_infos:
        for instance in info["instances"]:
            instance["attribute"] = ""
    found = predictions_from_ground_truth(own_infos, classes=OWN)
    scores = evaluate_detections(found, own_infos, classes=OWN, default_range=51.2)
    assert scores["tp_errors"]["attr_err"] is None
    assert scores["per_class"]["van"]["attr_err"] is None
    assert scores["NDS"] == pytest.approx(0.9, abs=1e-3)
    with_absent = evaluate_detections(found, own_infos, classes=(*OWN, "ferry"), default_range=51.2)
    assert with_absent["tp_errors"]["attr_err"] is None


def test_classes_of_the_challenge_keep_its_ranges_and_own_ones_take_the_default():
    assert scoring_rules(("car", "barrier"), None, 51.2).class_range == {"car": 50, "barrier": 30}
    mixed = scoring_rules(("car", "van"), None, 80.0).class_range
    assert mixed == {"car": 80.0, "van": 80.0}
    assert scoring_rules(("car", "van"), {"van": 30.0}, 80.0).class_range["van"] == 30.0
    assert scoring_rules(("car", "van"), 20.0).class_range == {"car": 20.0, "van": 20.0}


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (dict(), "no evaluation range is known for class 'tram'"),
        (
            dict(class_range={"trem": 50.0}),
            "names 'trem', which is not scored; did you mean 'tram'",
        ),
        (dict(class_range={"tram": 0.0}, default_range=5.0), "class_range of 'tram' must be above"),
    ],
)
def test_a_class_without_a_usable_range_is_refused(options, complaint):
    with pytest.raises(DataError, match=complaint):
        scoring_rules(OWN, **options)


def test_unknown_velocities_are_left_out_of_the_velocity_error(tiny_dataset):
    found = predictions_from_ground_truth(tiny_dataset.infos)
    for results in found.values():
        for result in results:
            result["velocity"][0] += 1.0
    infos = copy.deepcopy(tiny_dataset.infos)
    for info in infos:
        for instance in info["instances"][::2]:
            instance["global_box"]["velocity"] = [float("nan"), float("nan")]
    known = evaluate_detections(found, infos)["per_class"]
    assert known["car"]["vel_err"] == pytest.approx(1.0)  # not less: nothing counted as 0


@pytest.mark.parametrize("velocity", [None, [1.0, 2.0, 0.0], [1.0, 2.0]])
def test_a_velocity_may_be_absent_or_have_three_numbers(tiny_dataset, velocity):
    info = copy.deepcopy(tiny_dataset.infos[0])
    info["instances"][0]["global_box"]["velocity"] = velocity
    box = load_ground_truth([info])[info["token"]][0]
    if velocity is None:
        assert np.isnan(box.velocity).all()
    else:
        assert box.velocity == (1.0, 2.0)


def test_a_box_without_size_is_refused_before_it_is_matched(tiny_dataset):
    infos = copy.deepcopy(tiny_dataset.infos)
    infos[1]["instances"][3]["global_box"]["size"] = [0, 0, 0]
    token = infos[1]["token"]
    with pytest.raises(DataError, match=rf"sample {token}: instances\[3\] .*above 0 m"):
        evaluate_detections({}, infos)


def test_samples_that_share_a_token_are_refused_with_their_scenes(tiny_dataset):
    infos = copy.deepcopy(tiny_dataset.infos)
    infos[4]["token"] = infos[0]["token"]
    with pytest.raises(DataError, match="two samples have the token .*scene-0103 and scene-0916"):
        evaluate_detections({}, infos)


def test_a_predicted_velocity_that_is_not_finite_is_refused(tiny_dataset):
    found = predictions_from_ground_truth(tiny_dataset.infos)
    found[tiny_dataset.infos[0]["token"]][0]["velocity"] = [float("nan"), 0.0]
    with pytest.raises(DataError, match="a number that is not finite"):
        evaluate_detections(found, tiny_dataset.infos)


@pytest.mark.parametrize("kept", [[], [0], range(8)], ids=["no sample", "one sample", "all"])
def test_a_class_in_no_one_or_all_samples_is_scored(own_infos, kept):
    for index, info in enumerate(own_infos):
        if index not in kept:
            info["instances"] = [i for i in info["instances"] if i["bbox_label_3d"] != 1]
    found = predictions_from_ground_truth(own_infos, classes=OWN)
    scores = evaluate_detections(found, own_infos, classes=OWN, default_range=60.0)
    assert scores["per_class"]["van"]["ap"] == pytest.approx(1.0 if kept else 0.0)
