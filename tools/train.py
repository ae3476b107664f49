#!/usr/bin/env python
"""Train what a config describes: ``tools/train.py CONFIG``; GPUs: ``tools/dist_train.sh``."""

from __future__ import annotations

import bevdepth_plus.threads  # noqa: F401  # before torch

# isort: split
import argparse
import os

import torch
from mmengine.config import Config, DictAction

from bevdepth_plus.engine.launch import load_config, load_weights_from, resume_from_last, run_tool
from bevdepth_plus.engine.runner import SurvivingRunner
from bevdepth_plus.errors import DataError
from bevdepth_plus.writable import require_writable


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", help="config file")
    parser.add_argument("--work-dir", help="where logs and checkpoints go")
    parser.add_argument("--amp", action="store_true", help="mixed precision (bfloat16 on a CPU)")
    parser.add_argument(
        "--auto-scale-lr", action="store_true", help="learning rate from the total batch size"
    )
    parser.add_argument(
        "--resume",
        nargs="?",
        const="auto",
        help="go on from a checkpoint, or from the last one in the work dir",
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
    cfg = load_config(args.config, args.work_dir, args.cfg_options, args.launcher, split="val")
    require_writable(cfg.work_dir, "--work-dir")
    if args.amp:
        enable_amp(cfg)
    if args.auto_scale_lr:
        cfg.auto_scale_lr.enable = True
    if args.resume == "auto":
        resume_from_last(cfg)
    elif args.resume:
        load_weights_from(cfg, args.resume)
        cfg.resume = True
    SurvivingRunner.from_cfg(cfg).train()


def enable_amp(cfg: Config) -> None:
    if cfg.optim_wrapper.type not in ("OptimWrapper", "AmpOptimWrapper", "AutocastOptimWrapper"):
        raise DataError(
            f"--amp does not know optim_wrapper {cfg.optim_wrapper.type!r}; leave it out"
        )
    if torch.cuda.is_available():
        cfg.optim_wrapper.update(type="AmpOptimWrapper", loss_scale="dynamic")
    else:
        cfg.optim_wrapper.type = "AutocastOptimWrapper"


if __name__ == "__main__":
    run_tool(main)
