"""Does a model work on another vehicle? python -m experiments.new_rig.run [--steps N]

Trained on the synthetic scenes of ``tools/demo.sh`` (nuScenes' six cameras), tested without any
retraining on the same scenes shot by other rigs of ``configs/rigs``: other focal lengths, and five
cameras at other heights and angles. The test sets are rendered where they are missing. Writes
results as JSON, a Markdown table beside it, and a figure.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bevdepth_plus.engine.launch import run_tool
from bevdepth_plus.files import write_json
from experiments.new_rig.figure import draw
from experiments.new_rig.perfect_score import perfect_score
from experiments.runner.command_line import add_arguments, read_results, run_experiment
from experiments.runner.report import markdown, publish, spread
from experiments.runner.synthetic_data import make_synthetic
from experiments.runner.variants import REPO, TestSet, Variant, combined

NAME = "new_rig"
SAME = "nuscenes"
# The demo's validation scenes; a data set without any training scene has no info files.
SCENES = ("--train-scenes", "1", "--val-scenes", "10", "--keyframes", "8")
# Test rig -> what else its rendering and its dataset need. Six cameras as the training images.
SIX = ("--image-size", "512", "288")
RIGS: dict[str, tuple[tuple[str, ...], dict]] = {
    SAME: (SIX, {}),
    "nuscenes_f0.7": (SIX, {}),
    "nuscenes_f1.4": (SIX, {}),
    "five_cameras": ((), dict(camera_names=None)),  # its own image sizes, its own names
}
LABELS = {
    SAME: "same rig",
    "nuscenes_f0.7": "focal x 0.7",
    "nuscenes_f1.4": "focal x 1.4",
    "five_cameras": "five cameras",
}

PLAIN = "configs/synthetic_small.py"
METRIC = "configs/synthetic_small_metric.py"
PLUS = "configs/synthetic_small_plus.py"
FOCAL = 280.0  # network pixels, about that of the front and side cameras
AUXILIARY = dict(depth=dict(priors=dict(metric=dict(fuse=False))))
CANONICAL = dict(
    depth=dict(canonical_bins=dict(focal=FOCAL, bins=dict(start=1.0, stop=101.0, step=1.0)))
)
IMAGES = dict(dataset=dict(pipeline=dict(augment_images=dict(canonical_focal=FOCAL))))
# Down to the black frame that a lens of 1.4 times the canonical focal length leaves.
FRAMED = combined(IMAGES, dict(dataset=dict(pipeline=dict(augment_images=dict(scale=(0.7, 1.1))))))
VARIANTS = [
    Variant("lift_splat", PLAIN, dict(model=dict(depth=dict(depth_net=dict(camera_aware=False))))),
    Variant("bevdepth", PLAIN),
    Variant("metric_label", METRIC, dict(model=AUXILIARY)),
    Variant(
        "image_cstm",
        METRIC,
        dict(model=combined(AUXILIARY, CANONICAL), train_dataloader=IMAGES, test_dataloader=IMAGES),
    ),
    Variant("fused", METRIC),
    Variant("canonical", PLUS),
    Variant("canonical_images", PLUS, dict(train_dataloader=FRAMED, test_dataloader=IMAGES)),
]


def scores(results: Mapping[str, Any], variant: str, rig: str) -> dict[str, dict[str, float]]:
    """Metrics of a variant on a rig, each with mean, min, max; empty before it is tested."""
    return results["summary"].get(variant, {}).get(rig, {})


def kept_share(results: Mapping[str, Any], variant: str, rig: str) -> float | None:
    """Share of its own same-rig mAP that a variant keeps on another rig."""
    there, here = (scores(results, variant, name).get("mAP") for name in (rig, SAME))
    return there["mean"] / here["mean"] if there and here and here["mean"] else None


def tables(results: Mapping[str, Any]) -> str:
    """Scores, and depth, of every variant on every rig."""
    header = ["", *(LABELS[rig] for rig in RIGS)]
    variants = [variant.name for variant in VARIANTS if variant.name in results["summary"]]
    maps = [[name, *(_map(results, name, rig) for rig in RIGS)] for name in variants]
    perfect = [f"{results['rigs'][rig]['perfect_mAP']:.3f}" for rig in RIGS]
    maps.append(["*all that the cameras see, perfectly*", *perfect])
    nds = [
        [name, *(spread(scores(results, name, rig).get("NDS")) for rig in RIGS)]
        for name in variants
    ]
    depth = [row for name in variants for row in _depth_rows(results, name)]
    parts = (("mAP, and the share of its own on the same rig", maps), ("NDS", nds))
    parts += (("Depth: abs_rel / d1", depth),)
    return "\n\n".join(f"{title}\n\n{markdown(header, rows)}" for title, rows in parts)


def _map(results: Mapping[str, Any], variant: str, rig: str) -> str:
    share = kept_share(results, variant, rig)
    keeps = "" if rig == SAME or share is None else f", {100 * share:.0f} %"
    return _spread(results, variant, rig, "mAP") + keeps


def _spread(results: Mapping[str, Any], variant: str, rig: str, metric: str) -> str:
    return spread(scores(results, variant, rig).get(metric))


def _depth_rows(results: Mapping[str, Any], variant: str) -> list[list[str]]:
    rows = []
    for depth in ("bin", "metric", "fused"):
        metrics = [scores(results, variant, rig) for rig in RIGS]
        pairs = [[m.get(f"depth/{depth}/{name}") for name in ("abs_rel", "d1")] for m in metrics]
        if any(abs_rel for abs_rel, _ in pairs):
            rows.append([f"{variant}, {depth}", *(" / ".join(map(spread, pair)) for pair in pairs)])
    return rows


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_arguments(parser, NAME, seeds=(0, 1))
    parser.add_argument(
        "--rigs", type=Path, default=Path("data/rigs"), help="folder of the test sets"
    )
    return parser.parse_args()


def run(args: argparse.Namespace) -> tuple[dict[str, Any], int]:
    """Render what is missing, train, test; returns the results and the exit status."""
    for rig, (options, _) in RIGS.items():
        rig_file = ("--rig", f"configs/rigs/{rig}.yaml")
        make_synthetic(args.rigs / rig, *SCENES, *rig_file, *options)
    tests = [TestSet.of_root(rig, f"{args.rigs}/{rig}", **RIGS[rig][1]) for rig in RIGS]
    results, status = run_experiment(NAME, VARIANTS, tests, args)
    if "rigs" not in results:
        results["rigs"] = {rig: perfect_score(REPO / args.rigs / rig, REPO / PLAIN) for rig in RIGS}
        write_json(args.out, results, indent=1)
    return results, status


def main() -> None:
    args = parse_args()
    results, status = (read_results(args.out), 0) if args.report else run(args)
    if results["summary"]:
        publish(tables(results), args.out)
        draw(results, [v.name for v in VARIANTS], LABELS, args.out.with_name("figure.png"))
    sys.exit(status)


if __name__ == "__main__":
    run_tool(main)
