from __future__ import annotations

import copy

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from bevdepth_plus.datasets.create_infos import create_info_files
from bevdepth_plus.datasets.info_file import read_info_file
from bevdepth_plus.errors import DataError
from bevdepth_plus.evaluation.boxes import filter_boxes, load_ground_truth
from bevdepth_plus.evaluation.detection import evaluate_detections, predictions_from_ground_truth
from bevdepth_plus.evaluation.rules import scoring_rules
from bevdepth_plus.evaluation.submission import write_submission


def noisy_predictions(infos: list[dict], seed: int) -> dict[str, list[dict]]:
    """Ground truth shaken, thinned, doubled and with wrong classes; scores tie on purpose."""
    rng = np.random.default_rng(seed)
    names = sorted({box.detection_name for box in load_ground_truth(infos).all})
    predictions = {}
    for token, boxes in load_ground_truth(infos).boxes.items():
        found = []
        for box in boxes * 2:
            if rng.random() < 0.3:
                continue
            turn = Rotation.from_quat(np.roll(box.rotation, -1))
            turn = Rotation.from_euler("z", rng.normal(0, 0.5)) * turn
            wrong = rng.random() < 0.1
            found.append(
                {
                    "sample_token": token,
                    "translation": (np.array(box.translation) + rng.normal(0, 0.8, 3)).tolist(),
                    "size": (np.array(box.size) * rng.uniform(0.8, 1.2, 3)).tolist(),
                    "rotation": np.roll(turn.as_quat(), 1).tolist(),
                    "velocity": rng.normal(0, 2, 2).tolist(),
                    "detection_name": rng.choice(names) if wrong else box.detection_name,
                    "detection_score": float(rng.integers(1, 10)) / 10,
                    "attribute_name": box.attribute_name if rng.random() < 0.7 else "",
                }
            )
        predictions[token] = found
    return predictions


def devkit_scores(root, predictions: dict, folder) -> dict:
    from nuscenes import NuScenes
    from nuscenes.eval.detection.config import config_factory
    from nuscenes.eval.detection.evaluate import NuScenesEval

    path = write_submission(predictions, folder / "results.json")
    nusc = NuScenes("v1.0-mini", str(root), verbose=False)
    config = config_factory("detection_cvpr_2019")
    evaluation = NuScenesEval(nusc, config, str(path), "mini_val", str(folder), verbose=False)
    return evaluation.evaluate()[0].serialize()


def assert_same_scores(ours: dict, devkit: dict) -> None:
    assert ours["NDS"] == pytest.approx(devkit["nd_score"], abs=1e-6)
    assert ours["mAP"] == pytest.approx(devkit["mean_ap"], abs=1e-6)
    assert ours["tp_errors"] == pytest.approx(devkit["tp_errors"], abs=1e-6)
    for name, scores in ours["per_class"].items():
        assert scores["ap"] == pytest.approx(devkit["mean_dist_aps"][name], abs=1e-6)
        for distance, ap in scores["ap_by_distance"].items():
            assert ap == pytest.approx(devkit["label_aps"][name][float(distance)], abs=1e-6)
        for error, value in devkit["label_tp_errors"][name].items():
            expected = None if np.isnan(value) else pytest.approx(value, abs=1e-6)
            assert scores[error] == expected


@pytest.mark.parametrize("seed", range(2))
def test_noisy_predictions_score_as_in_the_devkit(tiny_dataset, tmp_path, seed):
    predictions = noisy_predictions(tiny_dataset.infos, seed)
    ours = evaluate_detections(predictions, tiny_dataset.infos)
    assert 0.05 < ours["mAP"] < 0.9, "the comparison needs hits and misses"
    assert_same_scores(ours, devkit_scores(tiny_dataset.root, predictions, tmp_path))


def test_info_files_of_rendered_scenes_score_as_their_tables_do(synthetic_root, tmp_path):
    _, val = create_info_files(synthetic_root, "v1.0-mini", tmp_path, progress=False)
    infos = read_info_file(val)["data_list"]
    predictions = noisy_predictions(infos, seed=0)
    ours = evaluate_detections(predictions, infos)
    assert 0 < ours["mAP"] < 0.9
    assert_same_scores(ours, devkit_scores(synthetic_root, predictions, tmp_path))
    perfect = evaluate_detections(
        predictions_from_ground_truth(infos), infos, classes_present_only=True
    )
    assert perfect["mAP"] == pytest.approx(1.0) and perfect["NDS"] > 0.99


def test_the_filters_keep_the_boxes_that_the_devkit_keeps(tiny_dataset):
    from nuscenes import NuScenes
    from nuscenes.eval.common.loaders import add_center_dist, filter_eval_boxes, load_gt
    from nuscenes.eval.detection.data_classes import DetectionBox

    nusc = NuScenes("v1.0-mini", str(tiny_dataset.root), verbose=False)
    config = scoring_rules()
    theirs = add_center_dist(nusc, load_gt(nusc, "mini_val", DetectionBox))
    theirs = filter_eval_boxes(nusc, theirs, config.class_range)
    everything = load_ground_truth(tiny_dataset.infos)
    ours = filter_boxes(everything, tiny_dataset.infos, config)
    for token, boxes in theirs.boxes.items():
        assert [b.translation for b in ours[token]] == [tuple(b.translation) for b in boxes]
    without_racks = [{**info, "bike_racks": []} for info in tiny_dataset.infos]
    assert len(filter_boxes(everything, without_racks, config).all) > len(ours.all)


