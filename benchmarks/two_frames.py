"""Do two key frames see how fast things move? python benchmarks/two_frames.py [--steps N]

A detector is trained with one frame. Its image part then stays as it is, and what comes after (BEV
encoder and head) is trained on from the same weights, the same number of steps: with one frame as
before, and with two. The weights for the past frame begin at zero, so all are the same function at
step 0. Velocity is what one picture cannot show: mAVE is the measure.
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
from lifted import keep_lifted
from mmdet3d.registry import MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope
from synthetic_data import DATA, SCENES, make_synthetic
from torch import Tensor
from training_report import markdown, publish, spread
from training_runs import add_arguments, run_benchmark, run_folder
from training_variants import REPO, TestSet, Variant, merged

from bevdepth_plus.engine.launch import run_tool
from bevdepth_plus.errors import DataError

NAME = "two_frames"
# Smaller images and coarser cells than the demo's: a step takes a third of the time.
IMAGE_SIZE, FOCAL, CELL = (96, 256), 200.0, 1.6
RESIZED = dict(dataset=dict(pipeline={1: dict(final_dim=IMAGE_SIZE)}))
SMALLER = dict(
    model=dict(
        grid=dict(x=(-51.2, 51.2, CELL), y=(-51.2, 51.2, CELL)),
        image_size=IMAGE_SIZE,
        canonical_bins=dict(focal=FOCAL),
        metric_depth_head=dict(canonical_focal=FOCAL),
    ),
    train_dataloader=RESIZED,
    val_dataloader=RESIZED,
    test_dataloader=RESIZED,
)
IMAGE_SEED = 0
IMAGE_PART = Variant("image_part", "configs/synthetic_small_plus.py", SMALLER)
TWO = "configs/synthetic_small_plus_2key.py"
MAP, COMPARED = 48, 32  # channels: of one moment's BEV map, and of what is compared
CORRELATED = dict(
    temporal_fusion=dict(
        type="CorrelationFusion",
        in_channels=MAP,
        embed_channels=8,
        out_channels=COMPARED,
        stride=1,
    ),
    bev_encoder=dict(
        backbone=dict(in_channels=2 * MAP + COMPARED),
        neck=dict(in_channels={0: 2 * MAP + COMPARED}),
    ),
)
WHOLE = {
    "one_frame": IMAGE_PART,
    "two_frames": Variant("two_frames", TWO, SMALLER),
    "correlated": Variant("correlated", TWO, merged(SMALLER, dict(model=CORRELATED))),
}
LABELS = {
    "image_part": "one frame, before",
    "one_frame": "one frame",
    "two_frames": "two frames",
    "correlated": "two frames, correlated",
}
ERRORS = ("mAVE", "AVE/car", "AVE/truck", "AVE/bus", "AVE/motorcycle", "AVE/pedestrian")
METRICS = (*ERRORS, "mAP", "NDS")


class Start(NamedTuple):
    """What the second training begins with; paths relative to the repository.

    Attributes:
        lifted: folder of what its image part lifts.
        checkpoints: of each variant, by name.
    """

    lifted: str
    checkpoints: dict[str, str]


def whole(name: str) -> dict:
    """The config of a variant as the whole detector it is."""
    variant = WHOLE[name]
    return merged(Config.fromfile(REPO / variant.config).to_dict(), variant.overrides)


def prepare(checkpoint: Path, data: str, work_dir: Path) -> Start:
    """Keep what a detector's image part lifts, and write each variant's first weights."""
    name = hashlib.sha256(checkpoint.read_bytes()).hexdigest()[:8]
    weights = torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"]
    config = whole("one_frame")
    model = MODELS.build(config["model"])
    model.load_state_dict(weights)
    dataset = config["val_dataloader"]["dataset"]
    dataset.update(data_root=f"{REPO / data}/", ann_file="bevdepth_plus_infos_train.pkl")
    lifted = work_dir / f"lifted-{name}"
    keep_lifted(model, dataset, lifted)
    checkpoints = {}
    for variant in WHOLE:
        path = work_dir / f"start-{variant}-{name}.pth"
        torch.manual_seed(0)
        fresh = MODELS.build(whole(variant)["model"]).state_dict()
        torch.save(dict(state_dict=widened(weights, fresh), meta={}), path)
        checkpoints[variant] = os.path.relpath(path, REPO)
    return Start(os.path.relpath(lifted, REPO), checkpoints)


def widened(weights: Mapping[str, Tensor], fresh: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights in a model with more input channels, behind those it had; the new ones are zero.

    What the fusion has learnt to do itself keeps its fresh weights.

    Raises:
        DataError: a weight is missing or too large.
    """
    wide = {}
    for name, place in fresh.items():
        if name.startswith("temporal_fusion."):
            wide[name] = place
            continue
        old = weights.get(name)
        if old is None or any(o > n for o, n in zip(old.shape, place.shape, strict=True)):
            raise DataError(f"the first training's {name} does not fit; its config is another")
        wide[name] = torch.zeros_like(place)
        wide[name][tuple(slice(0, side) for side in old.shape)] = old
    return wide


