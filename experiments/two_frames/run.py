"""Do two key frames see how fast things move? python benchmarks/two_frames.py

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
from pathlib import Path
from typing import Any, NamedTuple

import torch
from encoded import keep_encoded
from mmdet3d.registry import MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope
from single_run import run_folder
from synthetic_data import make_synthetic
from torch import Tensor
from training_report import markdown, publish, spread
from training_runs import add_arguments, run_benchmark
from training_variants import REPO, TestSet, Variant, merged
from two_frames_figure import draw

from bevdepth_plus.datasets.classes import CLASSES
from bevdepth_plus.engine.launch import run_tool
from bevdepth_plus.errors import DataError

NAME = "two_frames"
DATA = "data/synthetic_motion"
SCENES = ("--train-scenes", "300", "--val-scenes", "30", "--keyframes", "12")
SCENES += ("--image-size", "384", "216")
CONFIG = "configs/synthetic_small_plus.py"
MOTION = "configs/synthetic_small_plus_motion.py"
# The images are half as wide as those of the nuScenes recipes: what lies within 25 m looks here as
# it does there within 50 m, the official range. Nothing else is looked for.
RANGE = 25.0  # metres
CLOSE_BY = dict(
    model=dict(
        grid=dict(x=(-25.6, 25.6, 0.8), y=(-25.6, 25.6, 0.8)),
        depth_bins=dict(stop=42.0, step=0.5),
        canonical_bins=dict(bins=dict(start=1.0, stop=81.0, step=0.5)),
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
        encoded: folder of the maps that motion is seen in, of the training scenes.
        checkpoints: of each variant, by name.
    """

    encoded: str
    checkpoints: dict[str, str]


def seeing(frames: int) -> dict:
    """What differs from the config that sees motion: how far, and how many frames."""
    dataset = dict(dataset=dict(num_frames=frames))
    return merged(
        CLOSE_BY,
        dict(
            model=dict(bbox_head=dict(num_frames=frames)),
            train_dataloader=dataset,
            val_dataloader=dataset,
            test_dataloader=dataset,
        ),
    )


def whole(name: str) -> dict:
    """The config of a variant as the whole detector it is."""
    return merged(Config.fromfile(REPO / MOTION).to_dict(), seeing(FRAMES[name]))


def prepare(checkpoint: Path, data: str, work_dir: Path, jobs: int) -> Start:
    """Keep the maps a detector's head sees, and write each variant's first weights."""
    name = hashlib.sha256(checkpoint.read_bytes()).hexdigest()[:8]
    weights = torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"]
    checkpoints = {}
    for variant in FRAMES:
        config = whole(variant)
        torch.manual_seed(0)
        model = MODELS.build(config["model"])
        load_detector(model, weights)
        path = work_dir / f"start-{variant}-{name}.pth"
        torch.save(dict(state_dict=model.state_dict(), meta={}), path)
        checkpoints[variant] = os.path.relpath(path, REPO)
    config = whole("two_frames")
    dataset = config["val_dataloader"]["dataset"]
    dataset.update(data_root=f"{REPO / data}/", ann_file="bevdepth_plus_infos_train.pkl")
    encoded = work_dir / f"encoded-{name}"
    keep_encoded(config["model"], REPO / checkpoints["two_frames"], dataset, encoded, jobs)
    return Start(os.path.relpath(encoded, REPO), checkpoints)


def load_detector(model: torch.nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Give a model a one-frame detector's weights; what sees motion keeps its own.

    Raises:
        DataError: another weight is missing or left over.
    """
    missing, unknown = model.load_state_dict(weights, strict=False)
    missing = [name for name in missing if not name.startswith("bbox_head.motion.")]
    if missing or unknown:
        raise DataError(f"the detector's weights do not fit: {(missing + unknown)[0]}")


def motion_part(name: str, start: Start) -> Variant:
    """A variant of which only what sees motion is trained, on maps that were kept."""
    pipeline = [dict(type="LoadEncoded", folder=start.encoded), dict(type="PackBEVInputs")]
    alone = dict(
        custom_imports=dict(imports=["bevdepth_plus.plugin", "encoded"]),
        model=dict(
            type="FromEncoded",
            data_preprocessor=dict(type="EncodedPreprocessor"),
            init_cfg=dict(type="Pretrained", checkpoint=start.checkpoints[name]),
        ),
        train_dataloader=dict(batch_size=8, dataset=dict(pipeline=pipeline)),
        optim_wrapper=dict(optimizer=dict(lr=3e-3)),
    )
    return Variant(name, MOTION, merged(seeing(FRAMES[name]), alone))


def test_set(data: str) -> TestSet:
    """The validation scenes, as far as the cells reach; from images, with the whole detector."""
    val = TestSet.of_root("val", data)
    overrides = dict(
        model=dict(type="BEVDepth", data_preprocessor=dict(type="MultiViewPreprocessor")),
        test_evaluator=dict(class_range=RANGE),
    )
    return TestSet("val", merged(val.overrides, overrides))


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


def checkpoint_of(results: Mapping[str, Any], name: str, seed: int, work_dir: Path) -> Path:
    """The last checkpoint of a run that is in the results.

    Raises:
        DataError: the run's folder was deleted.
    """
    config_hash = results["runs"][name][str(seed)]["hash"]
    folder = run_folder(work_dir.resolve(), name, seed, config_hash)
    note = folder / "last_checkpoint"
    if not note.is_file():
        raise DataError(f"{folder} is gone: delete the results file to train it again")
    return Path(note.read_text().strip())


def draw_scene(results: Mapping[str, Any], seed: int, work_dir: Path, path: Path) -> None:
    """A scene as one frame and two see it."""
    detectors = {}
    for name in FRAMES:
        checkpoint = checkpoint_of(results, name, seed, work_dir)
        config = Config.fromfile(checkpoint.parent / "test-val/test_config.py")
        dataset = config.test_dataloader.dataset
        dataset.data_root = f"{REPO / dataset.data_root}/"
        detectors[LABELS[name]] = config, checkpoint
    draw(detectors, SCENE, RANGE, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_arguments(parser, NAME, seeds=(0, 1), data=DATA)
    parser.set_defaults(steps=1500)
    parser.add_argument(
        "--detector-steps", type=int, default=5000, help="of the detector (default: %(default)s)"
    )
    parser.add_argument("--figure", type=Path, default=REPO / "docs/images/two_frames.png")
    args = parser.parse_args()
    init_default_scope("mmdet3d")
    make_synthetic(args.data, *SCENES)
    tests = [test_set(args.data)]
    first = {**vars(args), "seeds": [DETECTOR_SEED], "steps": args.detector_steps, "only": None}
    results, status = run_benchmark(NAME, [DETECTOR], tests, argparse.Namespace(**first))
    if not status:
        detector = checkpoint_of(results, DETECTOR.name, DETECTOR_SEED, args.work_dir)
        start = prepare(detector, args.data, args.work_dir.resolve(), args.jobs)
        variants = [motion_part(name, start) for name in FRAMES]
        results, status = run_benchmark(NAME, variants, tests, args)
    publish(table(results), args.out)
    if not status and args.only is None:
        draw_scene(results, args.seeds[0], args.work_dir, args.figure)
    sys.exit(status)


if __name__ == "__main__":
    run_tool(main)
