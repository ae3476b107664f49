"""Points of both views are scored beside the depth of the first."""

from __future__ import annotations

import json

import pytest
import torch

from bevdepth_plus.evaluation.pointmaps import PointmapMetric


def sample(token: str, error: float) -> dict:
    """True points 10 m and 20 m away in view 1 and 2; view 2 alone is wrong."""
    points = torch.zeros(2, 1, 4, 3)
    points[0, ..., 2], points[1, ..., 2] = 10.0, 20.0
    pred = points.clone()
    pred[1, ..., 0] = error
    return {
        "token": token,
        "baseline": 1.0,
        "gt_depth": points[0, ..., 2],
        "pred_depths": {"first": points[0, ..., 2]},
        "gt_points": points,
        "pred_points": {"raw": pred},
        "valid": torch.ones(2, 1, 4, dtype=torch.bool),
    }


def test_points_are_scored_in_metres_and_relative_to_their_distance(tmp_path):
    metric = PointmapMetric(out_dir=tmp_path)
    metric.process(None, [sample("a", 1.0), sample("b", 3.0)])
    logged = metric.evaluate(2)
    assert logged["points/raw/first/distance"] == 0 and logged["depth/first/abs_rel"] == 0
    assert logged["points/raw/second/distance"] == pytest.approx(2.0)
    assert logged["points/raw/second/relative"] == pytest.approx(0.1)
    report = json.loads((tmp_path / "metrics.json").read_text())
    assert report["points"]["raw"]["second"]["count"] == 8
    assert report["depth"]["first"]["overall"]["count"] == 8


def test_unknown_and_far_points_are_left_out():
    given = sample("a", 1.0)
    given["valid"][1, 0, 0] = False
    given["pred_points"]["raw"][1, 0, 0] = torch.nan
    given["gt_points"][1, 0, 1] = 100.0
    metric = PointmapMetric()
    metric.process(None, [given])
    assert metric.evaluate(1)["points/raw/second/distance"] == pytest.approx(1.0)
    given["valid"][:] = False
    metric.process(None, [given])
    assert "points/raw/first/distance" not in metric.evaluate(1)
