#!/usr/bin/env python
"""Evaluate a checkpoint: ``tools/test.py CONFIG CHECKPOINT``; writes ``metrics.json``."""

from __future__ import annotations

import bevdepth_plus.threads  # noqa: F401  # before torch

# isort: split
import argparse
import os
from pathlib import Path

from mmengine.config import Config, DictAction
from mmengine.runner import Runner

from bevdepth_plus.datasets.info_file import read_info_file
from bevdepth_plus.engine.launch import load_config, load_weights_from, run_tool
from bevdepth_plus.errors import DataError
from bevdepth_plus.models.flip_average import every_flip
from bevdepth_plus.writable import require_writable


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", help="config file")
    parser.add_argument("checkpoint", help="checkpoint file")
    parser.add_argument("--work-dir", help="where metrics.json and logs go")
    parser.add_argument("--submission", help="also write the leaderboard's result file here")
    parser.add_argument(
        "--tta",
        action="store_true",
        help="average over mirrored images and BEV frames (8 passes instead of 1)",
    )
    parser.add_argument(
        "--cfg-options", nargs="+", action=DictAction, help="settings to override, key=value"
    )
    parser.add_argument("--launcher", choices=["none", "pytorch", "slurm"], default="none")
    parser.add_argument("--local_rank", "--local-rank", type=int, default=0)
    args = parser.parse_args()
    os.environ.setdefault("LOCAL_RANK", str(args.local_rank))
    return args


def main() -> None:
    args = parse_args()
    cfg = load_config(args.config, args.work_dir, args.cfg_options, args.launcher, split="test")
    load_weights_from(cfg, args.checkpoint)
    require_writable(cfg.work_dir, "--work-dir")
    cfg.test_evaluator.out_dir = cfg.work_dir
    if "heads" in cfg.model:
        prepare_detector(cfg, args.submission, args.tta)
    elif args.submission is not None or args.tta:
        raise DataError(
            f"--submission and --tta are for detectors; {args.config} trains {cfg.model.type}: "
            "leave them out"
        )
    Runner.from_cfg(cfg).test()


def prepare_detector(cfg: Config, submission: str | None, tta: bool) -> None:
    """What a detector's evaluation writes, and how often the network looks."""
    if submission is not None:
        require_result_file(submission)
    cfg.test_evaluator.submission = submission
    if not has_ground_truth(cfg.test_evaluator.ann_file):
        only_format(cfg)
    if tta:
        cfg.model.setdefault("test_time_flips", every_flip(cfg.model.grid))


def require_result_file(path: str) -> None:
    if not path.endswith(".json"):
        raise DataError(
            f"--submission {path}: the result file is JSON, give a name like results.json"
        )
    require_writable(Path(path).parent, "--submission")


def has_ground_truth(ann_file: str) -> bool:
    infos = read_info_file(ann_file)["data_list"]
    return any(info.get("instances") for info in infos)


def only_format(cfg: Config) -> None:
    if cfg.test_evaluator.submission is None:
        raise DataError(
            f"{cfg.test_evaluator.ann_file} has no ground truth to score; add --submission "
            "RESULTS.json to write the result file for the leaderboard"
        )
    cfg.test_evaluator.format_only = True


if __name__ == "__main__":
    run_tool(main)
