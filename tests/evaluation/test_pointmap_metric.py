"""Points of both views are scored beside the depth of the first."""

from __future__ import annotations

import json

import pytest
import torch

from bevdepth_plus.errors import DataError
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


def test_shares_of_points_and_matches_below_their_thresholds(tmp_path):
    metric = PointmapMetric(out_dir=tmp_path, thresholds=(0.5, 2), match_thresholds=(2, 5))
    samples = [sample("a", 1.0), sample("b", 2.0)]  # an error of the threshold is not within
    samples[0]["match_errors"] = torch.tensor([0.0, 1.9, 2.0, 4.0])
    samples[1]["match_errors"] = torch.tensor([torch.inf])
    metric.process(None, samples)
    logged = metric.evaluate(2)
    assert logged["points/raw/first/within_0.5m"] == 1
    assert logged["points/raw/second/within_0.5m"] == 0
    assert logged["points/raw/second/within_2m"] == 0.5
    assert logged["matches/recall_2px"] == pytest.approx(2 / 5)
    assert logged["matches/recall_5px"] == pytest.approx(4 / 5)
    report = json.loads((tmp_path / "metrics.json").read_text())
    assert report["matches"] == {"count": 5, "recall": {"2": 0.4, "5": 0.8}}


def test_without_descriptors_or_true_matches_there_is_no_recall():
    metric = PointmapMetric()
    metric.process(None, [sample("a", 1.0)])
    assert not any(name.startswith("matches") for name in metric.evaluate(1))
    unseen = {**sample("a", 1.0), "match_errors": torch.zeros(0)}
    metric.process(None, [unseen])
    assert not any(name.startswith("matches") for name in metric.evaluate(1))


def test_what_cannot_be_scored_is_refused_in_one_line():
    for name in ("thresholds", "match_thresholds"):
        with pytest.raises(ValueError, match=f"^{name} must be above 0"):
            PointmapMetric(**{name: (1.0, 0.0)})
    given = sample("diverged", 1.0)
    given["pred_points"]["raw"][1, 0, 2] = torch.nan
    with pytest.raises(DataError, match="point of diverged is not finite"):
        PointmapMetric().process(None, [given])
