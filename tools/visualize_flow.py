#!/usr/bin/env python
"""Draw pairs of frames: correspondences by optical flow, kept and left out, and why.

The flow's options are those of LoadOpticalFlow in the config's training pipeline, or its defaults.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from mmengine.config import Config
from mmengine.dataset import BaseDataset
from tqdm import tqdm

from bevdepth_plus.datasets.pipeline import steps
from bevdepth_plus.datasets.transforms import (
    ImageAugmentation,
    LoadMultiViewImages,
    LoadOpticalFlow,
)
from bevdepth_plus.engine.launch import load_config, run_tool
from bevdepth_plus.errors import DataError
from bevdepth_plus.visualization.correspondence_page import draw_correspondences, matched_frames
from bevdepth_plus.visualization.from_config import add_arguments, build_dataset, choose_samples


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", help="config file")
    parser.add_argument("--cameras", nargs="+", metavar="NAME", help="which (default: all)")
    add_arguments(parser)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    cfg = load_config(args.config, None, args.cfg_options)
    _innermost(cfg, args.split)["num_frames"] = 2
    dataset = build_dataset(cfg, args.split)
    flow = flow_transform(cfg)
    for index in tqdm(choose_samples(dataset, args.samples), desc="drawing", unit="sample"):
        draw(dataset, index, flow, args.cameras, args.out)
    print(f"pictures in {args.out}")


def flow_transform(cfg: Config) -> LoadOpticalFlow:
    """The training pipeline's, or one with the defaults."""
    for step in steps(_innermost(cfg, "train").get("pipeline", [])):
        if step["type"] == "LoadOpticalFlow":
            return LoadOpticalFlow(**{key: step[key] for key in step if key != "type"})
    return LoadOpticalFlow(stride=cfg.model.image_encoder.get("stride", 16))


def draw(
    dataset: BaseDataset,
    index: int,
    flow: LoadOpticalFlow,
    wanted: Sequence[str] | None,
    out: Path,
) -> None:
    results = dataset.get_data_info(index)
    for step in dataset.pipeline.transforms:
        if isinstance(step, LoadMultiViewImages | ImageAugmentation):
            results = step(results)
    cameras = matched_frames(flow(results))
    names = [camera.name for camera in cameras]
    for name in wanted or ():
        if name not in names:
            raise DataError(f"--cameras: there is no {name}; choose from {', '.join(names)}")
    shown = [camera for camera in cameras if wanted is None or camera.name in wanted]
    draw_correspondences(shown).save(out / f"{results['token']}_flow.png")


def _innermost(cfg: Config, split: str) -> dict:
    """The data set's config within class-balancing and repeating wrappers."""
    dataset = cfg[f"{split}_dataloader"]["dataset"]
    while "dataset" in dataset:
        dataset = dataset["dataset"]
    return dataset


if __name__ == "__main__":
    run_tool(main)
