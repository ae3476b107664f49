"""Depth from motion is scored by range, and by the way the camera has moved."""

from __future__ import annotations

import json

import pytest
import torch

from bevdepth_plus.evaluation.sequence_depth import SequenceDepthMetric


def sample(token: str, pred: float, target: float, baseline: float, **others: float) -> dict:
    maps = {"dense": pred, **others}
    return {
        "token": token,
        "pred_depths": {name: torch.full((2, 3), value) for name, value in maps.items()},
        "gt_depth": torch.full((2, 3), target),
        "baseline": torch.tensor(baseline),
    }


def test_errors_are_told_by_range_and_by_baseline(tmp_path):
    metric = SequenceDepthMetric(out_dir=tmp_path)
    metric.process(None, [sample("a", 11.0, 10.0, 0.0), sample("b", 30.0, 20.0, 2.0)])
    logged = metric.evaluate(2)
    assert logged["depth/dense/abs_rel"] == pytest.approx(0.3)
    report = json.loads((tmp_path / "metrics.json").read_text())
    depth = report["depth"]["dense"]
    assert report["num_samples"] == 2 and depth["overall"]["count"] == 12
    assert depth["by_range"]["10-20"]["abs_rel"] == pytest.approx(0.1)
    assert depth["by_baseline"]["0-0.1"]["abs_rel"] == pytest.approx(0.1)
    assert depth["by_baseline"]["1-3"]["abs_rel"] == pytest.approx(0.5)
    assert depth["by_baseline"]["1-3"]["samples"] == 1
    assert depth["by_baseline"]["6-100"]["abs_rel"] is None
    assert {"abs_rel", "abs_diff", "sq_rel", "rmse", "rmse_log", "d1", "d2", "d3"} <= set(
        depth["overall"]
    )


def test_points_count_where_they_are(tmp_path):
    given = sample("a", 10.0, 10.0, 2.0, points=0.0)
    given["pred_depths"]["points"][0, 0] = 12.0
    metric = SequenceDepthMetric(out_dir=tmp_path)
    metric.process(None, [given])
    logged = metric.evaluate(1)
    assert logged["depth/points/abs_rel"] == pytest.approx(0.2)
    assert (
        json.loads((tmp_path / "metrics.json").read_text())["depth"]["points"]["overall"]["count"]
        == 1
    )


def test_a_depth_of_zero_or_less_is_no_hit():
    """The public code counts negative depth as right: max(p / g, g / p) is then negative."""
    metric = SequenceDepthMetric()
    metric.process(None, [sample("a", -10.0, 10.0, 2.0)])
    assert metric.evaluate(1)["depth/dense/d3"] == 0.0


def test_a_sample_that_two_ranks_scored_counts_once():
    metric = SequenceDepthMetric()
    metric.process(None, [sample("a", 20.0, 10.0, 2.0)] * 3 + [sample("b", 10.0, 10.0, 2.0)])
    assert metric.evaluate(4)["depth/dense/abs_rel"] == pytest.approx(0.5)
