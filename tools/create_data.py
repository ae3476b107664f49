#!/usr/bin/env python
"""Makes the info files of a nuScenes root: ``tools/create_data.py ROOT --version v1.0-mini``."""

from __future__ import annotations

import argparse
import sys

from bevdepth_plus.datasets.create_infos import SPLITS, create_info_files
from bevdepth_plus.errors import DataError


def main() -> int:
    parser = argparse.ArgumentParser(
        description="Write bevdepth_plus_infos_{train,val,test}.pkl for a nuScenes root, real or "
        "synthetic. Interrupted, run it again: it goes on where it stopped."
    )
    parser.add_argument("root", help="folder with samples/, maps/ and the tables")
    parser.add_argument("--version", required=True, choices=list(SPLITS))
    parser.add_argument("--out-dir", help="where to write (default: ROOT)")
    args = parser.parse_args()
    try:
        paths = create_info_files(args.root, args.version, args.out_dir)
    except DataError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for path in paths:
        print(path)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
