"""CenterPoint's targets of a batch beside mmdet3d's, object by object: operators and host reads.

    OMP_NUM_THREADS=1 python benchmarks/center_targets.py [--samples N] [--boxes N]

Counts every operator that PyTorch's profiler sees on the CPU, those called by others included, and
how often a value is read back to the host, for which a GPU would have to finish its work. The
operators are the same on a GPU, the CPU time is not: it is there as a ratio in one run.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import torch
from mmdet3d.models.dense_heads import CenterHead
from mmdet3d.registry import MODELS
from mmdet3d.structures import LiDARInstance3DBoxes
from mmdet3d.utils import register_all_modules
from mmengine.config import Config
from mmengine.structures import InstanceData
from torch.profiler import ProfilerActivity, profile

import bevdepth_plus.plugin  # noqa: F401

CONFIG = Path(__file__).resolve().parents[1] / "configs" / "bevdepth_r50_256x704_24e.py"
HOST_READS = ("aten::item", "aten::_local_scalar_dense", "aten::nonzero")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--boxes", type=int, default=340, help="in all samples together")
    args = parser.parse_args()
    register_all_modules()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    head, truths = official_head(), batch(args.samples, args.boxes)
    ways = {
        "object by object (mmdet3d)": lambda: CenterHead.get_targets(head, truths),
        "whole batch": lambda: head.get_targets(truths),
    }
    seconds = {name: cpu_seconds(run) for name, run in ways.items()}
    print(f"{'way':28} {'operators':>10}", *(f"{name:>26}" for name in HOST_READS), "  CPU time")
    for name, run in ways.items():
        calls = operator_calls(run)
        reads = (f"{calls.get(read, 0):26}" for read in HOST_READS)
        ratio = seconds[name] / seconds["whole batch"]
        print(f"{name:28} {sum(calls.values()):10}", *reads, f"{ratio:9.1f}x")


def official_head() -> torch.nn.Module:
    """The head of the official R50 256x704 configuration: 128 x 128 cells, six tasks."""
    config = Config.fromfile(CONFIG).model
    return MODELS.build(config.heads.boxes, default_args=dict(grid=config.grid, in_channels=256))


def batch(samples: int, boxes: int) -> list[InstanceData]:
    """Random objects of all classes within the grid, as even over the samples as may be."""
    return [_sample(len(part)) for part in torch.arange(boxes).tensor_split(samples)]


def _sample(boxes: int) -> InstanceData:
    numbers = torch.randn(boxes, 9)
    numbers[:, :2] = torch.rand(boxes, 2) * 100 - 50
    numbers[:, 3:6] = 0.5 + torch.rand(boxes, 3) * torch.tensor([8.0, 2.0, 2.0])
    found = LiDARInstance3DBoxes(numbers, box_dim=9, origin=(0.5, 0.5, 0.5))
    return InstanceData(bboxes_3d=found, labels_3d=torch.randint(10, (boxes,)))


def operator_calls(run: Callable[[], object]) -> dict[str, int]:
    """How often each operator is called."""
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        run()
    averages = profiler.key_averages()
    return {entry.key: entry.count for entry in averages if entry.key.startswith("aten::")}


def cpu_seconds(run: Callable[[], object]) -> float:
    """CPU time of the second call."""
    run()
    start = time.process_time()
    run()
    return time.process_time() - start


if __name__ == "__main__":
    main()
