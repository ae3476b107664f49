#!/usr/bin/env python
"""Makes info files of a nuScenes root or of an Argoverse 2 sensor data set.

``tools/create_data.py ROOT --version v1.0-mini`` or ``... ROOT --format argoverse2``.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from bevdepth_plus.datasets.create_argoverse2_infos import EVERY, create_argoverse2_info_files
from bevdepth_plus.datasets.create_infos import create_info_files
from bevdepth_plus.datasets.nuscenes_infos import LIDAR
from bevdepth_plus.errors import DataError
from bevdepth_plus.writable import require_writable


def main() -> int:
    args = parse_args()
    try:
        paths = make(args)
    except DataError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for path in paths:
        print(path)
    return 0


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Write bevdepth_plus_infos_{train,val,test}.pkl for a nuScenes root, real or "
        "synthetic, or for an Argoverse 2 sensor data set. Interrupted, run it again: it goes on "
        "where it stopped."
    )
    parser.add_argument(
        "root", help="nuscenes: folder with samples/, maps/ and the tables; argoverse2: with train/"
    )
    parser.add_argument(
        "--format", choices=("nuscenes", "argoverse2"), default="nuscenes", help="default: nuscenes"
    )
    parser.add_argument(
        "--version",
        help="nuscenes (required): v1.0-mini, v1.0-trainval, v1.0-test, or one of your own "
        "with splits.json beside its tables",
    )
    parser.add_argument("--out-dir", help="where to write (default: ROOT)")
    parser.add_argument("--lidar-channel", help=f"nuscenes: default {LIDAR}")
    parser.add_argument(
        "--every",
        type=int,
        help=f"argoverse2: sweeps from one key frame to the next (default: {EVERY}, 2 Hz)",
    )
    parser.add_argument(
        "--sweeps", action="store_true", help="with the cameras' images between the key frames"
    )
    args = parser.parse_args()
    if args.format == "nuscenes" and args.version is None:
        parser.error("--version is required for --format nuscenes")
    others = ("every",) if args.format == "nuscenes" else ("version", "lidar_channel")
    for name in others:
        if getattr(args, name) is not None:
            parser.error(f"--{name.replace('_', '-')} does not go with --format {args.format}")
    return args


def make(args: argparse.Namespace) -> list[Path]:
    try:
        if args.format == "argoverse2":
            every = EVERY if args.every is None else args.every
            return create_argoverse2_info_files(
                args.root, args.out_dir, every=every, sweeps=args.sweeps
            )
        return create_info_files(
            args.root,
            args.version,
            args.out_dir,
            lidar_channel=args.lidar_channel or LIDAR,
            sweeps=args.sweeps,
        )
    except OSError:
        require_writable(args.out_dir or args.root, "--out-dir")
        raise


if __name__ == "__main__":
    raise SystemExit(main())
