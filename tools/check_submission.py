#!/usr/bin/env python
"""Check a nuScenes detection result file as the evaluation server would.

Prints one line a problem and exits with 1 if there is any; exits with 2 if the split is not there.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from bevdepth_plus.errors import DataError
from bevdepth_plus.evaluation.submission import (
    check_submission,
    read_submission,
    tokens_of_infos,
    tokens_of_split,
)


def main() -> int:
    args = parse_args()
    try:
        tokens = expected_tokens(args)
        submission = read_submission(args.file)
    except (DataError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    except ValueError as error:
        print(f"{args.file}: {error}")
        return 1
    problems = check_submission(submission, tokens)
    for problem in problems:
        print(problem)
    if problems:
        print(f"{args.file}: {len(problems)} problems")
        return 1
    boxes = sum(len(found) for found in submission["results"].values())
    print(f"{args.file}: valid, {len(tokens)} samples, {boxes} boxes")
    return 0


def expected_tokens(args: argparse.Namespace) -> list[str]:
    if args.infos is not None:
        return tokens_of_infos(args.infos)
    return tokens_of_split(args.dataroot, args.version, args.split)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path, help="result file, JSON, also zipped")
    parser.add_argument("--infos", type=Path, help="info file (.pkl) of the split")
    parser.add_argument("--dataroot", type=Path, help="root of the data set, instead of --infos")
    parser.add_argument("--version", help="v1.0-trainval, v1.0-test or v1.0-mini")
    parser.add_argument("--split", help="val, test or mini_val")
    args = parser.parse_args()
    tables = (args.dataroot, args.version, args.split)
    if any(tables) if args.infos else not all(tables):
        parser.error("give either --infos, or --dataroot with --version and --split")
    return args


if __name__ == "__main__":
    sys.exit(main())
