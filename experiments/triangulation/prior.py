"""Does the prior help the detector? python -m experiments.triangulation.prior [--steps N]

The small detector of two frames half a second apart, with and without ``TriangulationPrior``, LiDAR
in every scene. Scored are boxes and the lifted depth: ``bin`` without the prior, ``fused`` with it.
The data are rendered where they are missing.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bevdepth_plus.engine.launch import run_tool
from experiments.runner.command_line import add_arguments, read_results, run_experiment
from experiments.runner.report import markdown, publish, spread
from experiments.runner.synthetic_data import make_synthetic
from experiments.runner.variants import TestSet, Variant, combined
from experiments.temporal_order.run import CONFIG, DATA, SCENES, small

NAME = "triangulation"
# What moves is left to what is learnt: the check beside the line compares features alone.
PRIOR = dict(
    type="TriangulationPrior",
    channels=32,
    samples=64,
    moving_radius=0,
    matcher=dict(patch_radius=3, temperature=0.05, threshold=0.7),
)
# The bins begin at 2 m: nearer cells can only be wrong.
RANGES = ((0, 2), (2, 10), (10, 20), (20, 30), (30, 40), (40, 60))
LIFTED = {"none": "bin", "prior": "fused"}
METRICS = {
    "abs_rel": "abs_rel",
    "d1": "d1",
    "rmse": "rmse",
    **{f"{near} to {far} m": f"by_range/{near}-{far}/abs_rel" for near, far in RANGES},
}


def variant(name: str) -> Variant:
    with_prior = dict(
        model=dict(depth=dict(priors=dict(motion=PRIOR))),
        train_dataloader=dict(
            dataset=dict(pipeline=dict(mark_moving=dict(type="MovingObjectPixels")))
        ),
    )
    parts = [small(depth_alone=False)] + [with_prior] * (name == "prior")
    return Variant(f"detector-{name}", CONFIG, combined(*parts))


VARIANTS = [variant(name) for name in LIFTED]


def report(results: Mapping[str, Any]) -> str:
    """A row without the prior, and one with it."""
    rows = []
    for name, depth in LIFTED.items():
        metrics = results["summary"].get(f"detector-{name}", {}).get("val", {})
        keys = ["mAP", "NDS", *(f"depth/{depth}/{metric}" for metric in METRICS.values())]
        rows.append([name, *(spread(metrics.get(key)) for key in keys)])
    return markdown(["prior", "mAP", "NDS", *METRICS], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_arguments(parser, NAME, seeds=(0, 1), data=DATA)
    parser.set_defaults(steps=700, out=Path(__file__).with_name("results_prior.json"))
    args = parser.parse_args()
    if args.report:
        results, status = read_results(args.out), 0
    else:
        make_synthetic(args.data, *SCENES)
        scored = TestSet.of_root("val", args.data).overrides
        ranges = dict(test_evaluator=dict(depth_ranges=RANGES))
        tests = [TestSet("val", combined(scored, ranges))]
        results, status = run_experiment(NAME, VARIANTS, tests, args, module="prior")
    publish(report(results), args.out)
    sys.exit(status)


if __name__ == "__main__":
    run_tool(main)
