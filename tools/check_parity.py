"""Compare our model with recorded results of the public BEVDepth code."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

TOLERANCE = 1e-4  # of the largest value of each tensor


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="config.json, official_state_dict.pth, ...")
    args = parser.parse_args()

    from mmdet3d.utils import register_all_modules

    from bevdepth_plus.parity import compare_folder

    register_all_modules()
    try:
        errors = compare_folder(args.folder)
    except (FileNotFoundError, ValueError) as error:
        print(f"check_parity: {error}", file=sys.stderr)
        return 2
    print(f"{'tensor':24} {'largest error':>14} {'relative':>10}")
    for name, (absolute, relative) in errors.items():
        verdict = "" if relative <= TOLERANCE else "  beyond 1e-4"
        print(f"{name:24} {absolute:14.3e} {relative:10.1e}{verdict}")
    failed = [name for name, (_, relative) in errors.items() if not relative <= TOLERANCE]
    print(f"{len(errors) - len(failed)} of {len(errors)} tensors agree within {TOLERANCE:g}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
