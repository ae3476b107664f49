#!/usr/bin/env python
"""Will this data train? Looks at an info file and everything it names, and at a config if given.

Prints a short text and writes a JSON report. Exits with 0 if no problem was found, 1 if there are
problems, 2 if the file or the config cannot be used at all. An interrupted run goes on where it
stopped.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from bevdepth_plus.checks.data import check_data
from bevdepth_plus.checks.findings import Findings
from bevdepth_plus.checks.report import report_text
from bevdepth_plus.errors import DataError
from bevdepth_plus.files import write_json
from bevdepth_plus.writable import require_writable


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("infos", type=Path, help="info file (.pkl)")
    parser.add_argument("--config", help="config file that shall train on it")
    parser.add_argument(
        "--images",
        default="samples/{camera}",
        help="image folders beside the info file; with --config, the config says where",
    )
    parser.add_argument(
        "--points", default="samples/LIDAR_TOP", help="LiDAR folder beside the info file"
    )
    parser.add_argument(
        "--every", type=int, default=1, help="read the files of every so many samples (default: 1)"
    )
    parser.add_argument(
        "--out", type=Path, help="JSON report (default: INFOS_check.json in this folder)"
    )
    return parser.parse_args()


def main() -> int:
    args = parse_args()
    out = args.out or Path(f"{args.infos.stem}_check.json")
    try:
        require_writable(out.parent, "--out")
        findings = run(args, out)
    except DataError as error:
        print(f"check_data.py: {error}", file=sys.stderr)
        return 2
    write_json(out, vars(findings), indent=2)
    print(report_text(findings))
    print(f"report: {out}")
    return 1 if findings.problems else 0


def run(args: argparse.Namespace, out: Path) -> Findings:
    options = dict(every=args.every, kept=out.with_name(f".{out.name}.part"))
    if args.config is None:
        return check_data(args.infos, folders_beside(args), **options)
    from bevdepth_plus.checks.config import check_config, dataset_of, drops_not_finite, grid_of

    cfg, findings = check_config(args.config)
    dataset = dataset_of(cfg, args.infos)
    options.update(grid=grid_of(cfg), drop_not_finite=drops_not_finite(cfg))
    findings.add(check_data(args.infos, dataset.folder, **options))
    return findings


def folders_beside(args: argparse.Namespace) -> Callable[[str], str]:
    root = args.infos.parent

    def folder(channel: str) -> str:
        below = args.points if channel == "pts" else args.images.format(camera=channel)
        return str(root / below)

    return folder


if __name__ == "__main__":
    sys.exit(main())
