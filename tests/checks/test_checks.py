"""Each check tells sound data from one particular fault."""

from __future__ import annotations

import copy

import numpy as np
import pytest

from bevdepth_plus.checks.data import check_data
from bevdepth_plus.checks.findings import SHOWN, Findings
from bevdepth_plus.checks.objects import check_objects
from bevdepth_plus.checks.report import report_text
from bevdepth_plus.checks.scoring import check_scoring
from bevdepth_plus.checks.times import check_times
from bevdepth_plus.datasets.create_infos import create_info_files
from bevdepth_plus.datasets.info_file import read_info_file

NAMES = {4: "car", 9: "cyclist"}


@pytest.fixture(scope="module")
def info_file(synthetic_root, tmp_path_factory):
    train, _ = create_info_files(
        synthetic_root, "v1.0-mini", tmp_path_factory.mktemp("infos"), progress=False
    )
    return train


def folder_of(root):
    return lambda channel: str(root / "samples" / ("LIDAR_TOP" if channel == "pts" else channel))


def sample(token: str, time: float, *labels: int, **changes) -> dict:
    instances = [
        {"bbox_3d": [10.0 + 30 * i, 0, 0, 4, 2, 1.5, 0], "bbox_label_3d": label, "num_lidar_pts": 3}
        for i, label in enumerate(labels)
    ]
    return {
        "token": token,
        "scene_token": "s",
        "timestamp": 1.6e9 + time,
        "ego2global": np.eye(4).tolist(),
        "lidar_points": {"lidar2ego": np.eye(4).tolist()},
        "images": {},
        "instances": instances,
        **changes,
    }


def test_objects_are_counted_by_class_and_range():
    findings = check_objects([sample("a", 0, 4, 4, 9), sample("b", 1, -1)], NAMES, reach=51.2)
    car = findings.numbers["classes"]["car"]
    assert (car["objects"], car["with_points"]) == (2, 2)
    assert car["by_range"] == {
        "0-20 m": 1, "20-40 m": 0, "40-60 m": 1, "60-100 m": 0, "100-inf m": 0
    }  # fmt: skip
    assert car["median_size"] == [4.0, 2.0, 1.5]
    assert findings.numbers["ignored_objects"] == 1
    assert any("1 objects are farther than 51.2 m" in note for note in findings.notes)
    assert findings.problems == []


def test_a_class_whose_objects_hold_no_points_is_a_problem():
    infos = [sample(f"{i}", i, 4, 9) for i in range(30)]
    for info in infos:
        info["instances"][1]["num_lidar_pts"] = 0
    findings = check_objects(infos, NAMES)
    assert [line.split(":")[0] for line in findings.problems] == ["class cyclist"]
    for info in infos:
        info["instances"][1]["num_lidar_pts"] = -1  # unknown is kept
    assert check_objects(infos, NAMES).problems == []


def test_samples_without_instances_or_objects_are_problems():
    unlabelled = sample("b", 1, instances=None)
    findings = check_objects([sample("a", 0, 4), unlabelled], NAMES)
    assert findings.problems == ["1 of 2 samples have no instances, first b"]
    assert "nothing to train on" in check_objects([sample("a", 0)], NAMES).problems[0]


def test_a_past_that_is_later_or_of_another_scene_is_a_problem():
    first, second = sample("a", 0, 4), sample("b", 0.5, 4, prev="a")
    assert check_times([first, second]).problems == []
    late = check_times([{**first, "timestamp": 1.6e9 + 9}, second]).problems
    assert late == ["sample b: prev is 8.500 s later, not earlier"]
    strange = check_times([{**first, "scene_token": "t"}, second]).problems
    assert strange == ["sample b: prev is of another scene"]


def test_times_that_do_not_count_from_1970_are_noted():
    notes = check_times([{**sample("a", 0), "timestamp": 0.0}]).notes
    assert any("1 of 1 times are no seconds since 1970" in note for note in notes)


