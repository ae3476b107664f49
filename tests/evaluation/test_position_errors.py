"""The table of position errors, its file, and how it is measured."""

from __future__ import annotations

import json
import math
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from bevdepth_plus.classes import CLASSES as ALL
from bevdepth_plus.errors import DataError
from bevdepth_plus.evaluation.detection import predictions_from_ground_truth
from bevdepth_plus.evaluation.measure_positions import measure_positions
from bevdepth_plus.evaluation.position_errors import FORMAT, CovarianceTable, PositionErrors
from bevdepth_plus.evaluation.rules import scoring_rules
from bevdepth_plus.evaluation.submission import write_submission

NEAR = PositionErrors(0.0, 10.0, 50, 0.5, 0.1, 0.2, 0.05)
FAR = PositionErrors(10.0, 30.0, 40, 1.5, 0.3, 0.2, 0.1)
CLASSES = ("car", "barrier")


def global_box(centre, yaw, pose) -> dict:
    """A box of the ego frame in the global one, as infos and results have it."""
    rotation = Rotation.from_matrix(pose[:3, :3]) * Rotation.from_euler("z", yaw)
    return {
        "translation": (pose[:3, :3] @ centre + pose[:3, 3]).tolist(),
        "size": [2.0, 4.0, 1.5],
        "rotation": np.roll(rotation.as_quat(), 1).tolist(),
        "velocity": [0.0, 0.0],
    }


def scene(name: str, off, turn: float = 0.0, frames: int = 12, score: float = 0.5):
    """Objects on a circle 15 m around the ego, each found ``off`` (along, across, up) away."""
    infos, predictions = [], {}
    for index in range(frames):
        angle = 2 * math.pi * index / frames
        ahead = np.array([math.cos(angle), math.sin(angle), 0])
        aside = np.array([-ahead[1], ahead[0], 0])
        pose = np.eye(4)
        pose[:3, :3] = Rotation.from_euler("z", 0.7 * index).as_matrix()
        pose[:3, 3] = (100 * index, 50, 1)
        found = 15 * ahead + [0, 0, 0.8]
        truth = found - off[0] * ahead - off[1] * aside - [0, 0, off[2]]
        token = f"{name}{index}"
        box = global_box(truth, 0.3, pose)
        infos.append(
            {
                "token": token,
                "ego2global": pose.tolist(),
                "instances": [
                    {
                        "bbox_label_3d": CLASSES.index(name),
                        "bbox_3d": [0.0] * 7,
                        "global_box": box,
                        "num_lidar_pts": 5,
                    }
                ],
            }
        )
        predictions[token] = [
            {
                **global_box(found, 0.3 + turn, pose),
                "sample_token": token,
                "detection_name": name,
                "detection_score": score,
                "attribute_name": "",
            }
        ]
    return infos, predictions


def measured(infos, predictions, **options) -> CovarianceTable:
    options = {"min_count": 10, **options}
    return measure_positions(predictions, infos, scoring_rules(CLASSES), classes=CLASSES, **options)


def test_known_errors_are_measured_along_across_and_up():
    row = measured(*scene("car", (1.0, -0.4, 0.2), turn=0.25)).at("car", 15.0)
    found = (row.along, row.across, row.height, row.yaw, row.count)
    assert found == pytest.approx((1.0, 0.4, 0.2, 0.25, 12))


def test_a_barrier_that_is_turned_around_has_no_yaw_error_but_a_car_has():
    assert measured(*scene("barrier", (0, 0, 0), math.pi)).at("barrier", 15).yaw < 1e-6
    assert measured(*scene("car", (0, 0, 0), math.pi)).at("car", 15).yaw == pytest.approx(math.pi)


def test_what_does_not_match_is_not_counted():
    infos, predictions = scene("car", (2.5, 0, 0))  # farther than 2 m
    assert measured(infos, predictions).at("car", 15) is None
    infos, predictions = scene("car", (0.5, 0, 0), score=0.1)
    assert measured(infos, predictions, min_score=0.2).at("car", 15) is None
    assert measured(infos, predictions, min_count=13).at("car", 15) is None


