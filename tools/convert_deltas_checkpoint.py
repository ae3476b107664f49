#!/usr/bin/env python
"""Convert an official DELTAS checkpoint into weights of our network with compat="deltas".

RIGHTS: the DELTAS code and its weights are licensed for non-commercial research only, and the
method is claimed in the US patent application 2021/0279904 A1. This project holds none of that code
and ships none of those weights. Whether you may use an official checkpoint is your own
responsibility.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from bevdepth_plus.engine.launch import run_tool
from bevdepth_plus.errors import DataError
from bevdepth_plus.files import atomic_write


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("src", type=Path, help="official checkpoint")
    parser.add_argument("dst", type=Path, help="where ours goes, NAME.pth")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    from bevdepth_plus.triangulation.checkpoints import load_deltas, read_deltas

    official = read_deltas(args.src)

    import torch

    from bevdepth_plus.triangulation.network import deltas_network

    network = deltas_network(compat="deltas")
    try:
        load_deltas(network, official)
    except ValueError as error:
        raise DataError(f"{args.src}: {error}") from None
    meta = dict(converted_from=args.src.name, rights="non-commercial research only (DELTAS)")
    with atomic_write(args.dst) as file:
        torch.save(dict(state_dict=network.state_dict(), meta=meta), file)
    entries = sum(len(weights) for weights in official.values())
    count = sum(parameter.numel() for parameter in network.parameters())
    print(f"{args.dst}: {entries} entries, {count:,} parameters; non-commercial research only")


if __name__ == "__main__":
    run_tool(main)
