"""The metric of two-view pointmaps: depth of view 1, and points of both views."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmdet3d.registry import METRICS

from bevdepth_plus.evaluation.sequence_depth import SequenceDepthMetric
from bevdepth_plus.evaluation.tables import text_grid

VIEWS = ("first", "second")


@METRICS.register_module()
class PointmapMetric(SequenceDepthMetric):
    """Depth as :class:`SequenceDepthMetric`, and how far predicted points are from the true ones.

    All points are in the camera frame of view 1, those of view 2 thus need the motion between the
    views. ``distance`` is the mean error in metres, ``relative`` that of error / true distance from
    camera 1. True points farther away than the depth ranges are left out.
    """

    def process(self, data_batch: Any, data_samples: Sequence[Mapping[str, Any]]) -> None:
        """Besides depth, ``gt_points [2, H, W, 3]`` (metres), ``valid [2, H, W]`` and
        ``pred_points`` (a map like the true one for each name)."""
        start = len(self.results)
        super().process(data_batch, data_samples)
        farthest = max((far for _, far in self.depth_ranges), default=torch.inf)
        for result, sample in zip(self.results[start:], data_samples, strict=True):
            target = sample["gt_points"].float()
            distance = target.norm(dim=-1)
            counted = sample["valid"] & (distance > 0) & (distance < farthest)
            result["points"] = {}
            for name, pred in sample["pred_points"].items():
                errors = (pred.float() - target).norm(dim=-1)
                terms = torch.stack([torch.ones_like(errors), errors, errors / distance])
                terms = torch.where(counted, terms, 0)  # [3, 2, H, W]
                result["points"][name] = terms.double().sum((-2, -1)).T.cpu()  # [2, 3]

    def report(self, results: Sequence[Mapping]) -> dict[str, Any]:
        names = list(dict.fromkeys(name for result in results for name in result["points"]))
        points = {}
        for name in names:
            sums = torch.stack([result["points"][name] for result in results]).sum(0)
            points[name] = {
                view: _means(*row) for view, row in zip(VIEWS, sums.tolist(), strict=True)
            }
        return {**super().report(results), "points": points}

    def tables(self, report: Mapping[str, Any]) -> list[str]:
        rows = [
            [f"{name}, {view} view", str(errors["count"]), *map(_text, list(errors.values())[1:])]
            for name, views in report["points"].items()
            for view, errors in views.items()
        ]
        header = ["points", "pixels", "distance m", "relative"]
        return [*super().tables(report), text_grid([header, *rows], rules=(1,))]

    def logged(self, report: Mapping[str, Any]) -> dict[str, float]:
        points = {
            f"points/{name}/{view}/{metric}": value
            for name, views in report["points"].items()
            for view, errors in views.items()
            for metric, value in errors.items()
            if metric != "count" and value is not None
        }
        return {**super().logged(report), **points}


def _means(count: float, distance: float, relative: float) -> dict[str, float | int | None]:
    if count == 0:
        return {"count": 0, "distance": None, "relative": None}
    return {"count": int(count), "distance": distance / count, "relative": relative / count}


def _text(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