def test_ground_truth_as_prediction_is_perfect(tiny_dataset):
    result = evaluate_detections(
        predictions_from_ground_truth(tiny_dataset.infos), tiny_dataset.infos
    )
    assert result["mAP"] == pytest.approx(1.0, abs=1e-9)
    assert result["NDS"] > 0.99


def test_plain_infos_give_the_same_global_boxes(tiny_dataset):
    plain = copy.deepcopy(tiny_dataset.infos)
    for info in plain:
        for instance in info["instances"]:
            del instance["global_box"], instance["attribute"]
    ours, expected = load_ground_truth(plain).all, load_ground_truth(tiny_dataset.infos).all
    for box, other in zip(ours, expected, strict=True):
        np.testing.assert_allclose(box.translation, other.translation, atol=1e-6)
        np.testing.assert_allclose(box.ego_translation, other.ego_translation, atol=1e-6)
        assert box.size == other.size
        assert box.attribute_name == ""
        heading, other_heading = (
            Rotation.from_quat(np.roll(b.rotation, -1)).as_matrix()[:2, 0] for b in (box, other)
        )
        # The LiDAR-frame box keeps its heading only within the LiDAR's tilt (here 0.03 rad).
        np.testing.assert_allclose(heading, other_heading, atol=2e-3)


def test_a_class_without_ground_truth_counts_only_when_all_classes_do(tiny_dataset):
    cars_only = copy.deepcopy(tiny_dataset.infos)
    for info in cars_only:
        info["instances"] = [i for i in info["instances"] if i["bbox_label_3d"] == 0]
    predictions = predictions_from_ground_truth(cars_only)
    assert evaluate_detections(predictions, cars_only)["mAP"] == pytest.approx(0.1)
    present = evaluate_detections(predictions, cars_only, classes_present_only=True)
    assert present["mAP"] == pytest.approx(1.0)
    assert present["NDS"] == pytest.approx(1.0)
    assert list(present["per_class"]) == ["car"]


def test_one_range_for_all_classes_lets_far_cones_count(tiny_dataset):
    predictions = predictions_from_ground_truth(tiny_dataset.infos)
    official = evaluate_detections(predictions, tiny_dataset.infos)["per_class"]["traffic_cone"]
    wide = evaluate_detections(predictions, tiny_dataset.infos, class_range=51.2)
    assert wide["per_class"]["traffic_cone"]["num_ground_truth"] > official["num_ground_truth"]


def test_ground_truth_with_too_few_lidar_points_is_left_out(tiny_dataset):
    infos = tiny_dataset.infos
    enough = [i for info in infos for i in info["instances"] if i["num_lidar_pts"] >= 2]
    assert len(load_ground_truth(infos, min_lidar_points=2).all) == len(enough) > 0


def test_an_unknown_number_of_points_keeps_the_box(tiny_dataset):
    info = copy.deepcopy(tiny_dataset.infos[0])
    for instance in info["instances"]:
        del instance["num_lidar_pts"], instance["num_radar_pts"]
    config = scoring_rules(class_range=1000)
    kept, known = (
        filter_boxes(load_ground_truth([i]), [i], config) for i in (info, tiny_dataset.infos[0])
    )
    assert len(kept.all) > len(known.all)


def test_no_objects_at_all_score_none_or_zero_but_do_not_crash(tiny_dataset):
    empty = [{**info, "instances": []} for info in tiny_dataset.infos]
    predictions = {info["token"]: [] for info in empty}
    assert evaluate_detections(predictions, empty)["NDS"] == 0
    present = evaluate_detections(predictions, empty, classes_present_only=True)
    assert present["NDS"] is None and present["mAP"] is None


def test_a_sample_without_predictions_is_named(tiny_dataset):
    predictions = predictions_from_ground_truth(tiny_dataset.infos)
    missing = tiny_dataset.infos[3]["token"]
    del predictions[missing]
    with pytest.raises(DataError, match=f"1 of 8 samples have no predictions.*{missing}"):
        evaluate_detections(predictions, tiny_dataset.infos)


def test_a_prediction_for_another_split_is_named(tiny_dataset):
    predictions = {**predictions_from_ground_truth(tiny_dataset.infos), "stranger": []}
    with pytest.raises(DataError, match="not in the infos, as stranger"):
        evaluate_detections(predictions, tiny_dataset.infos)


def test_an_invalid_result_dict_is_named(tiny_dataset):
    predictions = predictions_from_ground_truth(tiny_dataset.infos)
    token = tiny_dataset.infos[0]["token"]
    predictions[token][0]["detection_name"] = "tram"
    with pytest.raises(DataError, match=f"sample {token}: .*tram"):
        evaluate_detections(predictions, tiny_dataset.infos)
