"""Depth metrics as running sums: they add up over cells, samples, cameras and processes.

Definitions, over all valid cells with predicted depth p and true depth g (Eigen et al., "Depth Map
Prediction from a Single Image using a Multi-Scale Deep Network", NeurIPS 2014, Sec. 4):

    abs_rel   mean |p - g| / g              sq_rel    mean (p - g)^2 / g, metres
    abs_diff  mean |p - g|, metres          rmse      sqrt(mean (p - g)^2), metres
    rmse_log  sqrt(mean (ln p - ln g)^2)    d1..d3    share of max(p/g, g/p) < 1.25, 1.25^2, 1.25^3
    silog     100 sqrt(mean d^2 - (mean d)^2), d = ln p - ln g (KITTI's form of Eigen's
              scale-invariant error)

A predicted depth of exactly 0 means that its source says nothing there (a silent depth prior): such
cells are left out, and ``count`` tells how many are in.

All cells count alike: a mean is taken once over everything seen, not per image first.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from bevdepth_plus.errors import DataError

DEFAULT_RANGES = ((0, 10), (10, 20), (20, 30), (30, 40), (40, 60))  # metres, [from, to)
MIN_DEPTH = 1e-3  # metres; a prediction below it is raised to it, so that its logarithm exists

METRIC_NAMES = ("abs_rel", "abs_diff", "sq_rel", "rmse", "rmse_log", "silog", "d1", "d2", "d3")

DepthMetrics = dict[str, float | int | None]

_SUMS = ("count", "abs_rel", "abs_diff", "sq_rel", "square", "log", "log_square", "d1", "d2", "d3")


class DepthSums:
    """Sums of depth errors per group: ``overall``, each range of true depth, each camera.

    Cells beyond the farthest range are left out everywhere: a model whose bins end at 58 m can only
    be wrong about a tower at 90 m, and squared errors would speak of nothing else.
    """

    def __init__(self, ranges: Sequence[tuple[float, float]] = DEFAULT_RANGES) -> None:
        self.ranges = tuple((float(near), float(far)) for near, far in ranges)
        self.farthest = max((far for _, far in self.ranges), default=math.inf)
        self.sums: dict[str, np.ndarray] = {}

    def update(
        self,
        pred: ArrayLike,  # [N, H, W], metres, 0 = says nothing
        target: ArrayLike,  # [N, H, W], metres, 0 = unknown
        cameras: Sequence[str] | None = None,  # [N] names
    ) -> None:
        """Add the cells of one sample whose true depth is known.

        Raises:
            ValueError: shapes disagree.
            DataError: a prediction that would count is not finite.
        """
        pred, target = np.asarray(pred, dtype=np.float64), np.asarray(target, dtype=np.float64)
        if pred.shape != target.shape or pred.ndim != 3:
            raise ValueError(
                f"pred and target depth must both be [N, H, W], got {pred.shape} and {target.shape}"
            )
        if cameras is not None and len(cameras) != len(pred):
            raise ValueError(f"{len(cameras)} camera names for {len(pred)} depth maps")
        valid = np.isfinite(target) & (target > 0) & (target < self.farthest)
        if not np.isfinite(pred[valid]).all():
            raise DataError("a predicted depth is not finite; check that training did not diverge")
        valid &= pred != 0
        errors = _errors(pred[valid], target[valid])
        self._add("overall", errors)
        for near, far in self.ranges:
            inside = (target[valid] >= near) & (target[valid] < far)
            self._add(_range_group(near, far), errors[inside])
        if cameras is not None:
            camera_of = np.broadcast_to(np.arange(len(pred))[:, None, None], pred.shape)[valid]
            for index, name in enumerate(cameras):
                self._add(f"camera/{name}", errors[camera_of == index])

    def merge(self, other: DepthSums) -> None:
        """Add what another process or sample has summed up."""
        if other.ranges != self.ranges:
            raise ValueError(f"depth ranges differ: {self.ranges} and {other.ranges}")
        for group, sums in other.sums.items():
            self.sums[group] = self.sums.get(group, 0.0) + sums

    def compute(self) -> dict[str, DepthMetrics | dict[str, DepthMetrics]]:
        """All metrics: ``{overall, by_range: {"0-10": ...}, by_camera: {name: ...}}``.

        Every entry has ``count``; without a valid cell its metrics are None.
        """
        by_range = {
            f"{near:g}-{far:g}": self._metrics(_range_group(near, far)) for near, far in self.ranges
        }
        cameras = sorted(group for group in self.sums if group.startswith("camera/"))
        by_camera = {group.removeprefix("camera/"): self._metrics(group) for group in cameras}
        return {
            "overall": self._metrics("overall"),
            "by_range": by_range,
            "by_camera": by_camera,
        }

    def _add(self, group: str, errors: np.ndarray) -> None:
        self.sums[group] = self.sums.get(group, 0.0) + errors.sum(axis=0)

    def _metrics(self, group: str) -> DepthMetrics:
        sums = self.sums.get(group, np.zeros(len(_SUMS)))
        return _metrics_of(dict(zip(_SUMS, sums, strict=True)))


def depth_metrics(
    pred: ArrayLike,  # [N, H, W], metres
    target: ArrayLike,  # [N, H, W], metres, 0 = unknown
) -> DepthMetrics:
    """The metrics of one set of depth maps."""
    sums = DepthSums(ranges=())
    sums.update(pred, target)
    return sums.compute()["overall"]


def _errors(pred: np.ndarray, target: np.ndarray) -> np.ndarray:
    """What each cell adds to each of ``_SUMS``, ``[cells, len(_SUMS)]``."""
    pred = np.maximum(pred, MIN_DEPTH)
    difference = np.abs(pred - target)
    log = np.log(pred) - np.log(target)
    ratio = np.maximum(pred / target, target / pred)
    return np.stack(
        [
            np.ones_like(pred),
            difference / target,
            difference,
            difference**2 / target,
            difference**2,
            log,
            log**2,
            ratio < 1.25,
            ratio < 1.25**2,
            ratio < 1.25**3,
        ],
        axis=-1,
    )


def _metrics_of(sums: Mapping[str, float]) -> DepthMetrics:
    count = int(sums["count"])
    if count == 0:
        return {**dict.fromkeys(METRIC_NAMES), "count": 0}
    mean = {name: float(value) / count for name, value in sums.items()}
    return {
        "abs_rel": mean["abs_rel"],
        "abs_diff": mean["abs_diff"],
        "sq_rel": mean["sq_rel"],
        "rmse": math.sqrt(mean["square"]),
        "rmse_log": math.sqrt(mean["log_square"]),
        # Rounding may leave a tiny negative variance.
        "silog": 100 * math.sqrt(max(mean["log_square"] - mean["log"] ** 2, 0.0)),
        "d1": mean["d1"],
        "d2": mean["d2"],
        "d3": mean["d3"],
        "count": count,
    }


def _range_group(near: float, far: float) -> str:
    return f"range/{near:g}-{far:g}"
