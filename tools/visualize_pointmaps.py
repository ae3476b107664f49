#!/usr/bin/env python
"""Draw what a two-view network says of pairs: depth of view 1 beside the true one."""

from __future__ import annotations

import bevdepth_plus.threads  # noqa: F401  # before torch

# isort: split
import argparse

import torch
from torch.utils.data import default_collate
from tqdm import tqdm

from bevdepth_plus.engine.launch import load_config, run_tool
from bevdepth_plus.errors import DataError
from bevdepth_plus.visualization.from_config import (
    add_arguments,
    build_dataset,
    build_model,
    choose_samples,
)
from bevdepth_plus.visualization.pointmap_page import draw_pointmap


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", help="config file of a two-view network, as pointmap_small.py")
    parser.add_argument("checkpoint", help="checkpoint file")
    add_arguments(parser)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    cfg = load_config(args.config, None, args.cfg_options)
    if cfg.model.type != "PointmapTraining":
        raise DataError(
            f"{args.config} trains {cfg.model.type}, not pointmaps; for a detector there is "
            "tools/visualize.py, for depth from motion tools/visualize_motion.py"
        )
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = build_model(cfg, args.checkpoint, device)
    dataset = build_dataset(cfg, args.split)
    for index in tqdm(choose_samples(dataset, args.samples), desc="drawing", unit="sample"):
        sample = dataset[index]
        batch = model.data_preprocessor(default_collate([sample]))
        with torch.no_grad():
            first, _ = model(**batch)
        page = draw_pointmap(
            sample["images"].numpy()[:, ::-1].transpose(0, 2, 3, 1),
            first.points[0, ..., 2].float().cpu().numpy(),
            sample["depth"].numpy(),
        )
        page.save(args.out / f"{sample['token'].replace('/', '_')}_pointmap.png")
    print(f"pictures in {args.out}")


if __name__ == "__main__":
    run_tool(main)
