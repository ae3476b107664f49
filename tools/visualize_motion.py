#!/usr/bin/env python
"""Draw depth from motion: points, where they are looked for and found, sparse and dense depth."""

from __future__ import annotations

import bevdepth_plus.threads  # noqa: F401  # before torch

# isort: split
import argparse
from pathlib import Path

import torch
from mmengine.config import DictAction
from torch.utils.data import default_collate
from tqdm import tqdm

from bevdepth_plus.engine.launch import load_config, run_tool
from bevdepth_plus.errors import DataError
from bevdepth_plus.geometry.rigid import invert_rigid
from bevdepth_plus.triangulation.network import Views
from bevdepth_plus.visualization.from_config import build_dataset, build_model, choose_samples
from bevdepth_plus.visualization.motion_page import draw_motion, motion_picture


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", help="config file of depth from motion, such as configs/deltas_*")
    parser.add_argument("checkpoint", help="checkpoint file")
    parser.add_argument("--out", type=Path, required=True, help="folder for the pictures")
    parser.add_argument(
        "--samples",
        nargs="+",
        default=["4"],
        metavar="N|TOKEN",
        help="how many, spread evenly over the split, or which anchors' tokens (default: 4)",
    )
    parser.add_argument("--split", choices=["train", "val", "test"], default="val")
    parser.add_argument(
        "--cfg-options", nargs="+", action=DictAction, help="settings to override, key=value"
    )
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
