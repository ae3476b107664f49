"""Do two key frames tell how fast things move? python -m experiments.two_frames.run

A detector is trained with one frame and stays as it is, its boxes too. Then a head that corrects
its velocities is trained, with the key frame's BEV map alone and with the past one's beside it:
the same layers, the same number of steps, the same boxes. mAVE is the measure.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from mmdet3d.registry import MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope

from bevdepth_plus.classes import CLASSES
from bevdepth_plus.engine.launch import run_tool
from bevdepth_plus.errors import DataError
from experiments.runner.command_line import add_arguments, read_results, run_experiment
from experiments.runner.report import markdown, publish, spread
from experiments.runner.single_run import checkpoint_to_test, run_folder
from experiments.runner.synthetic_data import make_synthetic
from experiments.runner.variants import REPO, TestSet, Variant, combined, merged
from experiments.two_frames.figure import draw
from experiments.two_frames.shared_maps import write_shared_maps
from experiments.two_frames.velocity_training import load_one_frame_detector, whole_detector

NAME = "two_frames"
DATA = "data/synthetic_motion"
SCENES = ("--train-scenes", "300", "--val-scenes", "30", "--keyframes", "12")
SCENES += ("--image-size", "384", "216")
CONFIG = "configs/synthetic_small_plus.py"
MOTION = "configs/synthetic_small_plus_motion.py"
# The images are half as wide as those of the nuScenes recipes: an object at 25 m looks here as one
# at 50 m, the official range, does there. Nothing farther is searched for.
RANGE = 25.0  # metres
CLOSE_BY = dict(
    model=dict(
        grid=dict(x=(-25.6, 25.6, 0.8), y=(-25.6, 25.6, 0.8)),
        depth_bins=dict(stop=42.0, step=0.5),
        depth=dict(canonical_bins=dict(bins=dict(start=1.0, stop=81.0, step=0.5))),
    )
)
DETECTOR = Variant("detector", CONFIG, CLOSE_BY)
DETECTOR_SEED = 0
FRAMES = {"one_frame": 1, "two_frames": 2}
LABELS = {DETECTOR.name: "the detector", "one_frame": "one frame", "two_frames": "two frames"}
MOVING = [name for name in CLASSES if name not in ("traffic_cone", "barrier")]
ERRORS = ("mAVE", *(f"AVE/{name}" for name in MOVING))
METRICS = (*ERRORS, "mAP", "NDS")
SCENE = 213  # the validation key frame of the picture


class Start(NamedTuple):
    """What the second training begins with; paths relative to the repository.

    Attributes:
        shared_maps: folder of the training scenes' shared maps.
        checkpoints: of each variant's whole detector, by name.
    """

    shared_maps: str
    checkpoints: dict[str, str]


def num_frames_overrides(num_frames: int) -> dict:
    """What differs from the motion config: the range, and how many frames are compared."""
    dataset = dict(dataset=dict(num_frames=num_frames))
    temporal = dict(num_frames=num_frames)
    if num_frames == 1:
        temporal.update(fusion=None, fuse_encoded=None)  # one map needs neither
    heads = dict(boxes=dict(num_frames=num_frames))
    return combined(
        CLOSE_BY,
        dict(
            model=dict(temporal=temporal, heads=heads),
            train_dataloader=dataset,
            val_dataloader=dataset,
            test_dataloader=dataset,
        ),
    )


def detector_config(name: str) -> dict:
    """The config of a variant as a whole detector."""
    config = Config.fromfile(REPO / MOTION, import_custom_modules=False).to_dict()
    return merged(config, num_frames_overrides(FRAMES[name]))


def prepare(checkpoint: Path, data: str, work_dir: Path, jobs: int) -> Start:
    """Write the detector's shared maps, and the whole detector that each variant starts from."""
    digest = hashlib.sha256(checkpoint.read_bytes()).hexdigest()[:8]
    weights = torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"]
    checkpoints = {}
    for variant in FRAMES:
        torch.manual_seed(0)
        model = MODELS.build(detector_config(variant)["model"])
        load_one_frame_detector(model, weights)
        path = work_dir / f"start-{variant}-{digest}.pth"
        torch.save(dict(state_dict=model.state_dict(), meta={}), path)
        checkpoints[variant] = os.path.relpath(path, REPO)
    config = detector_config("two_frames")
    dataset = config["val_dataloader"]["dataset"]
    dataset.update(data_root=f"{REPO / data}/", ann_file="bevdepth_plus_infos_train.pkl")
    folder = work_dir / f"shared-maps-{digest}"
    write_shared_maps(config["model"], REPO / checkpoints["two_frames"], dataset, folder, jobs)
    return Start(os.path.relpath(folder, REPO), checkpoints)


