#!/usr/bin/env python
"""Convert a checkpoint of the public BEVDepth code; writes DST and a config beside it (DST.py)."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from bevdepth_plus.engine.launch import run_tool
from bevdepth_plus.errors import DataError
from bevdepth_plus.files import atomic_write
from bevdepth_plus.official.models import OFFICIAL_MODELS
from bevdepth_plus.official.weights import load_official, read_official

BASE_CONFIG = Path(__file__).resolve().parents[1] / "configs" / "bevdepth_r50_256x704_24e.py"


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("src", type=Path, help="the public code's checkpoint")
    parser.add_argument("dst", type=Path, help="where ours goes, NAME.pth")
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--model",
        metavar="NAME",
        choices=OFFICIAL_MODELS,
        help=f"experiment it comes from (default: SRC's name): {', '.join(OFFICIAL_MODELS)}",
    )
    which.add_argument(
        "--confs", type=Path, help="JSON with the backbone_conf and head_conf it was trained with"
    )
    args = parser.parse_args()
    if args.dst.suffix == ".py":
        parser.error("DST is the checkpoint; the config beside it gets the suffix .py")
    return args


def main() -> None:
    args = parse_args()
    weights = read_official(args.src)
    confs = read_confs(args.confs) if args.confs else preset(args.model or args.src.stem)

    import torch
    from mmdet3d.registry import MODELS
    from mmdet3d.utils import register_all_modules

    import bevdepth_plus.models  # noqa: F401
    from bevdepth_plus.official.config import convert_confs, run_config

    register_all_modules()
    try:
        config = convert_confs(*confs)
        model = MODELS.build(config)
        load_official(model, weights)
    except (ValueError, TypeError, KeyError) as error:  # the latter two: settings of a module
        raise DataError(f"{args.src}: {' '.join(str(error).split())}") from None
    meta = dict(converted_from=args.src.name)
    with atomic_write(args.dst) as file:
        torch.save(dict(state_dict=model.state_dict(), meta=meta), file)
    config_path = args.dst.with_suffix(".py")
    with atomic_write(config_path, "w") as file:
        file.write(run_config(config, BASE_CONFIG).pretty_text)
    count = sum(parameter.numel() for parameter in model.parameters())
    frames = config["temporal"]["num_frames"]
    print(f"{args.dst}: {len(weights)} entries, {count:,} parameters, {frames} frames")
    print(f"{config_path}: use it with this checkpoint")


def preset(name: str) -> tuple[dict, dict]:
    if name not in OFFICIAL_MODELS:
        raise DataError(
            f"{name} is no experiment of the public code; name it with --model, or give its "
            "settings with --confs"
        )
    return OFFICIAL_MODELS[name]()


def read_confs(path: Path) -> tuple[dict, dict]:
    try:
        content = json.loads(path.read_text())
        return content["backbone_conf"], content["head_conf"]
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None
    except json.JSONDecodeError as error:
        raise DataError(f"{path} is not JSON: {error}") from None
    except (KeyError, TypeError):
        raise DataError(f"{path} must hold {{'backbone_conf': ..., 'head_conf': ...}}") from None


if __name__ == "__main__":
    run_tool(main)
