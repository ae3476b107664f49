"""The metric of two-view pointmaps: depth of view 1, and points of both views."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmdet3d.registry import METRICS

from bevdepth_plus.errors import DataError
from bevdepth_plus.evaluation.sequence_depth import SequenceDepthMetric
from bevdepth_plus.evaluation.tables import text_grid

VIEWS = ("first", "second")


@METRICS.register_module()
class PointmapMetric(SequenceDepthMetric):
    """Depth as :class:`SequenceDepthMetric`, and how far predicted points are from the true ones.

    All points are in the camera frame of view 1, those of view 2 thus need the motion between the
    views. ``distance`` is the mean error in metres, ``relative`` that of error / true distance from
    camera 1, and ``within`` the share of points whose error is below each threshold. True points
    farther away than the depth ranges are left out.

    Of networks with descriptors, ``recall`` is the share of true matches that the most similar
    descriptor misses by less than each number of pixels.

    Args:
        thresholds: errors of points, metres.
        match_thresholds: errors of matches, pixels.
        options: of :class:`SequenceDepthMetric`.

    Raises:
        ValueError: a threshold is not above 0.
    """

    def __init__(
        self,
        *,
        thresholds: Sequence[float] = (0.5, 1.0, 2.0),
        match_thresholds: Sequence[float] = (2.0, 5.0),
        **options: Any,
    ) -> None:
        super().__init__(**options)
        for name, values in (("thresholds", thresholds), ("match_thresholds", match_thresholds)):
            if any(not value > 0 for value in values):
                raise ValueError(f"{name} must be above 0, got {tuple(values)}")
        self.thresholds, self.match_thresholds = tuple(thresholds), tuple(match_thresholds)

    def process(self, data_batch: Any, data_samples: Sequence[Mapping[str, Any]]) -> None:
        """Besides depth, ``gt_points [2, H, W, 3]`` (metres), ``valid [2, H, W]``, ``pred_points``
        (a map like the true one for each name) and, of descriptors, ``match_errors [M]``.

        Raises:
            DataError: a prediction that would count is not finite.
        """
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
                if not errors[counted].isfinite().all():
                    raise DataError(
                        f"a predicted point of {sample['token']} is not finite; check that "
                        "training did not diverge"
                    )
                within = [(errors < threshold).float() for threshold in self.thresholds]
                terms = [torch.ones_like(errors), errors, errors / distance, *within]
                terms = torch.where(counted, torch.stack(terms), 0)  # [3 + T, 2, H, W]
                result["points"][name] = terms.double().sum((-2, -1)).T.cpu()  # [2, 3 + T]
            if "match_errors" in sample:
                off = sample["match_errors"]
                hits = [int((off < threshold).sum()) for threshold in self.match_thresholds]
                result["matches"] = torch.tensor([len(off), *hits])

    def report(self, results: Sequence[Mapping]) -> dict[str, Any]:
        names = list(dict.fromkeys(name for result in results for name in result["points"]))
        points = {}
        for name in names:
            sums = torch.stack([result["points"][name] for result in results]).sum(0)
            points[name] = {
                view: self._means(*row) for view, row in zip(VIEWS, sums.tolist(), strict=True)
            }
        report = {**super().report(results), "points": points}
        matches = [result["matches"] for result in results if "matches" in result]
        if matches:
            count, *hits = torch.stack(matches).sum(0).tolist()
            recall = _shares(self.match_thresholds, hits, count)
            report["matches"] = {"count": count, "recall": recall}
        return report

    def tables(self, report: Mapping[str, Any]) -> list[str]:
        shares = [f"< {threshold:g} m" for threshold in self.thresholds]
        grid = [["points", "pixels", "distance m", "relative", *shares]]
        for name, views in report["points"].items():
            for view, errors in views.items():
                numbers = [errors["distance"], errors["relative"], *errors["within"].values()]
                grid.append([f"{name}, {view} view", str(errors["count"]), *map(_text, numbers)])
        tables = [*super().tables(report), text_grid(grid, rules=(1,))]
        if "matches" in report:
            matches = report["matches"]
            header = ["matches", "count", *(f"< {each} px" for each in matches["recall"])]
            row = ["recall", str(matches["count"]), *map(_text, matches["recall"].values())]
            tables.append(text_grid([header, row], rules=(1,)))
        return tables

    def logged(self, report: Mapping[str, Any]) -> dict[str, float]:
        numbers = {
            f"points/{name}/{view}/{metric}": value
            for name, views in report["points"].items()
            for view, errors in views.items()
            for metric, value in (
                ("distance", errors["distance"]),
                ("relative", errors["relative"]),
                *((f"within_{each}m", share) for each, share in errors["within"].items()),
            )
        }
        recall = report.get("matches", {}).get("recall", {})
        numbers.update({f"matches/recall_{each}px": share for each, share in recall.items()})
        known = {name: value for name, value in numbers.items() if value is not None}
        return {**super().logged(report), **known}

    def _means(self, count: float, distance: float, relative: float, *within: float) -> dict:
        return {
            "count": int(count),
            "distance": distance / count if count else None,
            "relative": relative / count if count else None,
            "within": _shares(self.thresholds, within, count),
        }


def _shares(
    thresholds: Sequence[float], hits: Sequence[float], count: float
) -> dict[str, float | None]:
    return {
        f"{threshold:g}": number / count if count else None
        for threshold, number in zip(thresholds, hits, strict=True)
    }


def _text(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
