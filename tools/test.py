"""Evaluate a checkpoint: ``tools/test.py CONFIG CHECKPOINT``; writes ``metrics.json``."""

from __future__ import annotations

import argparse
import os

from mmengine.config import DictAction
from mmengine.runner import Runner

from bevdepth_plus.engine.launch import load_config, load_weights_from, run_tool


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", help="config file")
    parser.add_argument("checkpoint", help="checkpoint file")
    parser.add_argument("--work-dir", help="where metrics.json and logs go")
    parser.add_argument("--submission", help="also write the leaderboard's result file here")
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
    cfg = load_config(args.config, args.work_dir, args.cfg_options, args.launcher)
    load_weights_from(cfg, args.checkpoint)
    cfg.test_evaluator.update(out_dir=cfg.work_dir, submission=args.submission)
    Runner.from_cfg(cfg).test()


if __name__ == "__main__":
    run_tool(main)
