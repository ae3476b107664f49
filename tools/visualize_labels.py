#!/usr/bin/env python
"""Draw depth labels of tools/make_depth_labels.py: image, label, confidence, and true depth."""

from __future__ import annotations

import bevdepth_plus.threads  # noqa: F401  # before torch

# isort: split
import argparse
from pathlib import Path

import numpy as np
from tqdm import tqdm

from bevdepth_plus.datasets.transforms.dense_depth import depth_picture_path, read_depth
from bevdepth_plus.engine.launch import run_tool
from bevdepth_plus.errors import DataError
from bevdepth_plus.pointmaps.depth_pictures import UNIT
from bevdepth_plus.pointmaps.images import open_mask
from bevdepth_plus.rigs.images import read_image
from bevdepth_plus.visualization.label_page import draw_label


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", type=Path, help="data set in nuScenes format")
    parser.add_argument("--labels", default="pointmap_depth", help="their folder in ROOT")
    parser.add_argument("--masks", type=Path, help="as given to tools/make_depth_labels.py")
    parser.add_argument(
        "--truth", default="depth", help="folder of exact depth in ROOT; drawn where it has any"
    )
    parser.add_argument("--samples", type=int, default=8, help="images, spread evenly")
    parser.add_argument("--out", type=Path, required=True, help="folder of the pictures")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    if args.samples < 1:
        raise DataError(f"--samples must be 1 or more, got {args.samples}")
    labels = sorted((args.root / args.labels).glob("*/*.png"))
    if not labels:
        raise DataError(f"{args.root / args.labels} holds no CAMERA/NAME.png; make labels first")
    count = min(args.samples, len(labels))
    for label in tqdm([labels[i * len(labels) // count] for i in range(count)], unit="image"):
        camera, name = label.parent.name, label.stem
        page = picture(args, image_of(args.root, camera, name))
        page.save(args.out / f"{camera}_{name}_label.png")
    print(f"pictures in {args.out}")


def image_of(root: Path, camera: str, name: str) -> Path:
    """The image that a label belongs to."""
    found = list((root / "samples" / camera).glob(f"{name}.*"))
    if not found:
        raise DataError(f"{root / 'samples' / camera} has no image {name}; is it another ROOT?")
    return found[0]


def picture(args: argparse.Namespace, image: Path):
    def depth(folder: str) -> np.ndarray:
        return read_depth(depth_picture_path(str(image), folder), UNIT)

    pixels, mask = read_image(str(image), image.name, rgb=True), None
    if args.masks is not None:
        place = args.masks / image.parent.name / f"{image.stem}.png"
        size = pixels.shape[1], pixels.shape[0]
        mask = np.array(open_mask(place, image.name, size, upright=False)) > 0
    has_truth = Path(depth_picture_path(str(image), args.truth)).is_file()
    return draw_label(
        pixels,
        depth(args.labels),
        depth(f"{args.labels}_confidence"),
        depth(args.truth) if has_truth else None,
        mask,
    )


if __name__ == "__main__":
    run_tool(main)