def test_ground_truth_as_prediction_scores_one_unless_boxes_lie_on_each_other():
    infos = [sample("a", 0, 4, 9, 4), sample("b", 1, 9)]
    findings = check_scoring(infos, NAMES)
    assert findings.problems == []
    assert findings.numbers["self_test"]["mAP"] == pytest.approx(1.0)


def test_rendered_data_has_no_problem_and_every_number(info_file, synthetic_root):
    findings = check_data(info_file, folder_of(synthetic_root), progress=False)
    assert findings.problems == []
    numbers = findings.numbers
    assert numbers["self_test"]["mAP"] == pytest.approx(1.0)
    assert numbers["sweeps"]["sweeps"] == 3
    assert (
        numbers["sweeps"]["of_them_hold_points"] == numbers["sweeps"]["boxes_with_counted_points"]
    )
    assert {tuple(*camera["sizes"]) for camera in numbers["cameras"].values()} == {(160, 90)}
    text = report_text(findings)
    assert "ground truth as prediction: mAP 1" in text and text.endswith("problems: 0")


def test_boxes_in_another_frame_than_the_sweep_are_a_problem(
    info_file, synthetic_root, monkeypatch
):
    content = copy.deepcopy(read_info_file(info_file))
    for info in content["data_list"]:
        for instance in info["instances"]:
            instance["bbox_3d"][:2] = [instance["bbox_3d"][1], -instance["bbox_3d"][0]]
    monkeypatch.setattr("bevdepth_plus.checks.data.read_info_file", lambda path: content)
    findings = check_data(info_file, folder_of(synthetic_root), progress=False)
    assert any("boxes and sweeps are in different frames" in p for p in findings.problems)


def test_points_that_are_not_finite_are_a_problem_unless_the_training_drops_them(
    info_file, synthetic_root, tmp_path
):
    for info in read_info_file(info_file)["data_list"]:
        name = info["lidar_points"]["lidar_path"]
        sweep = (synthetic_root / "samples" / "LIDAR_TOP" / name).read_bytes()
        (tmp_path / name).write_bytes(sweep + np.full(5, np.nan, np.float32).tobytes())
    plain = folder_of(synthetic_root)

    def folder(channel):
        return str(tmp_path) if channel == "pts" else plain(channel)

    findings = check_data(info_file, folder, progress=False)
    assert len(findings.problems) == 3
    assert all("has 1 points that are not finite" in line for line in findings.problems)
    assert check_data(info_file, folder, drop_not_finite=True, progress=False).problems == []


def test_a_missing_image_is_a_problem_with_its_sample_and_camera(info_file, tmp_path):
    findings = check_data(info_file, folder_of(tmp_path), every=3, progress=False)
    cameras = len(read_info_file(info_file)["data_list"][0]["images"])
    assert len(findings.problems) == cameras + 1  # and the sweep
    assert "CAM_FRONT" in " ".join(findings.problems)
    assert findings.text().count("PROBLEM") == SHOWN + 1


def test_an_interrupted_check_goes_on_where_it_stopped(
    info_file, synthetic_root, tmp_path, monkeypatch
):
    from bevdepth_plus.checks import data

    calls = []

    def count_and_stop(info, *folders):
        calls.append(info["token"])
        if len(calls) == 3:
            raise KeyboardInterrupt
        return {
            "problems": [], "cameras": {}, "sweep": None, "seconds": {"images": 0, "sweep": 0}
        }  # fmt: skip

    monkeypatch.setattr(data, "check_files", count_and_stop)
    kept = tmp_path / "kept"
    options = dict(kept=kept, progress=False)
    with pytest.raises(KeyboardInterrupt):
        check_data(info_file, folder_of(synthetic_root), **options)
    check_data(info_file, folder_of(synthetic_root), **options)
    assert len(calls) == 4 and calls[2] == calls[3]  # the third alone again
    assert not kept.exists()


def test_many_lines_of_one_kind_are_cut_in_the_text_alone():
    findings = Findings(problems=[str(i) for i in range(9)])
    assert "and 4 more" in findings.text() and findings.text().endswith("problems: 9")
