"""What does motion add to one image? python -m experiments.triangulation.run [--steps N]

Depth from motion against a network of the same encoder and decoder that sees the anchor alone, with
equal steps and samples, on synthetic video of 10 Hz, scored while the vehicle moves and while it
stands. The data are rendered where they are missing.
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
from experiments.runner.variants import TestSet, Variant, combined

NAME = "triangulation"
CONFIG = "configs/deltas_synthetic_small.py"
DATA = "data/synthetic_10hz"
SCENES = ("--train-scenes", "40", "--val-scenes", "8", "--keyframes", "5")
SCENES += ("--image-size", "256", "144", "--depth", "--sequence-rate", "10")
GAP = 1  # frames: 0.1 s from one view to the next
STANDING = 0.15  # share of the training samples that stand

TITLES = {
    "motion": "depth from motion",
    "monocular": "one image, the same encoder and decoder",
}
METRICS = {
    "abs_rel": "depth/dense/abs_rel",
    "d1": "depth/dense/d1",
    "moved 0.1 to 1 m": "depth/dense/by_baseline/0.1-1/abs_rel",
    "1 to 3 m": "depth/dense/by_baseline/1-3/abs_rel",
    "0 to 10 m far": "depth/dense/by_range/0-10/abs_rel",
    "10 to 20 m": "depth/dense/by_range/10-20/abs_rel",
    "20 to 30 m": "depth/dense/by_range/20-30/abs_rel",
    "30 to 40 m": "depth/dense/by_range/30-40/abs_rel",
    "40 to 60 m": "depth/dense/by_range/40-60/abs_rel",
}


def variants() -> list[Variant]:
    """Both networks; in training some samples stand, so that each learns to fall back."""
    modules = ["bevdepth_plus.plugin"]
    modules += [f"experiments.{NAME}.{module}" for module in ("monocular", "standing")]
    stand = dict(type="StandStill", prob=STANDING)
    pipeline = dict(order=["stand", "mirror", "jitter"], stand=stand)
    common = dict(
        custom_imports=dict(imports=modules),
        train_dataloader=dict(dataset=dict(pipeline=pipeline, gap=GAP)),
    )
    losses = dict(smoothness=0.1, depth=dict(log=True))
    alone = dict(model=dict(type="MonocularDepth", criterion=None, **losses))
    return [
        Variant("motion", CONFIG, common),
        Variant("monocular", CONFIG, combined(common, alone)),
    ]


def tests(root: str) -> list[TestSet]:
    """The validation scenes as they are, and standing."""
    dataset = dict(sources=[source(root, "val")], gap=GAP, anchor_step=3)
    standing = dict(order=["stand"], stand=dict(type="StandStill"))
    return [
        TestSet("moving", dict(test_dataloader=dict(dataset=dataset))),
        TestSet("standing", dict(test_dataloader=dict(dataset=dict(**dataset, pipeline=standing)))),
    ]


def source(root: str, split: str) -> dict:
    return dict(layout="nuscenes", root=root, ann_file=f"bevdepth_plus_infos_{split}.pkl")


def report(results: Mapping[str, Any]) -> str:
    """A table while it moves, and one while it stands."""
    return "\n\n".join(
        f"{test.capitalize()}\n\n{table(results, test)}" for test in ("moving", "standing")
    )


def table(results: Mapping[str, Any], test: str) -> str:
    rows = []
    for name, title in TITLES.items():
        metrics = results["summary"].get(name, {}).get(test, {})
        rows.append([title, *(spread(metrics.get(key)) for key in METRICS.values())])
    return markdown(["abs_rel of", *METRICS], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_arguments(parser, NAME, seeds=(0, 1), data=DATA)
    parser.set_defaults(steps=1500)
    args = parser.parse_args()
    if args.report:
        results, status = read_results(args.out), 0
    else:
        make_synthetic(args.data, *SCENES)
        common = dict(train_dataloader=dict(dataset=dict(sources=[source(args.data, "train")])))
        results, status = run_experiment(NAME, variants(), tests(args.data), args, common)
    publish(report(results), args.out)
    sys.exit(status)


if __name__ == "__main__":
    run_tool(main)
