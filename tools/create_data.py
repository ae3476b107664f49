#!/usr/bin/env python
"""Makes the info files of a nuScenes root: ``tools/create_data.py ROOT --version v1.0-mini``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from bevdepth_plus.datasets.create_infos import create_info_files
from bevdepth_plus.datasets.nuscenes_infos import LIDAR
from bevdepth_plus.errors import DataError
from bevdepth_plus.writable import require_writable


def main() -> int:
    parser = argparse.ArgumentParser(
        description="Write bevdepth_plus_infos_{train,val,test}.pkl for a nuScenes root, real or "
        "synthetic. Interrupted, run it again: it goes on where it stopped."
    )
    parser.add_argument("root", help="folder with samples/, maps/ and the tables")
    parser.add_argument(
        "--version",
        required=True,
        help="v1.0-mini, v1.0-trainval, v1.0-test, or one of your own "
        "with splits.json beside its tables",
    )
    parser.add_argument("--out-dir", help="where to write (default: ROOT)")
    parser.add_argument("--lidar-channel", default=LIDAR, help="default: %(default)s")
    parser.add_argument(
        "--sweeps", action="store_true", help="with the cameras' images between the key frames"
    )
    args = parser.parse_args()
    try:
        paths = make(args)
    except DataError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for path in paths:
        print(path)
    return 0


def make(args: argparse.Namespace) -> list[Path]:
    try:
        return create_info_files(
            args.root,
            args.version,
            args.out_dir,
            lidar_channel=args.lidar_channel,
            sweeps=args.sweeps,
        )
    except OSError:
        require_writable(args.out_dir or args.root, "--out-dir")
        raise


if __name__ == "__main__":
    raise SystemExit(main())