def test_an_object_is_matched_once_with_the_best_score():
    infos, predictions = scene("car", (0.5, 0, 0), score=0.9)
    _, worse = scene("car", (1.5, 0, 0), score=0.8)
    for token, found in worse.items():
        predictions[token] = found + predictions[token]
    row = measured(infos, predictions).at("car", 15)
    assert (row.along, row.count) == (pytest.approx(0.5), 12)


def test_a_class_without_a_table_has_that_of_all_classes():
    table = CovarianceTable({"car": [NEAR], "*": [FAR]})
    assert table.at("car", 5.0) == NEAR
    assert table.at("car", 10.0) is None
    assert table.at("truck", 10.0) == FAR
    assert table.covariance("truck", (40.0, 0.0)) is None


def test_the_file_gives_the_table_back(tmp_path):
    path = tmp_path / "errors.json"
    table = CovarianceTable({"car": [NEAR, FAR], "*": [FAR]})
    table.save(path)
    assert CovarianceTable.load(path).errors == table.errors


def test_the_tool_measures_a_shifted_ground_truth(tiny_dataset, tmp_path):
    infos, results, out = (tmp_path / name for name in ("infos.pkl", "results.json", "out.json"))
    categories = {name: label for label, name in enumerate(ALL)}
    content = {
        "metainfo": {"info_version": "1.1", "categories": categories},
        "data_list": tiny_dataset.infos,
    }
    infos.write_bytes(pickle.dumps(content))
    predictions = predictions_from_ground_truth(tiny_dataset.infos)
    for box in (box for boxes in predictions.values() for box in boxes):
        box["translation"][2] += 0.25
    write_submission(predictions, results)
    answer = run_tool(results, infos, out)
    assert answer.returncode == 0, answer.stderr
    assert f"written to {out}" in answer.stdout
    rows = CovarianceTable.load(out).errors["*"]
    # Ego frames of this data set lean, so a part of the height is on their ground.
    assert [row.height for row in rows] == pytest.approx([0.25] * len(rows), abs=0.01)
    assert len(rows) >= 3


def test_the_tool_names_a_file_that_is_no_result_file(tiny_dataset, tmp_path):
    infos, results = tmp_path / "infos.pkl", tmp_path / "results.json"
    content = {
        "metainfo": {
            "info_version": "1.1",
            "categories": {name: label for label, name in enumerate(ALL)},
        },
        "data_list": tiny_dataset.infos,
    }
    infos.write_bytes(pickle.dumps(content))
    for text, message in (
        ("[]", "is no nuScenes result file"),
        ('{"results": {}}', "has results of none of the 8 samples"),
    ):
        results.write_text(text)
        answer = run_tool(results, infos, tmp_path / "out.json")
        assert answer.returncode == 2
        assert message in answer.stderr
        assert answer.stderr.count("\n") == 1
    assert not (tmp_path / "out.json").exists()


def run_tool(*arguments) -> subprocess.CompletedProcess:
    tool = Path(__file__).resolve().parents[2] / "tools/measure_positions.py"
    environment = {**os.environ, "PYTHONPATH": str(tool.parents[1])}
    command = [sys.executable, tool, *arguments, "--min-count", "5"]
    return subprocess.run(
        list(map(str, command)), env=environment, capture_output=True, text=True, check=False
    )


def row(**changes) -> dict:
    return {**NEAR.__dict__, **changes}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cannot read the position errors"),
        ('{"NDS": 0.4}', r"is no table of position errors .*tools/measure_positions.py makes one"),
        ({"car": [row(along=-1)]}, "car: wrong numbers in"),
        ({"car": [row(), row(near=5.0)]}, "0.0 to 10.0 m and 5.0 to 10.0 m overlap"),
        ({"car": [{"near": 0}]}, "a range must have near, far, count"),
        ({"car": [row(along="x")]}, "could not convert"),
        ([], "has no attribute"),
    ],
)
def test_a_wrong_file_is_named(tmp_path, content, message):
    path = tmp_path / "errors.json"
    text = (
        content if isinstance(content, str) else json.dumps({"format": FORMAT, "errors": content})
    )
    path.write_text(text)
    with pytest.raises(DataError, match=message) as error:
        CovarianceTable.load(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
