"""The metric of depth from motion: errors of depth by range and by the way the camera has moved."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmdet3d.registry import METRICS
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log
from torch import Tensor

from bevdepth_plus.evaluation.depth import DEFAULT_RANGES, DepthSums
from bevdepth_plus.evaluation.tables import depth_table
from bevdepth_plus.files import write_json

Ranges = Sequence[tuple[float, float]]
# Metres between the anchor and its farthest source: a car that stands, walks, drives.
DEFAULT_BASELINES = ((0, 0.1), (0.1, 1), (1, 3), (3, 6), (6, 100))


@METRICS.register_module()
class SequenceDepthMetric(BaseMetric):
    """Depth metrics (see ``evaluation/depth.py``) of each map that a model predicts.

    Every valid pixel counts alike. ``points`` of depth from motion are scored where they are.

    Args:
        out_dir: folder for ``metrics.json``; None writes nothing.
        depth_ranges: of true depth, metres, each from (included) to (excluded); depth beyond the
            last is left out everywhere.
        baselines: groups of samples by the way to the farthest source, metres; the first is for a
            camera that stands.
        collect_device: where ranks exchange results, 'cpu' or 'gpu'.
        collect_dir: shared folder for that exchange on the CPU.
    """

    default_prefix = ""

    def __init__(
        self,
        out_dir: str | os.PathLike | None = None,
        depth_ranges: Ranges = DEFAULT_RANGES,
        baselines: Ranges = DEFAULT_BASELINES,
        collect_device: str = "cpu",
        collect_dir: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, collect_dir=collect_dir)
        self.out_dir = None if out_dir is None else Path(out_dir)
        self.depth_ranges = depth_ranges
        self.baselines = baselines

    def process(self, data_batch: Any, data_samples: Sequence[Mapping[str, Any]]) -> None:
        """Keep the sums of each sample: ``token``, ``gt_depth [H, W]`` (metres, 0 = unknown),
        ``pred_depths`` (a map of that size for each name, 0 = says nothing) and ``baseline``."""
        for sample in data_samples:
            target = _on_cpu(sample["gt_depth"])[None]
            sums = {}
            for name, pred in sample["pred_depths"].items():
                sums[name] = DepthSums(self.depth_ranges)
                sums[name].update(_on_cpu(pred)[None], target)
            result = {"token": sample["token"], "baseline": float(sample["baseline"]), "sums": sums}
            self.results.append(result)

    def compute_metrics(self, results: list[dict[str, Any]]) -> dict[str, float]:
        """Sum up the collected samples; called on the main process alone."""
        # Ranks repeat samples to make their shares equal.
        results = list({result["token"]: result for result in results}.values())
        report = self.report(results)
        print_log("\n" + "\n\n".join(self.tables(report)), logger="current")
        if self.out_dir is not None:
            write_json(self.out_dir / "metrics.json", report, indent=2)
        return self.logged(report)

    def report(self, results: Sequence[Mapping]) -> dict[str, Any]:
        """What ``metrics.json`` holds."""
        names = list(dict.fromkeys(name for result in results for name in result["sums"]))
        depth = {name: self._depth(name, results) for name in names}
        return {"num_samples": len(results), "depth": depth}

    def tables(self, report: Mapping[str, Any]) -> list[str]:
        """What the terminal shows."""
        tables = []
        for name, depth in report["depth"].items():
            moved = {f"moved {group} m": scores for group, scores in depth["by_baseline"].items()}
            tables.append(depth_table(name, {**depth, "by_camera": moved}))
        return tables

    def logged(self, report: Mapping[str, Any]) -> dict[str, float]:
        """What mmengine logs; undefined numbers are left out."""
        return {
            f"depth/{name}/{metric}": value
            for name, depth in report["depth"].items()
            for metric, value in depth["overall"].items()
            if metric != "count" and value is not None
        }

    def _depth(self, name: str, results: Sequence[Mapping]) -> dict[str, Any]:
        scores = self._total(name, results)
        by_baseline = {}
        for low, high in self.baselines:
            group = [result for result in results if low <= result["baseline"] < high]
            overall = self._total(name, group)["overall"]
            by_baseline[f"{low:g}-{high:g}"] = {**overall, "samples": len(group)}
        return {
            "overall": scores["overall"],
            "by_range": scores["by_range"],
            "by_baseline": by_baseline,
        }

    def _total(self, name: str, results: Sequence[Mapping]) -> dict[str, Any]:
        total = DepthSums(self.depth_ranges)
        for result in results:
            total.merge(result["sums"][name])
        return total.compute()


def _on_cpu(depth: Tensor):
    return depth.detach().float().cpu().numpy()
