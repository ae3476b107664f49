#!/usr/bin/env python
"""Depth labels for training without LiDAR, from images and known poses (two-view pointmaps).

Reads ROOT's info files (tools/create_data.py) and writes ROOT/OUT/CAMERA/NAME.png for each key
frame and camera, which LoadDenseDepth(folder="OUT") reads, and ROOT/OUT_confidence beside it.
Weights: a file of tools/convert_pointmap_checkpoint.py, whose help states the rights.
An interrupted run goes on where it stopped.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import bevdepth_plus.threads  # noqa: F401
from bevdepth_plus.engine.launch import run_tool
from bevdepth_plus.errors import DataError


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("root", type=Path, help="data set in nuScenes format")
    parser.add_argument("--version", required=True, help="folder of its tables, as v1.0-mini")
    parser.add_argument("--weights", type=Path, required=True, help="NAME.safetensors or NAME.pth")
    parser.add_argument("--out", default="pointmap_depth", help="name of a folder in ROOT")
    parser.add_argument("--cameras", nargs="*", metavar="NAME", help="default: all")
    parser.add_argument(
        "--masks",
        type=Path,
        help="folder with CAMERA/NAME.png for each image: 0 is left out, as moving cars",
    )
    parser.add_argument("--window", type=int, default=1, help="key frames before and after")
    parser.add_argument(
        "--neighbours", action="store_true", help="pair overlapping cameras of a moment, too"
    )
    parser.add_argument(
        "--long-side", type=int, default=512, help="of the network's images, pixels"
    )
    parser.add_argument(
        "--scale",
        choices=["motion", "network"],
        default="motion",
        help="where metres come from: the known motion, or a network that was trained in metres",
    )
    parser.add_argument("--min-confidence", type=float, default=1.5, help="below it: unknown")
    parser.add_argument("--min-baseline", type=float, default=0.2, help="metres; below: standing")
    parser.add_argument("--device", default="cpu")
    return parser.parse_args()


def main() -> None:
    args = parse_args()

    from tqdm import tqdm

    from bevdepth_plus.pointmaps.checkpoints import load_model
    from bevdepth_plus.pointmaps.depth_labels import LabelSettings, make_depth_labels
    from bevdepth_plus.pointmaps.depth_pictures import LabelFolder
    from bevdepth_plus.pointmaps.drives import read_drives
    from bevdepth_plus.pointmaps.metric_depth import ScaleRules

    check(args)
    drives = read_drives(args.root, args.version, args.cameras)
    model = load_model(args.weights).to(args.device)
    rules = ScaleRules(args.min_baseline, args.min_confidence, scale=args.scale)
    settings = LabelSettings(rules, args.long_side, args.window, args.neighbours, masks=args.masks)
    folder = LabelFolder(args.root, args.out, settings.to_dict(model))
    count = sum(shot.path is not None for drive in drives for shot in drive.shots)
    with tqdm(total=count, unit="image") as bar:
        tally = make_depth_labels(model, drives, folder, settings, bar.update)
    print(f"{args.root / args.out}: {tally}")


def check(args: argparse.Namespace) -> None:
    import torch

    if args.masks is not None and not args.masks.is_dir():
        raise DataError(f"--masks {args.masks} is no folder")
    if args.window < 1:
        raise DataError(f"--window must be 1 or more, got {args.window}")
    if args.long_side < 16:
        raise DataError(f"--long-side must be 16 or more, got {args.long_side}")
    if not args.min_confidence >= 1:
        raise DataError(
            f"--min-confidence must be 1 or more (a network's are above 1), got "
            f"{args.min_confidence:g}"
        )
    if not args.min_baseline > 0:
        raise DataError(f"--min-baseline must be above 0 m, got {args.min_baseline:g}")
    try:
        kind = torch.device(args.device).type
    except RuntimeError:
        raise DataError(f"--device {args.device!r} is no device; cpu, cuda or cuda:0") from None
    if kind == "cuda" and not torch.cuda.is_available():
        raise DataError(f"--device {args.device}: PyTorch sees no CUDA device; use cpu")


if __name__ == "__main__":
    try:
        run_tool(main)
    except KeyboardInterrupt:
        print("interrupted: run the same command again to go on", file=sys.stderr)
        sys.exit(130)
