#!/usr/bin/env python
"""Draw depth from motion: points, where they are looked for and found, sparse and dense depth."""

from __future__ import annotations

import bevdepth_plus.threads  # noqa: F401  # before torch

# isort: split
import argparse

import torch
from torch.utils.data import default_collate
from tqdm import tqdm

from bevdepth_plus.engine.launch import load_config, run_tool
from bevdepth_plus.errors import DataError
from bevdepth_plus.geometry.rigid import invert_rigid
from bevdepth_plus.triangulation.points import Views
from bevdepth_plus.visualization.from_config import (
    add_arguments,
    build_dataset,
    build_model,
    choose_samples,
)
from bevdepth_plus.visualization.motion_page import draw_motion, motion_picture


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", help="config file of depth from motion, such as configs/deltas_*")
    parser.add_argument("checkpoint", help="checkpoint file")
    add_arguments(parser)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    cfg = load_config(args.config, None, args.cfg_options)
    if cfg.model.type != "DepthFromMotion":
        raise DataError(
            f"{args.config} trains {cfg.model.type}, not depth from motion; for a detector there "
            "is tools/visualize.py"
        )
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = build_model(cfg, args.checkpoint, device)
    dataset = build_dataset(cfg, args.split)
    for index in tqdm(choose_samples(dataset, args.samples), desc="drawing", unit="sample"):
        sample = dataset[index]
        batch = model.data_preprocessor(default_collate([sample]))
        views = Views(batch["images"], batch["intrinsics"], invert_rigid(batch["anchor_T_source"]))
        with torch.no_grad():
            found = model.network(views)
        picture = motion_picture(sample, views, found, model.network)
        name = sample["token"].replace("/", "_")
        draw_motion(picture).save(args.out / f"{name}_motion.png")
    print(f"pictures in {args.out}")


if __name__ == "__main__":
    run_tool(main)
