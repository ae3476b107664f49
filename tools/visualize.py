#!/usr/bin/env python
"""Draw samples: all cameras with projected boxes, and the scene from above.

Without a checkpoint only the ground truth is drawn. Nothing is opened on a screen.
"""

from __future__ import annotations

import bevdepth_plus.threads  # noqa: F401  # before torch

# isort: split
import argparse
import re
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from torch import nn
from tqdm import tqdm

from bevdepth_plus.engine.launch import load_config, run_tool
from bevdepth_plus.geometry.bev_grid import BEVGrid
from bevdepth_plus.visualization.depth_page import draw_depth
from bevdepth_plus.visualization.from_config import (
    add_arguments,
    build_dataset,
    build_model,
    choose_samples,
    depth_maps,
    map_layers,
    predict,
    scene_and_ground_truth,
)
from bevdepth_plus.visualization.sample_page import draw_sample
from bevdepth_plus.writable import require_writable

MARGIN = 2.8  # metres shown around the BEV grid


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", help="config file")
    parser.add_argument("checkpoint", nargs="?", help="checkpoint file; none: ground truth alone")
    parser.add_argument(
        "--score-thr", type=float, default=0.3, help="leave out predictions below (default: 0.3)"
    )
    parser.add_argument(
        "--ground-truth-only", action="store_true", help="do not run the model, even if given"
    )
    parser.add_argument(
        "--depth",
        action="store_true",
        help="also draw the depth of the LiDAR and the one by which the model lifts features",
    )
    parser.add_argument(
        "--all-depths", action="store_true", help="as --depth, with every depth the model has"
    )
    add_arguments(parser)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    cfg = load_config(args.config, None, args.cfg_options)
    require_writable(args.out, "--out")
    dataset = build_dataset(cfg, args.split)
    model = prepare_model(cfg, args)
    title = Path(args.config).stem
    grid = BEVGrid(**cfg.model.grid)
    for index in tqdm(choose_samples(dataset, args.samples), desc="drawing", unit="sample"):
        draw(dataset, index, model, args, title, grid)
    print(f"pictures in {args.out}")


def prepare_model(cfg: Config, args: argparse.Namespace) -> nn.Module | None:
    if args.checkpoint is None or args.ground_truth_only:
        return None
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return build_model(cfg, args.checkpoint, device)


def draw(
    dataset: BaseDataset,
    index: int,
    model: nn.Module | None,
    args: argparse.Namespace,
    title: str,
    grid: BEVGrid,
) -> None:
    scene, ground_truth = scene_and_ground_truth(dataset, index, title)
    # Somebody's tokens may hold slashes.
    name = re.sub(r"[^\w.+-]", "_", dataset.get_data_info(index)["token"])
    predictions, layers, depth = None, None, {}
    if model is not None:
        predictions, sample, network_size = predict(model, dataset, index)
        layers = map_layers(sample, grid)
        depth = {
            "pred_depths": depth_maps(sample, every=args.all_depths),
            "image_aug": np.asarray(sample.image_aug)[0],
            "network_size": network_size,
        }
    classes = dataset.metainfo["classes"]
    page = draw_sample(
        scene,
        ground_truth,
        predictions,
        score_threshold=args.score_thr,
        classes=classes,
        far=grid.reach + MARGIN,
        layers=layers,
    )
    page.save(args.out / f"{name}.png")
    if args.depth or args.all_depths:
        draw_depth(scene, **depth).save(args.out / f"{name}_depth.png")


if __name__ == "__main__":
    run_tool(main)