def bev_part(name: str, start: Start) -> Variant:
    """A variant of which the BEV part alone is trained, on what was kept."""
    pipeline = [dict(type="LoadLifted", folder=start.lifted), dict(type="PackBEVInputs")]
    alone = dict(
        custom_imports=dict(imports=["bevdepth_plus.plugin", "lifted"]),
        model=dict(
            type="FromLifted",
            data_preprocessor=dict(type="LiftedPreprocessor"),
            init_cfg=dict(type="Pretrained", checkpoint=start.checkpoints[name]),
            # Velocity counts as much as the other numbers of a box; BEVDepth has 0.5.
            bbox_head=dict(train_cfg=dict(code_weights=[1.0] * 10)),
        ),
        train_dataloader=dict(dataset=dict(pipeline=pipeline)),
        optim_wrapper=dict(optimizer=dict(lr=1e-3)),
    )
    variant = WHOLE[name]
    return Variant(name, variant.config, merged(variant.overrides, alone))


def tests(data: str) -> list[TestSet]:
    """The validation scenes; from their images, with the whole detector."""
    val = TestSet.of_root("val", data)
    whole = dict(type="BEVDepth", data_preprocessor=dict(type="MultiViewPreprocessor"))
    return [TestSet(val.name, {**val.overrides, "model": whole})]


def table(results: Mapping[str, Any]) -> str:
    """A row each metric, a column each variant, with its change from one frame."""
    scores = {name: results["summary"].get(name, {}).get("val", {}) for name in LABELS}
    rows = []
    for metric in METRICS:
        one = scores["one_frame"].get(metric)
        row = [f"{metric}, m/s" if metric in ERRORS else metric]
        for name in LABELS:
            found = scores[name].get(metric)
            compared = found and one and name not in ("image_part", "one_frame")
            change = f", {100 * (found['mean'] / one['mean'] - 1):+.0f} %" if compared else ""
            row.append(spread(found) + change)
        rows.append(row)
    return markdown(["", *LABELS.values()], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_arguments(parser, NAME, seeds=(0, 1), data=DATA)
    parser.add_argument(
        "--image-steps", type=int, default=2500, help="of the first training (default: %(default)s)"
    )
    args = parser.parse_args()
    init_default_scope("mmdet3d")
    make_synthetic(args.data, *SCENES)
    first = {**vars(args), "seeds": [IMAGE_SEED], "steps": args.image_steps, "only": None}
    results, status = run_benchmark(
        NAME, [IMAGE_PART], tests(args.data), argparse.Namespace(**first)
    )
    if not status:
        work_dir = args.work_dir.resolve()
        entry = results["runs"][IMAGE_PART.name][str(IMAGE_SEED)]
        folder = run_folder(work_dir, IMAGE_PART.name, IMAGE_SEED, entry["hash"])
        note = folder / "last_checkpoint"
        if not note.is_file():
            raise DataError(f"{folder} is gone: delete {args.out} to train it again")
        start = prepare(Path(note.read_text().strip()), args.data, work_dir)
        variants = [bev_part(name, start) for name in WHOLE]
        results, status = run_benchmark(NAME, variants, tests(args.data), args)
    publish(table(results), args.out)
    sys.exit(status)


if __name__ == "__main__":
    run_tool(main)
