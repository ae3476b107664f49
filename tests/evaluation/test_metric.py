from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Sequence

import numpy as np
import pytest
import torch

from bevdepth_plus.classes import CLASSES
from bevdepth_plus.datasets.info_file import read_info_file
from bevdepth_plus.errors import DataError
from bevdepth_plus.evaluation.detection import evaluate_detections, predictions_from_ground_truth
from bevdepth_plus.evaluation.nuscenes_format import boxes_from_results, results_from_boxes
from bevdepth_plus.evaluation.submission import check_submission

NuScenesBEVMetric = pytest.importorskip("bevdepth_plus.evaluation.metric").NuScenesBEVMetric

GRID = dict(x=(-51.2, 51.2, 0.8), y=(-51.2, 51.2, 0.8), z=(-5.0, 3.0, 8.0))


@pytest.fixture(scope="module")
def ann_file(tiny_dataset, tmp_path_factory):
    path = tmp_path_factory.mktemp("infos") / "infos.pkl"
    metainfo = {
        "info_version": "1.1",
        "version": "v1.0-mini",
        "categories": {name: label for label, name in enumerate(CLASSES)},
    }
    path.write_bytes(pickle.dumps({"metainfo": metainfo, "data_list": tiny_dataset.infos}))
    return path


@pytest.fixture
def samples(tiny_dataset) -> list[dict]:
    """What the detector hands over, here with the ground truth as its prediction."""
    return [data_sample(info) for info in tiny_dataset.infos]


def data_sample(
    info: dict,
    classes: Sequence[str] = CLASSES,
    label_names: dict[int, str] | None = None,
    box_dim: int = 9,
) -> dict:
    from mmdet3d.structures import Det3DDataSample, LiDARInstance3DBoxes
    from mmengine.structures import InstanceData

    options = dict(classes=classes, label_names=label_names)
    (results,) = predictions_from_ground_truth([info], **options).values()
    boxes, scores, labels = boxes_from_results(
        results, ego2global=info["ego2global"], classes=classes
    )
    sample = Det3DDataSample(metainfo={"token": info["token"], "cam_names": ["FRONT"]})
    sample.pred_instances_3d = InstanceData(
        bboxes_3d=LiDARInstance3DBoxes(boxes[:, :box_dim], box_dim=box_dim, origin=(0.5, 0.5, 0.5)),
        scores_3d=torch.from_numpy(scores),
        labels_3d=torch.from_numpy(labels),
    )
    depths = {"bin": torch.full((1, 2, 2), 11.0), "metric": torch.full((1, 2, 2), 10.5)}
    sample.set_field(depths, "pred_depths")
    sample.set_field(torch.tensor([[[10.0, 0.0], [0.0, 0.0]]]), "gt_depth")
    return sample.to_dict()


def test_perfect_predictions_score_perfectly_and_are_written(ann_file, samples, tmp_path):
    metric = NuScenesBEVMetric(
        ann_file, out_dir=tmp_path / "work", submission=tmp_path / "results.json"
    )
    metric.process(None, samples)
    scores = metric.evaluate(len(samples))
    assert scores["mAP"] == pytest.approx(1.0)
    assert scores["mATE"] == pytest.approx(0.0, abs=1e-4)
    assert scores["depth/bin/abs_rel"] == pytest.approx(0.1)
    assert scores["depth/metric/abs_rel"] == pytest.approx(0.05)
    assert all(isinstance(value, float) for value in scores.values())

    report = json.loads((tmp_path / "work" / "metrics.json").read_text())
    assert report["NDS"] == pytest.approx(scores["NDS"])
    assert report["num_samples"] == 8
    assert set(report["per_class"]) == set(CLASSES)
    assert report["depth"]["bin"]["overall"]["count"] == 8
    assert report["depth"]["metric"]["by_camera"]["FRONT"]["d1"] == 1
    assert report["depth"]["bin"]["by_range"]["0-10"]["abs_rel"] is None
    assert any("scored on 2 scenes of v1.0-mini" in note for note in report["notes"])

    submission = json.loads((tmp_path / "results.json").read_text())
    assert check_submission(submission, [sample["token"] for sample in samples]) == []


def test_scores_equal_those_of_the_function_it_calls(ann_file, samples, tiny_dataset):
    metric = NuScenesBEVMetric(ann_file, class_range=51.2, min_lidar_points=1)
    metric.process(None, samples)
    expected = evaluate_detections(
        predictions_from_ground_truth(tiny_dataset.infos),
        tiny_dataset.infos,
        class_range=51.2,
        min_lidar_points=1,
    )
    scores = metric.evaluate(len(samples))
    assert scores["mAP"] == pytest.approx(expected["mAP"], abs=1e-6)
    assert scores["AP/car"] == pytest.approx(expected["per_class"]["car"]["ap"], abs=1e-6)


