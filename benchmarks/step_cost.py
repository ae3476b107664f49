"""What a part of the model costs a training step: python benchmarks/step_cost.py PART

Steps of the demo's detector without the part and with its forms, taken in turn on the same samples
in one process, so that the ratios hold on a busy machine too. Loading is not counted.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from pathlib import Path
from typing import NamedTuple

import torch
from mmdet3d.registry import DATASETS, MODELS
from mmdet3d.utils import register_all_modules
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.optim import build_optim_wrapper
from tqdm import trange

from bevdepth_plus.files import write_json
from experiments.triangulation.prior import PRIOR

PAIRS = dict(type="TemporalOrderLoss", num_pairs=2000)
PEARSON = dict(type="MatchedDepthLoss", loss=dict(type="PearsonDepthLoss"))


class Part(NamedTuple):
    """A config, what its forms change in it, and further steps of the pipeline that they need.

    The first form is without the part.
    """

    config: str
    forms: dict[str, dict]
    steps: dict[str, dict]


def _map_loss(loss: dict) -> dict:
    return {"model.depth.map_losses": dict(_delete_=True, loss=loss)}


def _matched(loss: dict, source: str) -> dict:
    return _map_loss(dict(type="MatchedDepthOverTime", loss=loss, source=source))


PARTS = {
    "metric_depth": Part(
        "configs/synthetic_small_metric.py",
        {
            "without": {"model.depth.priors": None},
            "auxiliary": {"model.depth.priors.metric.fuse": False},
            "fused": {},
        },
        {},
    ),
    "order_over_time": Part(
        "configs/synthetic_small_order.py",
        {
            "without": {"model.depth.map_losses": None},
            "order_flow": _matched(PAIRS, "flow"),
            "order_rigid": _matched(PAIRS, "rigid"),
            "pearson": _matched(PEARSON, "rigid"),
            "photometric": _map_loss(dict(type="PhotometricOverTime")),
        },
        dict(load_flow=dict(type="LoadOpticalFlow", stride=8)),
    ),
    "triangulation_prior": Part(
        "configs/synthetic_small_2key.py",
        {"without": {}, "prior": {"model.depth.priors": dict(motion=PRIOR)}},
        dict(mark_moving=dict(type="MovingObjectPixels")),
    ),
}


def main() -> None:
    args = parse_args()
    torch.set_num_threads(args.threads)
    register_all_modules()
    part = PARTS[args.part]
    steps = {name: stepper(part.config, overrides) for name, overrides in part.forms.items()}
    cfg = Config.fromfile(part.config)
    cfg.train_dataloader.dataset.pipeline.update(part.steps)
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
    out = args.out or Path(f"benchmarks/results/{args.part}_cost.json")
    write_json(out, report, indent=1)


def stepper(config: str, overrides: dict):
    """A function that trains one step of a form on a batch."""
    cfg = Config.fromfile(config)
    cfg.merge_from_dict(overrides)
    torch.manual_seed(0)
    model = MODELS.build(cfg.model).train()
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    return lambda batch: model.train_step(batch, wrapper)


def summary(seconds: dict[str, list[float]], args: argparse.Namespace) -> dict:
    """Median step times, and the median of the step-by-step ratios to the model without."""
    base = seconds["without"]
    return {
        "benchmark": f"{args.part}_cost",
        "command": f"python benchmarks/step_cost.py {args.part} --steps {args.steps} "
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
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--warm-up", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, help="default: benchmarks/results/PART_cost.json")
    return parser.parse_args()


if __name__ == "__main__":
    main()
