"""What are depth labels without LiDAR worth? python -m experiments.pointmaps.run [--steps N]

A small two-view network learns on one half of the training scenes. It labels the other half and the
validation scenes, which it never saw; the labels are compared with exact depth, with and without
masks on what moves. Detectors then train on the other half: depth from LiDAR, from these labels,
or from nothing but boxes. The data are rendered where they are missing.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bevdepth_plus.engine.launch import run_tool
from bevdepth_plus.files import write_json
from experiments.pointmaps.halves import HALVES, write_halves
from experiments.pointmaps.labels import (
    images_of,
    label_scores,
    make_labels,
    records_of,
    write_moving_masks,
)
from experiments.pointmaps.poses import pose_scores
from experiments.runner.command_line import add_arguments, read_results, run_experiment
from experiments.runner.report import markdown, publish, spread
from experiments.runner.single_run import Run, Tools
from experiments.runner.synthetic_data import VERSION, make_synthetic
from experiments.runner.variants import REPO, TestSet, Variant, combined, training_config
from experiments.temporal_order.run import CONFIG, DATA, SCENES, small

NAME = "pointmaps"
NETWORK = "configs/pointmap_small.py"
VAL = "bevdepth_plus_infos_val.pkl"
FOLDER = "pointmap_depth_seed{seed}"
MASKS = "moving_masks"

# Supervision -> what it is called, and the steps of the training pipeline that give its depth.
SUPERVISION = {
    "lidar": ("LiDAR", {}),
    "pointmaps": (
        "labels of pointmaps",
        dict(
            load_points=None,
            depth_labels=dict(_delete_=True, type="LoadDenseDepth", folder=FOLDER.format(seed=0)),
        ),
    ),
    "none": ("boxes alone", dict(load_points=None, depth_labels=None)),
}
METRICS = {"mAP": "mAP", "NDS": "NDS", "abs_rel": "depth/bin/abs_rel", "d1": "depth/bin/d1"}
LABELS = ("coverage", "abs_rel", "d1")


def variant(name: str) -> Variant:
    """A whole detector that learns depth in one way, on the half that the network never saw."""
    dataset = dict(ann_file=HALVES[1], pipeline=SUPERVISION[name][1])
    taught = dict(train_dataloader=dict(dataset=dataset))
    blind = dict(model=dict(depth=dict(loss=None))) if name == "none" else {}
    return Variant(name, CONFIG, combined(small(depth_alone=False), taught, blind))


VARIANTS = [variant(name) for name in SUPERVISION]


def network_run(root: str, seed: int, steps: int | None, work_dir: Path) -> Run:
    """The training of the two-view network."""
    source = dict(layout="nuscenes", root=root, ann_file=HALVES[0])
    network = Variant(
        "network", NETWORK, dict(train_dataloader=dict(dataset=dict(sources=[source])))
    )
    return Run(network, seed, training_config(network, seed, steps), work_dir.resolve(), Tools())


def labels_of(root: str, seed: int, steps: int | None, work_dir: Path) -> dict[str, Any]:
    """Train a network, label what it never saw, and score the labels of the validation scenes."""
    run = network_run(root, seed, steps, work_dir)
    if not run.trained():
        print(f"{run.name}: training in {run.folder}", flush=True)
        run.train()
    weights, place = run.folder / "pointmaps.pth", REPO / root
    unseen, masks = records_of(place, VAL), place / MASKS
    taught = records_of(place, HALVES[1]) if seed == 0 else []
    write_moving_masks(unseen, masks)
    plain = FOLDER.format(seed=seed)
    make_labels(place, VERSION[1], weights, plain, [*unseen, *taught], None)
    make_labels(place, VERSION[1], weights, f"{plain}_masked", unseen, masks)
    return {
        "without masks": label_scores(unseen, plain),
        "with masks": label_scores(unseen, f"{plain}_masked"),
        "poses": pose_scores(place, VERSION[1], weights, images_of(unseen)),
    }


def report(results: Mapping[str, Any]) -> str:
    """A table of the labels, one of the poses, and one of the detectors."""
    tables = dict(Labels=label_table, Poses=pose_table, Detectors=detector_table)
    return "\n\n".join(f"{title}\n\n{table(results)}" for title, table in tables.items())


def label_table(results: Mapping[str, Any]) -> str:
    rows = []
    for masks in ("without masks", "with masks"):
        for part in ("all", "stands", "moves"):
            found = [each[masks][part] for each in results.get("labels", {}).values()]
            values = ([each[name] for each in found] for name in LABELS)
            rows.append([f"{masks}, {part}", *map(_range, values)])
    return markdown(["labels, pixels", *LABELS], rows)


def pose_table(results: Mapping[str, Any]) -> str:
    """A row for the network, and one for "it did not move"."""
    found = [each["poses"] for each in results.get("labels", {}).values() if "poses" in each]
    rows = [
        [title, *(_range([each[key][number] for each in found]) for number in (0, 1))]
        for key, title in (("network", "the network"), ("no motion", "no motion"))
    ]
    return markdown(["median error", "rotation, degrees", "position, m"], rows)


def detector_table(results: Mapping[str, Any]) -> str:
    rows = []
    for name, (title, _) in SUPERVISION.items():
        metrics = results["summary"].get(name, {}).get("val", {})
        rows.append([title, *(spread(metrics.get(key)) for key in METRICS.values())])
    return markdown(["depth is taught by", *METRICS], rows)


def _range(values: list[float | None]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    mean = sum(known) / len(known)
    return spread(dict(mean=mean, min=min(known), max=max(known), seeds=len(known)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_arguments(parser, NAME, seeds=(0, 1), data=DATA)
    parser.add_argument("--network-steps", type=int, help="default: the config's")
    parser.add_argument("--labels-alone", action="store_true", help="train no detector")
    parser.set_defaults(steps=1000)
    args = parser.parse_args()
    status = 0
    if not args.report:
        make_synthetic(args.data, *SCENES)
        write_halves(REPO / args.data)
        labels = {
            str(seed): labels_of(args.data, seed, args.network_steps, args.work_dir)
            for seed in args.seeds
        }
        if not args.labels_alone:
            tests = [TestSet.of_root("val", args.data)]
            _, status = run_experiment(NAME, VARIANTS, tests, args)
        results = read_results(args.out) if args.out.is_file() else {"runs": {}, "summary": {}}
        write_json(args.out, {**results, "labels": {**results.get("labels", {}), **labels}})
    publish(report(read_results(args.out)), args.out)
    sys.exit(status)


if __name__ == "__main__":
    run_tool(main)
