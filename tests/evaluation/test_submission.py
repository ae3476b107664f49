from __future__ import annotations

import copy
import json
import os
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from bevdepth_plus.errors import DataError
from bevdepth_plus.evaluation.detection import predictions_from_ground_truth
from bevdepth_plus.evaluation.submission import (
    CAMERA_ONLY_META,
    check_submission,
    read_submission,
    tokens_of_infos,
    tokens_of_split,
    write_submission,
)

SCRIPT = Path(__file__).resolve().parents[2] / "tools" / "check_submission.py"


@pytest.fixture
def submission(tiny_dataset) -> dict:
    results = predictions_from_ground_truth(tiny_dataset.infos)
    return copy.deepcopy({"meta": CAMERA_ONLY_META, "results": results})


@pytest.fixture
def tokens(tiny_dataset) -> list[str]:
    return [info["token"] for info in tiny_dataset.infos]


def test_a_valid_file_has_no_problem(submission, tokens):
    assert check_submission(submission, tokens) == []


@pytest.mark.parametrize(
    ("field", "value", "problem"),
    [
        ("detection_name", "tram", "unknown detection_name 'tram'"),
        ("attribute_name", "cycle.with_rider", "attribute_name 'cycle.with_rider' does not belong"),
        ("attribute_name", None, "attribute_name None does not belong"),
        ("detection_score", float("nan"), "detection_score must be a finite number, got nan"),
        ("detection_score", "0.5", "detection_score must be a finite number, got '0.5'"),
        ("translation", [1.0, float("inf"), 0.0], "translation must be 3 finite numbers"),
        ("translation", [1.0, 2.0], "translation must be 3 finite numbers"),
        ("velocity", [float("nan"), 0.0], "velocity must be 2 finite numbers"),
        ("size", [1.0, 0.0, 1.0], "size must be above 0"),
        ("rotation", [0.0, 0.0, 0.0, 0.0], "rotation must be a unit quaternion"),
        ("sample_token", "other", "sample_token is 'other'"),
    ],
)
def test_a_broken_field_is_one_line_that_names_the_box(submission, tokens, field, value, problem):
    cars = [
        (token, index)
        for token, boxes in submission["results"].items()
        for index, box in enumerate(boxes)
        if box["detection_name"] == "car"
    ]
    token, index = cars[-1]
    submission["results"][token][index][field] = value
    (line,) = check_submission(submission, tokens)
    assert line.startswith(f"sample {token} box {index}: {problem}")


def test_missing_and_foreign_samples_are_named(submission, tokens):
    submission["results"]["stranger"] = submission["results"].pop(tokens[0])
    for box in submission["results"]["stranger"]:
        box["sample_token"] = "stranger"
    missing, extra = check_submission(submission, tokens)
    assert missing.startswith(f"sample {tokens[0]}: missing")
    assert extra == "sample stranger: not in this split"


def test_more_than_500_boxes_are_too_many(submission, tokens):
    submission["results"][tokens[1]] = submission["results"][tokens[1]][:1] * 501
    (line,) = check_submission(submission, tokens)
    assert line == f"sample {tokens[1]}: 501 boxes, at most 500 are allowed"


def test_meta_flags_must_all_be_there_and_be_booleans(submission, tokens):
    del submission["meta"]["use_map"]
    submission["meta"]["use_lidar"] = "no"
    lidar, cards = check_submission(submission, tokens)
    assert lidar == "meta: use_lidar must be true or false, got 'no'"
    assert cards == "meta: use_map is missing"


@pytest.mark.parametrize("content", [None, [], {}, {"meta": CAMERA_ONLY_META, "results": []}])
def test_a_file_of_another_shape_is_a_problem_and_no_crash(content, tokens):
    assert check_submission(content, tokens)


def test_a_written_file_reads_back_and_leaves_no_other(tmp_path, submission):
    path = write_submission(submission["results"], tmp_path / "deep" / "results.json")
    assert json.loads(path.read_text()) == submission
    assert list(path.parent.iterdir()) == [path]


def test_a_write_that_fails_leaves_the_old_file(tmp_path):
    path = write_submission({"a": []}, tmp_path / "results.json")
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_submission({"a": [{"detection_score": float("nan")}]}, path)
    assert json.loads(path.read_text())["results"] == {"a": []}
    assert list(tmp_path.iterdir()) == [path]


def test_tokens_come_from_the_tables_of_the_data_set(tiny_dataset, tokens):
    assert tokens_of_split(tiny_dataset.root, "v1.0-mini", "mini_val") == tokens


@pytest.mark.parametrize(
    ("version", "split", "message"),
    [
        ("v1.0-mini", "mini_train", "no sample of the split 'mini_train'"),
        ("v1.0-mini", "night", "unknown split 'night'"),
        ("v1.0-test", "test", "scene.json is missing"),
    ],
)
def test_a_split_that_is_not_there_is_named(tiny_dataset, version, split, message):
    with pytest.raises(DataError, match=message):
        tokens_of_split(tiny_dataset.root, version, split)


def test_the_tool_accepts_a_valid_file_and_refuses_a_broken_one(
    tmp_path, tiny_dataset, submission, tokens
):
    infos = tmp_path / "infos.pkl"
    metainfo = {"info_version": "1.1", "categories": {"car": 0}}
    infos.write_bytes(pickle.dumps({"metainfo": metainfo, "data_list": tiny_dataset.infos}))
    assert tokens_of_infos(infos) == tokens
    good = write_submission(submission["results"], tmp_path / "good.json")
    checked = run_tool(good, "--infos", infos)
    assert checked.returncode == 0 and "valid, 8 samples" in checked.stdout
    del submission["results"][tokens[0]]
    bad = write_submission(submission["results"], tmp_path / "bad.json")
    table_options = ("--dataroot", tiny_dataset.root, "--version", "v1.0-mini")
    checked = run_tool(bad, *table_options, "--split", "mini_val")
    assert checked.returncode == 1 and f"sample {tokens[0]}: missing" in checked.stdout


def test_a_zipped_result_file_is_checked_and_other_archives_are_refused(tmp_path):
    path = tmp_path / "results.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("results.json", json.dumps({"meta": {}, "results": {}}))
    assert read_submission(path) == {"meta": {}, "results": {}}
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("notes.txt", "")
    with pytest.raises(ValueError, match="must hold one .json file, got results.json, notes.txt"):
        read_submission(path)
    path.write_bytes(b"\xff\xfe not text")
    with pytest.raises(ValueError, match="not JSON"):
        read_submission(path)


def run_tool(*arguments) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, str(SCRIPT), *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(SCRIPT.parents[1])},
        check=False,
    )
