from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

from bevdepth_plus.errors import DataError
from bevdepth_plus.evaluation.depth import METRIC_NAMES, DepthSums, depth_metrics


def maps(values) -> np.ndarray:
    return np.array(values, dtype=np.float64)[None, None]


def random_maps(seed: int, cameras: int = 2) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    target = rng.uniform(1, 60, (cameras, 5, 7)) * (rng.random((cameras, 5, 7)) < 0.6)
    return np.abs(target + rng.normal(0, 3, target.shape)) + 0.1, target


def test_two_cells_by_hand():
    metrics = depth_metrics(maps([8.0, 30.0]), maps([10.0, 20.0]))
    logs = [math.log(0.8), math.log(1.5)]
    assert metrics["abs_rel"] == pytest.approx((0.2 + 0.5) / 2)
    assert metrics["abs_diff"] == pytest.approx(6.0)
    assert metrics["sq_rel"] == pytest.approx((4 / 10 + 100 / 20) / 2)
    assert metrics["rmse"] == pytest.approx(math.sqrt(52))
    assert metrics["rmse_log"] == pytest.approx(math.sqrt((logs[0] ** 2 + logs[1] ** 2) / 2))
    assert metrics["silog"] == pytest.approx(100 * np.std(logs))
    # 10/8 is 1.25 and not below it; 1.5 lies below 1.25^2.
    assert (metrics["d1"], metrics["d2"], metrics["d3"]) == (0.0, 1.0, 1.0)
    assert metrics["count"] == 2


def test_a_common_scale_costs_no_scale_invariant_error():
    _, target = random_maps(0)
    metrics = depth_metrics(target * 1.7, target)
    assert metrics["silog"] == pytest.approx(0, abs=1e-5)
    assert metrics["abs_rel"] == pytest.approx(0.7)


def test_cells_without_true_depth_do_not_count():
    pred, target = random_maps(1)
    nonsense = np.where(target > 0, pred, np.nan)
    assert depth_metrics(nonsense, target) == depth_metrics(pred, target)


def test_no_valid_cell_gives_none_and_valid_json():
    sums = DepthSums()
    sums.update(np.ones((1, 2, 2)), np.zeros((1, 2, 2)), ["FRONT"])
    report = json.loads(json.dumps(sums.compute(), allow_nan=False))
    for group in (report["overall"], report["by_range"]["0-10"], report["by_camera"]["FRONT"]):
        assert group == {**dict.fromkeys(METRIC_NAMES), "count": 0}
    assert DepthSums().compute()["overall"]["count"] == 0


def test_merged_parts_equal_the_whole():
    whole, merged = DepthSums(), DepthSums()
    for seed in range(3):
        pred, target = random_maps(seed)
        part = DepthSums()
        part.update(pred, target, ["A", "B"])
        whole.update(pred, target, ["A", "B"])
        merged.merge(part)
    whole, merged = whole.compute(), merged.compute()
    assert whole["overall"] == pytest.approx(merged["overall"])
    assert whole["by_range"]["10-20"] == pytest.approx(merged["by_range"]["10-20"])
    assert whole["by_camera"]["B"] == pytest.approx(merged["by_camera"]["B"])


def test_ranges_and_cameras_split_the_cells():
    pred, target = random_maps(2)
    sums = DepthSums(ranges=((0, 30), (30, 61)))
    sums.update(torch.from_numpy(pred), torch.from_numpy(target), ["A", "B"])
    report = sums.compute()
    for groups in (report["by_range"], report["by_camera"]):
        assert sum(group["count"] for group in groups.values()) == report["overall"]["count"]
    assert report["by_camera"]["B"] == pytest.approx(depth_metrics(pred[1:], target[1:]))
    near = np.where(target < 30, target, 0)
    assert report["by_range"]["0-30"] == pytest.approx(depth_metrics(pred, near))


def test_parts_with_other_ranges_do_not_merge():
    with pytest.raises(ValueError, match="depth ranges differ"):
        DepthSums().merge(DepthSums(ranges=((0, 5),)))


def test_a_prediction_that_is_not_finite_is_refused():
    with pytest.raises(DataError, match="not finite"):
        depth_metrics(maps([np.nan]), maps([10.0]))


def test_maps_of_different_shapes_are_refused():
    with pytest.raises(ValueError, match=r"got \(1, 2, 2\) and \(1, 2, 3\)"):
        depth_metrics(np.ones((1, 2, 2)), np.ones((1, 2, 3)))


def test_what_lies_beyond_the_farthest_range_is_left_out_everywhere():
    sums = DepthSums(ranges=((0, 10), (10, 60)))
    sums.update(np.array([[[5.0, 58.0]]]), np.array([[[5.0, 90.0]]]), ["CAM"])
    depth = sums.compute()
    assert depth["overall"]["count"] == depth["by_camera"]["CAM"]["count"] == 1
    assert depth["overall"]["rmse"] == 0


def test_cells_about_which_a_source_says_nothing_are_left_out():
    metrics = depth_metrics(maps([0.0, 5.0]), maps([10.0, 10.0]))
    assert metrics["count"] == 1 and metrics["abs_rel"] == 0.5
    assert depth_metrics(maps([0.0]), maps([10.0]))["count"] == 0
