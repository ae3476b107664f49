#!/usr/bin/env python
"""Measure how far predicted boxes are from the truth, by class and range.

    tools/measure_positions.py results.json data/nuscenes/bevdepth_plus_infos_val.pkl errors.json

The table gives recordings and the ROS node their position covariance (docs/recordings.md). Exits
with 2 if a file cannot be read.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from bevdepth_plus.datasets.info_file import read_info_file
from bevdepth_plus.errors import DataError
from bevdepth_plus.evaluation.measure_positions import measure_positions
from bevdepth_plus.evaluation.position_errors import CovarianceTable
from bevdepth_plus.evaluation.rules import scoring_rules
from bevdepth_plus.evaluation.submission import read_submission


def main() -> int:
    args = parse_args()
    try:
        table = measure(args)
        table.save(args.out)
    except (DataError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    print_table(table)
    print(f"written to {args.out}")
    return 0


def measure(args: argparse.Namespace) -> CovarianceTable:
    content = read_info_file(args.infos)
    names = {label: name for name, label in content["metainfo"]["categories"].items()}
    classes = [names[label] for label in sorted(names) if label >= 0]
    infos = content["data_list"]
    rules = scoring_rules(classes, default_range=args.default_range)
    return measure_positions(
        predictions_of(args.results, [info["token"] for info in infos]),
        infos,
        rules,
        classes=classes,
        label_names=names,
        min_score=args.min_score,
        min_count=args.min_count,
    )


def predictions_of(path: Path, tokens: list[str]) -> dict[str, Any]:
    """The results of the samples that the infos have.

    Raises:
        DataError: the file is no result file, or has other samples.
    """
    try:
        results = read_submission(path)["results"]
        found = {token: results[token] for token in tokens if token in results}
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path} is no nuScenes result file ({type(error).__name__}: {error})"
        ) from None
    if not found:
        raise DataError(
            f"{path} has results of none of the {len(tokens)} samples of the info file; give the "
            "info file of the same split"
        )
    return found


def print_table(table: CovarianceTable) -> None:
    print(f"{'class':<22}{'range':>10}{'boxes':>8}{'along':>9}{'across':>9}{'height':>9}{'yaw':>9}")
    for name, rows in table.errors.items():
        for row in rows:
            span = f"{row.near:.0f}-{row.far:.0f} m"
            metres = "".join(f"{v:>7.2f} m" for v in (row.along, row.across, row.height))
            print(f"{name:<22}{span:>10}{row.count:>8}{metres}{row.yaw:>5.2f} rad")


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path, help="nuScenes result file, JSON, also zipped")
    parser.add_argument("infos", type=Path, help="info file (.pkl) with the ground truth")
    parser.add_argument("out", type=Path, help="the table, JSON")
    parser.add_argument(
        "--min-score", type=float, default=0.0, help="the vehicle's threshold (default: 0)"
    )
    parser.add_argument(
        "--min-count", type=int, default=30, help="matches a range needs (default: 30)"
    )
    parser.add_argument(
        "--default-range", type=float, help="metres, of classes that nuScenes does not have"
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
