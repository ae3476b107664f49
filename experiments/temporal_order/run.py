"""Does order over time teach depth? python -m experiments.temporal_order.run [--steps N]

Depth from two frames, with LiDAR in all training scenes, in one of ten, and in none (there boxes
and these losses are all there is). Each with and without a loss that needs no LiDAR. Depth and its
steadiness are scored on other scenes with the LiDAR's points; where boxes are trained, they too.
The data are rendered where they are missing.
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
from experiments.runner.variants import REPO, TestSet, Variant, combined
from experiments.temporal_order.lidar_share import write_sparse_infos

NAME = "temporal_order"
CONFIG = "configs/synthetic_small_2key.py"
DATA = "data/synthetic_video"
SCENES = ("--train-scenes", "80", "--val-scenes", "10", "--keyframes", "8")
SCENES += ("--image-size", "384", "216", "--depth")
ONE_OF = 10  # scenes, with LiDAR
SPARSE_INFOS = f"bevdepth_plus_infos_train_lidar_1_of_{ONE_OF}.pkl"
IMAGE, STRIDE = (96, 256), 8

METRICS = {
    "mAP": "mAP",
    "NDS": "NDS",
    "abs_rel": "depth/bin/abs_rel",
    "d1": "depth/bin/d1",
    "order agreement": "depth_over_time/bin/order_agreement",
    "flicker, share of depth": "depth_over_time/bin/flicker_rel",
}


def matched(loss: dict, weight: float, source: str = "rigid") -> dict:
    """A loss between the frames, at matched pixels."""
    loss = {**loss, "loss_weight": weight}
    if loss["type"] != "TemporalOrderLoss":
        loss = dict(type="MatchedDepthLoss", loss=loss)
    return dict(type="MatchedDepthOverTime", loss=loss, source=source)


ORDER = dict(type="TemporalOrderLoss", num_pairs=2000)
ORDINAL = dict(type="OrdinalDepthLoss", alpha=0.3, num_pairs=2000)
# Small beside the bins' loss: with ten times as much, order ruined the depth (see the README).
LOSSES: dict[str, tuple[str, dict | None, dict]] = {
    "none": ("none", None, {}),
    "order": ("order, matched by depth and poses", matched(ORDER, 2.0), {}),
    "order_flow": (
        "order, matched by optical flow",
        matched(ORDER, 2.0, "flow"),
        dict(load_flow=dict(type="LoadOpticalFlow", stride=STRIDE)),
    ),
    "pearson": ("Pearson", matched(dict(type="PearsonDepthLoss"), 0.3), {}),
    "photometric": (
        "photometric",
        dict(type="PhotometricOverTime", loss=dict(type="PhotometricLoss", loss_weight=3.0)),
        {},
    ),
    "teacher": (
        "ordinal, against a teacher's order",
        dict(type="TeacherDepth", loss={**ORDINAL, "loss_weight": 3.0}),
        dict(load_teacher=dict(type="StandInTeacher")),
    ),
}
# Setting -> what it is called, and the losses tried in it.
SETTINGS = {
    "all": ("LiDAR in all scenes, depth alone", ("none", "order")),
    "tenth": (f"LiDAR in one scene of {ONE_OF}, depth alone", tuple(LOSSES)),
    "tenth_boxes": (f"LiDAR in one scene of {ONE_OF}, whole detector", ("none", "order")),
    "boxes": ("no LiDAR, whole detector", ("none", "order", "photometric", "teacher")),
}


def small(depth_alone: bool) -> dict:
    """A model that trains in minutes on one CPU core."""
    size = dict(augment_images=dict(final_dim=IMAGE))
    past_depth = dict(past_depth=dict(type="PastLidarDepthMaps"))
    test = dict(dataset=dict(pipeline={**size, **past_depth}))
    cells = (-51.2, 51.2, 1.6)
    model = dict(
        image_size=IMAGE,
        grid=dict(x=cells, y=cells),
        image_encoder=dict(
            backbone=dict(base_channels=16), neck=dict(out_channels=[16] * 4), stride=STRIDE
        ),
        depth=dict(depth_net=dict(mid_channels=32, context_channels=32)),
        temporal=dict(encoder=dict(backbone=dict(base_channels=24))),
    )
    if depth_alone:
        model["type"] = "DepthAlone"
    modules = ["bevdepth_plus.plugin"]
    modules += [f"experiments.{NAME}.{module}" for module in ("depth_alone", "lidar_share")]
    return dict(
        custom_imports=dict(imports=modules),
        model=model,
        train_dataloader=dict(dataset=dict(pipeline=size)),
        val_dataloader=test,
        test_dataloader=test,
    )


def lidar(setting: str) -> dict:
    """What a setting lets the LiDAR teach."""
    if setting == "boxes":
        steps = dict(load_points=None, depth_labels=None)
        return dict(
            model=dict(depth=dict(loss=None)), train_dataloader=dict(dataset=dict(pipeline=steps))
        )
    if setting == "all":
        return {}
    dataset = dict(ann_file=SPARSE_INFOS, pipeline=dict(load_points=dict(missing_ok=True)))
    sampler = dict(_delete_=True, type="EveryOtherWithLidar")
    return dict(train_dataloader=dict(dataset=dataset, sampler=sampler))


def variant(setting: str, loss: str) -> Variant:
    _, config, steps = LOSSES[loss]
    taught = dict(
        model=dict(depth=dict(map_losses={loss: config} if config else None)),
        train_dataloader=dict(dataset=dict(pipeline=steps)),
    )
    depth_alone = setting in ("all", "tenth")
    return Variant(
        f"{setting}-{loss}", CONFIG, combined(small(depth_alone), lidar(setting), taught)
    )


VARIANTS = [variant(setting, loss) for setting, (_, losses) in SETTINGS.items() for loss in losses]


def report(results: Mapping[str, Any]) -> str:
    """A table for each setting."""
    return "\n\n".join(
        f"{title}\n\n{table(results, name)}" for name, (title, _) in SETTINGS.items()
    )


def table(results: Mapping[str, Any], setting: str) -> str:
    """A row for each loss."""
    rows = []
    names = [name for name in METRICS if "boxes" in setting or name not in ("mAP", "NDS")]
    for loss in SETTINGS[setting][1]:
        metrics = results["summary"].get(f"{setting}-{loss}", {}).get("val", {})
        rows.append([LOSSES[loss][0], *(spread(metrics.get(METRICS[name])) for name in names)])
    return markdown(["loss beside LiDAR and boxes", *names], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_arguments(parser, NAME, seeds=(0, 1), data=DATA)
    parser.set_defaults(steps=1000)
    args = parser.parse_args()
    if args.report:
        results, status = read_results(args.out), 0
    else:
        make_synthetic(args.data, *SCENES)
        write_sparse_infos(REPO / args.data, ONE_OF)
        results, status = run_experiment(NAME, VARIANTS, [TestSet.of_root("val", args.data)], args)
    publish(report(results), args.out)
    sys.exit(status)


if __name__ == "__main__":
    run_tool(main)
