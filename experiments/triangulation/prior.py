"""Does the prior help the detector? python -m experiments.triangulation.prior [--steps N]

The small detector of two frames half a second apart, with and without ``TriangulationPrior``, LiDAR
in every scene. Scored are boxes and the lifted depth, ``bin`` without the prior and ``fused`` with
it, on the training's rig and on others. The data are rendered where they are missing.
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
RIGS = {"nuscenes_f0.7": "Focal length x 0.7", "nuscenes_f1.4": "Focal length x 1.4"}
RIG_SCENES = ("--train-scenes", "1", "--val-scenes", "10", "--keyframes", "8")
RIG_SCENES += ("--image-size", "384", "216")
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


def tests(root: str, rigs: Path) -> list[TestSet]:
    """The validation scenes of the training's rig, and of other rigs."""
    roots = {"val": root, **{rig: f"{rigs}/{rig}" for rig in RIGS}}
    ranges = dict(test_evaluator=dict(depth_ranges=RANGES))
    return [
        TestSet(name, combined(TestSet.of_root(name, place).overrides, ranges))
        for name, place in roots.items()
    ]


def report(results: Mapping[str, Any]) -> str:
    """A table of each rig: a row without the prior, and one with it."""
    titles = {"val": "The training's rig", **RIGS}
    return "\n\n".join(f"{title}\n\n{table(results, test)}" for test, title in titles.items())


def table(results: Mapping[str, Any], test: str) -> str:
    rows = []
    for name, depth in LIFTED.items():
        metrics = results["summary"].get(f"detector-{name}", {}).get(test, {})
        keys = ["mAP", "NDS", *(f"depth/{depth}/{metric}" for metric in METRICS.values())]
        rows.append([name, *(spread(metrics.get(key)) for key in keys)])
    return markdown(["prior", "mAP", "NDS", *METRICS], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_arguments(parser, NAME, seeds=(0, 1), data=DATA)
    parser.add_argument(
        "--rigs",
        type=Path,
        default=Path("data/video_rigs"),
        help="folder of other rigs' scenes",
    )
    parser.set_defaults(steps=700, out=Path(__file__).with_name("results_prior.json"))
    args = parser.parse_args()
    if args.report:
        results, status = read_results(args.out), 0
    else:
        make_synthetic(args.data, *SCENES)
        for rig in RIGS:
            make_synthetic(args.rigs / rig, *RIG_SCENES, "--rig", f"configs/rigs/{rig}.yaml")
        results, status = run_experiment(
            NAME, VARIANTS, tests(args.data, args.rigs), args, module="prior"
        )
    publish(report(results), args.out)
    sys.exit(status)


if __name__ == "__main__":
    run_tool(main)