def velocity_variant(name: str, start: Start) -> Variant:
    """A variant of which only the motion layers are trained, on shared maps."""
    checkpoint = start.checkpoints[name]
    pipeline = dict(
        _delete_=True,
        load_maps=dict(type="LoadSharedMaps", folder=start.shared_maps),
        pack=dict(type="PackBEVInputs"),
    )
    modules = ["bevdepth_plus.plugin", "experiments.two_frames.velocity_training"]
    training = dict(
        custom_imports=dict(imports=modules),
        model=dict(type="VelocityFromSharedMaps", start=checkpoint),
        train_dataloader=dict(batch_size=8, dataset=dict(pipeline=pipeline)),
        optim_wrapper=dict(optimizer=dict(lr=3e-3)),
    )
    overrides = combined(num_frames_overrides(FRAMES[name]), training)
    return Variant(name, MOTION, overrides, partial(whole_detector, start=REPO / checkpoint))


def test_set(data: str) -> TestSet:
    """The validation scenes, as far as the grid reaches; from images, with the whole detector."""
    val = TestSet.of_root("val", data)
    overrides = dict(
        model=dict(type="BEVDepth", start=None),
        test_evaluator=dict(class_range=RANGE),
    )
    return TestSet("val", combined(val.overrides, overrides))


def table(results: Mapping[str, Any]) -> str:
    """A row each metric, a column each variant, with what the second frame changes."""
    scores = {name: results["summary"].get(name, {}).get("val", {}) for name in LABELS}
    rows = []
    for metric in METRICS:
        one, two = (scores[name].get(metric) for name in FRAMES)
        change = "-"
        if one and two and one["mean"]:
            change = f"{round(100 * (two['mean'] / one['mean'] - 1)):+d} %"
        row = [f"{metric}{', m/s' if metric in ERRORS else ''}"]
        rows.append([*row, *(spread(scores[name].get(metric)) for name in LABELS), change])
    return markdown(["", *LABELS.values(), "change"], rows)


def finished_run(results: Mapping[str, Any], name: str, seed: int, work_dir: Path) -> Path:
    """The folder of a run that is in the results.

    Raises:
        DataError: it was deleted, or the run was made elsewhere.
    """
    config_hash = results["runs"][name][str(seed)]["hash"]
    folder = run_folder(work_dir.resolve(), name, seed, config_hash)
    if not (folder / "last_checkpoint").is_file():
        raise DataError(
            f"{name} seed {seed} is in the results, but its folder {folder} is not here: give "
            "another --out to train it again, or --report for the tables alone"
        )
    return folder


def draw_scene(results: Mapping[str, Any], args: argparse.Namespace, start: Start) -> None:
    """The velocities of a scene, from one frame and from two."""
    detectors = {}
    for name in FRAMES:
        folder = finished_run(results, name, args.seeds[0], args.work_dir)
        config = Config.fromfile(folder / "test-val/test_config.py")
        dataset = config.test_dataloader.dataset
        dataset.data_root = f"{REPO / dataset.data_root}/"
        checkpoint = checkpoint_to_test(folder, velocity_variant(name, start))
        detectors[LABELS[name]] = config, checkpoint
    draw(detectors, SCENE, RANGE, args.out.with_name("figure.png"))


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_arguments(parser, NAME, seeds=(0, 1), data=DATA)
    parser.set_defaults(steps=1500)
    parser.add_argument(
        "--detector-steps", type=int, default=5000, help="of the detector (default: %(default)s)"
    )
    return parser.parse_args()


def run(args: argparse.Namespace) -> tuple[dict[str, Any], int]:
    """Both trainings, one after the other; returns the results and the exit status."""
    init_default_scope("mmdet3d")
    make_synthetic(args.data, *SCENES)
    tests = [test_set(args.data)]
    first = {**vars(args), "seeds": [DETECTOR_SEED], "steps": args.detector_steps, "only": None}
    results, status = run_experiment(NAME, [DETECTOR], tests, argparse.Namespace(**first))
    if status:
        return results, status
    detector = finished_run(results, DETECTOR.name, DETECTOR_SEED, args.work_dir)
    checkpoint = checkpoint_to_test(detector, DETECTOR)
    start = prepare(checkpoint, args.data, args.work_dir.resolve(), args.jobs)
    variants = [velocity_variant(name, start) for name in FRAMES]
    results, status = run_experiment(NAME, variants, tests, args)
    if not status and args.only is None:
        draw_scene(results, args, start)
    return results, status


def main() -> None:
    args = parse_args()
    results, status = (read_results(args.out), 0) if args.report else run(args)
    publish(table(results), args.out)
    sys.exit(status)


if __name__ == "__main__":
    run_tool(main)
