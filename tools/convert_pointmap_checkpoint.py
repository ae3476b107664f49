#!/usr/bin/env python
"""Convert a DUSt3R or MASt3R checkpoint of the public code; writes DST (.safetensors or .pth).

Rights: the public code and its checkpoints are licensed CC BY-NC-SA 4.0 (no commercial use), and
the checkpoints also under the terms of every training set of theirs. This project neither ships nor
needs them. Converting changes nothing about the licence: whoever uses them is responsible.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from bevdepth_plus.engine.launch import run_tool
from bevdepth_plus.errors import DataError


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("src", type=Path, help="the public checkpoint, .pth or .safetensors")
    parser.add_argument("dst", type=Path, help="where ours goes, NAME.safetensors or NAME.pth")
    parser.add_argument(
        "--settings",
        metavar="CALL",
        help='the constructor call it was trained with, "AsymmetricMASt3R(enc_depth=24, ...)"; '
        "default: the one inside SRC. Read as text, never run",
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()

    from bevdepth_plus.pointmaps.checkpoints import (
        config_from_arguments,
        load_official,
        parse_arguments,
        read_official,
        save_model,
    )
    from bevdepth_plus.pointmaps.two_view import TwoViewModel

    if args.dst.suffix not in (".safetensors", ".pth"):
        raise DataError(f"{args.dst} must end in .safetensors or .pth")
    weights, inside = read_official(args.src)
    call = args.settings or inside
    if call is None:
        raise DataError(
            f"{args.src} does not hold the call it was built with; give it with --settings "
            '"AsymmetricMASt3R(head_type=..., output_mode=..., ...)"'
        )
    try:
        model = TwoViewModel(config_from_arguments(parse_arguments(call)))
        load_official(model, weights)
    except (ValueError, TypeError) as error:  # the latter: a size that is no number
        raise DataError(f"{args.src}: {' '.join(str(error).split())}") from None
    save_model(model, args.dst)
    count = sum(parameter.numel() for parameter in model.parameters())
    print(f"{args.dst}: {count:,} parameters from {len(weights)} entries")


if __name__ == "__main__":
    run_tool(main)
