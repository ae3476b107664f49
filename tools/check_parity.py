#!/usr/bin/env python
"""Compare ours with recorded results of a public code: BEVDepth, DELTAS, DUSt3R or MASt3R."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path

TOLERANCE = 1e-4  # of the largest value of each tensor


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="config.json says what it records")
    args = parser.parse_args()

    if kind(args.folder) == "deltas":
        from bevdepth_plus.triangulation.parity import report

        return report(args.folder)
    try:
        found = compare(args.folder)
    except (FileNotFoundError, ValueError) as error:
        print(f"check_parity: {error}", file=sys.stderr)
        return 2
    print(f"{'tensor':24} {'largest error':>14} {'relative':>10}")
    for name, one in found.items():
        print(line(name, one))
    agreeing, compared = summary(found)
    left_out = [name for name, one in found.items() if not one.compared]
    print(f"{agreeing} of {compared} tensors agree within {TOLERANCE:g}")
    if left_out:
        print(f"not compared, the record holds nothing but NaN: {', '.join(left_out)}")
    return 0 if agreeing == compared > 0 else 1


def compare(folder: Path) -> Mapping:
    """Compare with the code that the folder's config.json names."""
    if kind(folder).startswith("pointmap_"):
        from bevdepth_plus.pointmaps.parity import compare_folder

        return compare_folder(folder)

    from mmdet3d.utils import register_all_modules

    from bevdepth_plus.official.parity import compare_folder

    register_all_modules()
    return compare_folder(folder)


def kind(folder: Path) -> str:
    """What a folder's config.json says was recorded; BEVDepth where it says nothing."""
    try:
        return json.loads((folder / "config.json").read_text()).get("kind", "bevdepth")
    except (OSError, json.JSONDecodeError):
        return "bevdepth"  # whose own check names what is missing


def line(name: str, one) -> str:
    if not one.compared:
        return f"{name:24} {'-':>14} {'-':>10}  not compared: recorded as NaN"
    text = f"{name:24} {one.absolute:14.3e} {one.relative:10.1e}"
    if one.compared < one.recorded:
        text += f"  {one.recorded - one.compared} of {one.recorded} entries recorded as NaN"
    return text if agrees(one) else f"{text}  beyond {TOLERANCE:g}"


def summary(found: Mapping) -> tuple[int, int]:
    """How many tensors agree, and how many were compared."""
    compared = [one for one in found.values() if one.compared]
    return sum(agrees(one) for one in compared), len(compared)


def agrees(one) -> bool:
    return one.relative <= TOLERANCE  # False for NaN


if __name__ == "__main__":
    sys.exit(main())
