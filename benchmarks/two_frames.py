"""Do two key frames see how fast things move? python benchmarks/two_frames.py [--steps N]

One frame against two, same number of steps, on the synthetic scenes of ``tools/demo.sh``. Velocity
is what one picture cannot show: mAVE is the measure.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from typing import Any

from training_report import markdown, publish, spread
from training_runs import add_arguments, run_benchmark
from training_variants import TestSet, Variant

from bevdepth_plus.engine.launch import run_tool

NAME = "two_frames"
VARIANTS = [
    Variant("one_frame", "configs/synthetic_small.py"),
    Variant("two_frames", "configs/synthetic_small_2key.py"),
]
METRICS = ("mAVE", "AVE/car", "AVE/truck", "AVE/pedestrian", "mAP", "NDS")
LOWER_IS_BETTER = ("mAVE", "AVE/car", "AVE/truck", "AVE/pedestrian")


def table(results: Mapping[str, Any]) -> str:
    """Both variants and the gain of the second, a row each."""
    one, two = (results["summary"].get(v.name, {}).get("val", {}) for v in VARIANTS)
    rows = []
    for metric in METRICS:
        gain = "-"
        if metric in one and metric in two:
            change = two[metric]["mean"] / one[metric]["mean"] - 1 if one[metric]["mean"] else 0.0
            gain = f"{100 * change:+.0f} %"
        name = f"{metric}, m/s" if metric in LOWER_IS_BETTER else metric
        rows.append([name, spread(one.get(metric)), spread(two.get(metric)), gain])
    return markdown(["", "one frame", "two frames", "change"], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add_arguments(parser, NAME, seeds=(0, 1))
    args = parser.parse_args()
    results, status = run_benchmark(NAME, VARIANTS, [TestSet.of_root("val", args.data)], args)
    publish(table(results), args.out)
    sys.exit(status)


if __name__ == "__main__":
    run_tool(main)
