"""What the metric depth prior costs a training step: python benchmarks/metric_depth_cost.py

Steps of the demo's detector without the prior, with it as an auxiliary task, and fused, taken in
turn on the same samples in one process, so that the ratios hold on a busy machine too.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from pathlib import Path

import torch
from mmdet3d.registry import DATASETS, MODELS
from mmdet3d.utils import register_all_modules
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.optim import build_optim_wrapper
from tqdm import trange

from bevdepth_plus.files import write_json

CONFIG = "configs/synthetic_small_metric.py"
VARIANTS = {
    "without": {"model.depth.priors": None},
    "auxiliary": {"model.depth.priors.metric.fuse": False},
    "fused": {},
}


def main() -> None:
    args = parse_args()
    torch.set_num_threads(args.threads)
    register_all_modules()
    steps = {name: stepper(overrides) for name, overrides in VARIANTS.items()}
    cfg = Config.fromfile(CONFIG)
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for index in trange(args.warm_up + args.steps, desc="steps of each"):
        batch = pseudo_collate([dataset[index]])
        for name, step in steps.items():
            started = time.perf_counter()
            step(batch)
            if index >= args.warm_up:
                seconds[name].append(time.perf_counter() - started)
    report = summary(seconds, args)
    print({name: round(entry["ratio"], 3) for name, entry in report["steps"].items()})
    write_json(args.out, report, indent=1)


def stepper(overrides: dict):
    """A function that trains one step of a variant on a batch."""
    cfg = Config.fromfile(CONFIG)
    cfg.merge_from_dict(overrides)
    torch.manual_seed(0)
    model = MODELS.build(cfg.model).train()
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    return lambda batch: model.train_step(batch, wrapper)


def summary(seconds: dict[str, list[float]], args: argparse.Namespace) -> dict:
    """Median step times, and the median of the step-by-step ratios to the model without."""
    base = seconds["without"]
    return {
        "benchmark": "metric_depth_cost",
        "command": f"python benchmarks/metric_depth_cost.py --steps {args.steps} "
        f"--threads {args.threads}",
        "torch": torch.__version__,
        "cpu": platform.processor() or platform.machine(),
        "steps": {
            name: {
                "median_s": statistics.median(times),
                "ratio": statistics.median(t / b for t, b in zip(times, base, strict=True)),
            }
            for name, times in seconds.items()
        },
    }


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--warm-up", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--out", type=Path, default=Path("benchmarks/results/metric_depth_cost.json")
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
