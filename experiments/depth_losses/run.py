"""What does each depth loss add? python -m experiments.depth_losses.run [--steps N]

Image encoder and metric depth prior alone, taught by dense depth pictures, the same number of steps
for each set of losses; scored on dense depth and on LiDAR points of other scenes. The data are
rendered where they are missing.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from typing import Any

from bevdepth_plus.engine.launch import run_tool
from experiments.runner.command_line import add_arguments, read_results, run_experiment
from experiments.runner.report import markdown, publish, spread
from experiments.runner.synthetic_data import make_synthetic
from experiments.runner.variants import TestSet, Variant

NAME = "depth_losses"
# More scenes than the demo's and longer ones, with exact depth; the size that networks read.
DATA = "data/synthetic_benchmark"
SCENES = ("--train-scenes", "100", "--val-scenes", "10", "--keyframes", "12")
SCENES += ("--image-size", "384", "216", "--depth")

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
DENSE = dict(depth_labels=dict(_delete_=True, type="LoadDenseDepth"))


def overrides(losses: Mapping[str, dict]) -> dict:
    """The metric depth prior alone, taught by these losses and SILog."""
    prior = dict(
        upsample=2,  # finer than the bins' cells: normals need neighbours
        likelihood_weight=0.0,  # it would teach depth, too
        losses=dict(_delete_=True, silog=dict(type="SILogLoss"), **losses),
    )
    modules = ["bevdepth_plus.plugin", "experiments.depth_losses.depth_priors_alone"]
    return dict(
        custom_imports=dict(imports=modules),
        model=dict(type="DepthPriorsAlone", depth=dict(priors=dict(metric=prior))),
        train_dataloader=dict(dataset=dict(pipeline=DENSE)),
    )


VARIANTS = [
    Variant(name, "configs/synthetic_small_metric.py", overrides(losses))
    for name, losses in SETS.items()
]


def tests(data: str) -> list[TestSet]:
    """The validation scenes, scored on every pixel's depth and on the LiDAR's points."""
    return [TestSet.of_root("dense", data, pipeline=DENSE), TestSet.of_root("lidar", data)]


def report(results: Mapping[str, Any]) -> str:
    """A table for each test set."""
    return "\n\n".join(f"{title}\n\n{table(results, test)}" for test, title in TITLES.items())


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
    if args.report:
        results, status = read_results(args.out), 0
    else:
        make_synthetic(args.data, *SCENES)
        results, status = run_experiment(NAME, VARIANTS, tests(args.data), args)
    publish(report(results), args.out)
    sys.exit(status)


if __name__ == "__main__":
    run_tool(main)