def test_a_sample_that_two_ranks_evaluated_counts_once(ann_file, samples):
    once, twice = NuScenesBEVMetric(ann_file), NuScenesBEVMetric(ann_file)
    once.process(None, samples)
    twice.process(None, [*samples, samples[0]])
    assert twice.evaluate(len(samples) + 1) == once.evaluate(len(samples))


def test_only_evaluated_samples_are_scored(ann_file, samples, tmp_path):
    metric = NuScenesBEVMetric(ann_file, out_dir=tmp_path, classes_present_only=True)
    metric.process(None, samples[:3])
    assert metric.evaluate(3)["mAP"] == pytest.approx(1.0)
    report = json.loads((tmp_path / "metrics.json").read_text())
    assert report["num_samples"] == 3
    assert "not the official rules: classes_present_only=True" in report["notes"]


def test_format_only_writes_the_file_without_ground_truth(tiny_dataset, samples, tmp_path):
    test_split = tmp_path / "test.pkl"
    infos = [{k: v for k, v in i.items() if k != "instances"} for i in tiny_dataset.infos]
    metainfo = {"info_version": "1.1", "categories": {"car": 0}}
    test_split.write_bytes(pickle.dumps({"metainfo": metainfo, "data_list": infos}))
    submission = tmp_path / "results.json"
    metric = NuScenesBEVMetric(test_split, submission=submission, format_only=True)
    metric.process(None, samples)
    assert metric.evaluate(len(samples)) == {}
    assert len(json.loads(submission.read_text())["results"]) == 8

    scoring = NuScenesBEVMetric(test_split)
    scoring.process(None, samples)
    with pytest.raises(DataError, match="no ground truth: set format_only=True"):
        scoring.evaluate(len(samples))


def test_labels_of_the_info_file_are_read_by_its_own_categories(
    tiny_dataset, ann_file, samples, tmp_path
):
    content = pickle.loads(ann_file.read_bytes())
    turned = {name: len(CLASSES) - 1 - label for label, name in enumerate(CLASSES)}
    content["metainfo"]["categories"] = {**turned, "animal": -1}
    for info in content["data_list"]:
        for instance in info["instances"]:
            instance["bbox_label_3d"] = len(CLASSES) - 1 - instance["bbox_label_3d"]
    other_order = tmp_path / "infos.pkl"
    other_order.write_bytes(pickle.dumps(content))
    metric = NuScenesBEVMetric(other_order)
    metric.process(None, samples)
    assert metric.evaluate(len(samples))["mAP"] == pytest.approx(1.0)


def test_format_only_without_a_path_is_refused(ann_file):
    with pytest.raises(ValueError, match="give its path as submission="):
        NuScenesBEVMetric(ann_file, format_only=True)


def test_samples_without_depth_are_scored_without_it(ann_file, samples, tmp_path):
    for sample in samples:
        del sample["gt_depth"]
    metric = NuScenesBEVMetric(ann_file, out_dir=tmp_path)
    metric.process(None, samples)
    assert not any(name.startswith("depth/") for name in metric.evaluate(len(samples)))
    assert json.loads((tmp_path / "metrics.json").read_text())["depth"] is None


def test_the_boxes_handed_over_are_read_by_their_gravity_centre(ann_file, samples, tiny_dataset):
    info = tiny_dataset.infos[0]
    metric = NuScenesBEVMetric(ann_file)
    metric.process(None, samples[:1])
    (results,) = predictions_from_ground_truth([info]).values()
    expected, *_ = boxes_from_results(results, ego2global=info["ego2global"])
    assert metric.results[0]["boxes"] == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("key", ["token", "pred_instances_3d"])
def test_a_missing_entry_is_named(ann_file, samples, key):
    del samples[0][key]
    with pytest.raises(KeyError, match=f"has no '{key}'"):
        NuScenesBEVMetric(ann_file).process(None, samples)


def test_a_sample_of_another_info_file_is_named(ann_file, samples):
    samples[0]["token"] = "stranger"
    metric = NuScenesBEVMetric(ann_file)
    metric.process(None, samples)
    with pytest.raises(DataError, match=r"infos\.pkl has no sample stranger \(1 unknown"):
        metric.evaluate(len(samples))


