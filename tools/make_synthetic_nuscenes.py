#!/usr/bin/env python
"""Writes synthetic driving scenes as a nuScenes data set (see docs/synthetic.md)."""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bevdepth_plus.errors import DataError
from bevdepth_plus.synthetic.generate import Settings, make_dataset, scene_names
from bevdepth_plus.synthetic.sweeps import Sweeps


def parse_args() -> argparse.Namespace:
    """Command-line options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("out", type=Path, help="root folder of the data set")
    parser.add_argument("--version", default="v1.0-mini", help="v1.0-mini or v1.0-trainval")
    parser.add_argument("--train-scenes", type=int, default=4)
    parser.add_argument("--val-scenes", type=int, default=2)
    parser.add_argument("--keyframes", type=int, default=20, help="per scene, 0.5 s apart")
    parser.add_argument("--rig", default="nuscenes", help="nuscenes or a rig file")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--image-size",
        type=int,
        nargs=2,
        metavar=("WIDTH", "HEIGHT"),
        help="of every camera (default: 800 450 for the nuScenes rig, each "
        "camera's own size for a rig file)",
    )
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--depth", action="store_true", help="write exact depth pictures too")
    parser.add_argument(
        "--sequence-rate",
        type=float,
        metavar="HZ",
        help="render the cameras' sweeps between the key frames, too, at this rate",
    )
    parser.add_argument(
        "--sweep-cameras",
        nargs="+",
        metavar="CAMERA",
        help="render sweeps of these only (default: of all)",
    )
    return parser.parse_args()


def main() -> int:
    """Runs the command; returns its exit status."""
    args = parse_args()
    size = tuple(args.image_size) if args.image_size else None
    if size is None and args.rig == "nuscenes":
        size = (800, 450)
    started = time.monotonic()
    try:
        if size and not all(16 <= v <= 8192 for v in size):
            raise DataError(f"--image-size: expected 16 to 8192 pixels, got {size[0]} {size[1]}")
        if args.workers < 1:
            raise DataError(f"--workers: expected at least 1, got {args.workers}")
        names = scene_names(args.version, args.train_scenes, args.val_scenes)
        sweeps = None
        if args.sequence_rate is not None:
            sweeps = Sweeps(args.sequence_rate, args.sweep_cameras and tuple(args.sweep_cameras))
        elif args.sweep_cameras:
            raise DataError("--sweep-cameras: also needs --sequence-rate HZ")
        settings = Settings(args.seed, args.keyframes, args.rig, size, args.depth, sweeps)
        rendered = make_dataset(args.out, args.version, names, settings, args.workers)
    except DataError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(
            f"error: {args.out}: cannot write ({error}); run again when that is mended, it goes on",
            file=sys.stderr,
        )
        return 2
    except KeyboardInterrupt:
        print("interrupted: run the same command again to go on", file=sys.stderr)
        return 130
    print(
        f"{args.out}: {len(names)} scenes, {rendered} key frames rendered now in "
        f"{time.monotonic() - started:.0f} s"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
