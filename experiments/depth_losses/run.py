"""What each depth loss adds: python benchmarks/depth_losses.py [--steps N]

Image backbone and metric depth head alone, taught by dense depth pictures, the same number of steps
for each set of losses; scored on dense depth and on LiDAR points of other scenes. The data are
rendered where they are missing.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from typing import Any

from synthetic_data import DATA, SCENES, make_synthetic
from training_report import markdown, publish, spread
from training_runs import add_arguments, run_benchmark
from training_variants import TestSet, Variant

from bevdepth_plus.engine.launch import run_tool

NAME = "depth_losses"
METRICS = ("abs_rel", "rmse", "silog", "d1")
# So weighted, each ends at about half of what SILog does (0.06 of 0.12).
WEIGHT = dict(loss_weight=0.1)
VNL = dict(vnl=dict(type="VirtualNormalLoss", **WEIGHT))
RPNL = dict(rpnl=dict(type="RandomProposalNormalizationLoss", **WEIGHT))
PWN = dict(pwn=dict(type="PairwiseNormalLoss", **WEIGHT))  # edges: planes have no labels here
SETS = {"silog": {}, "vnl": VNL, "rpnl": RPNL, "pwn": PWN, "all": VNL | RPNL | PWN}
LABELS = {
    "silog": "SILog alone",
    "vnl": "+ VNL",
    "rpnl": "+ RPNL",
    "pwn": "+ PWN",
    "all": "+ all three",
}
TITLES = {"dense": "On every cell with depth", "lidar": "On the cells that the LiDAR hit"}
# LidarDepthMaps of the config's pipelines gives way to the depth pictures.
DENSE = {3: dict(_delete_=True, type="LoadDenseDepth")}


def overrides(losses: Mapping[str, dict]) -> dict:
    """Depth alone, taught by these losses and SILog."""
    head = dict(
        fuse=False,
        upsample=2,  # than the bins' cells: normals need neighbours
        likelihood_weight=0.0,  # it would teach depth too
        losses=dict(_delete_=True, silog=dict(type="SILogLoss"), **losses),
    )
    return dict(
        custom_imports=dict(imports=["bevdepth_plus.plugin", "depth_only"]),
        model=dict(type="DepthOnly", metric_depth_head=head),
        train_dataloader=dict(dataset=dict(pipeline=DENSE)),
    )


VARIANTS = [
    Variant(name, "configs/synthetic_small_metric.py", overrides(losses))
    for name, losses in SETS.items()
]


def tests(data: str) -> list[TestSet]:
    """The validation scenes, scored on every pixel's depth and on the LiDAR's points."""
    return [TestSet.of_root("dense", data, pipeline=DENSE), TestSet.of_root("lidar", data)]


def table(results: Mapping[str, Any], test: str) -> str:
    """A row for each set of losses."""
    rows = []
    for name, label in LABELS.items():
        metrics = results["summary"].get(name, {}).get(test, {})
        rows.append([label, *(spread(metrics.get(f"depth/metric/{m}")) for m in METRICS)])
    return markdown(["losses", *METRICS], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_arguments(parser, NAME, seeds=(0, 1), data=DATA)
    args = parser.parse_args()
    make_synthetic(args.data, *SCENES)
    results, status = run_benchmark(NAME, VARIANTS, tests(args.data), args)
    parts = [f"{title}\n\n{table(results, test)}" for test, title in TITLES.items()]
    publish("\n\n".join(parts), args.out)
    sys.exit(status)


if __name__ == "__main__":
    run_tool(main)