def test_the_metric_is_found_by_its_name(ann_file):
    from mmdet3d.registry import METRICS

    # The scope is named: a test before this one may have left another as the default.
    built = METRICS.build(
        {"type": "NuScenesBEVMetric", "ann_file": str(ann_file), "_scope_": "mmdet3d"}
    )
    assert isinstance(built, NuScenesBEVMetric)


def own_file(tiny_dataset, path, categories: dict[str, int]) -> None:
    """The tiny data set with other class names for car, truck and pedestrian; the rest ignored."""
    names = {"car": "tram", "truck": "van", "pedestrian": "cyclist"}
    infos = copy.deepcopy(tiny_dataset.infos)
    for info in infos:
        for instance in info["instances"]:
            own = names.get(CLASSES[instance["bbox_label_3d"]])
            instance["bbox_label_3d"] = categories.get(own, -1)
    metainfo = {"info_version": "1.1", "categories": categories}
    path.write_bytes(pickle.dumps({"metainfo": metainfo, "data_list": infos}))


def test_own_classes_with_gaps_in_their_labels_score_one(tiny_dataset, tmp_path):
    path = tmp_path / "own.pkl"
    own_file(tiny_dataset, path, {"van": 7, "animal": -1, "cyclist": 2, "tram": 4})
    classes = ("cyclist", "tram", "van")
    metric = NuScenesBEVMetric(path, out_dir=tmp_path, grid=GRID)
    metric.dataset_meta = {"classes": classes}
    samples = [
        data_sample(info, classes, {7: "van", 2: "cyclist", 4: "tram"})
        for info in read_info_file(path)["data_list"]
    ]
    metric.process(None, samples)
    scores = metric.evaluate(len(samples))
    assert scores["mAP"] == pytest.approx(1.0)
    assert {name for name in scores if name.startswith("AP/")} == {f"AP/{n}" for n in classes}
    report = json.loads((tmp_path / "metrics.json").read_text())
    assert report["per_class"]["van"]["range"] == 51.2
    assert any("not nuScenes' classes (cyclist, tram, van)" in note for note in report["notes"])


@pytest.mark.parametrize(
    ("options", "damage", "complaint"),
    [
        (dict(), None, "no evaluation range is known for class 'cyclist'"),
        (dict(class_range={"vam": 9.0}, grid=GRID), None, "did you mean 'van'"),
        (dict(attributes={"van": {"moving": "a"}}, grid=GRID), None, "attributes of 'van' must be"),
        (dict(grid=GRID), "size", r"instances\[0\] .* above 0 m"),
        (dict(grid=GRID), "instances", "1 of 8 samples have no `instances`, first"),
    ],
)
def test_what_cannot_be_scored_is_refused_when_the_metric_learns_its_classes(
    tiny_dataset, tmp_path, options, damage, complaint
):
    path = tmp_path / "own.pkl"
    own_file(tiny_dataset, path, {"van": 7, "cyclist": 2, "tram": 4})
    content = pickle.loads(path.read_bytes())
    if damage == "instances":
        del content["data_list"][3]["instances"]
    if damage == "size":
        box = content["data_list"][3]["instances"][0]
        box["bbox_label_3d"], box["global_box"]["size"] = 7, [0, 0, 0]
    path.write_bytes(pickle.dumps(content))
    metric = NuScenesBEVMetric(path, **options)
    with pytest.raises(DataError, match=complaint) as error:
        metric.dataset_meta = {"classes": ("cyclist", "tram", "van")}
    assert "\n" not in str(error.value)


def test_boxes_without_velocity_are_scored_at_rest_and_the_notes_say_so(
    ann_file, tiny_dataset, tmp_path
):
    samples = [data_sample(info, box_dim=7) for info in tiny_dataset.infos]
    metric = NuScenesBEVMetric(ann_file, out_dir=tmp_path)
    metric.process(None, samples)
    assert metric.evaluate(len(samples))["mAP"] == pytest.approx(1.0)
    notes = json.loads((tmp_path / "metrics.json").read_text())["notes"]
    assert "the model gives no velocities: vel_err is that of rest" in notes


def test_own_attributes_are_given_by_motion(tiny_dataset):
    info = tiny_dataset.infos[0]
    boxes = np.array([[5.0, 0, 0, 1, 1, 1, 0, 3, 0], [9.0, 0, 0, 1, 1, 1, 0, 0, 0]])
    found = results_from_boxes(
        boxes, [0.9, 0.8], [0, 0], token="a", ego2global=info["ego2global"], classes=("cyclist",),
        attributes={"cyclist": {"moving": "riding", "resting": "parked"}},
    )  # fmt: skip
    assert [result["attribute_name"] for result in found] == ["riding", "parked"]
