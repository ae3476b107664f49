"""CenterPoint's targets, loss, maps and boxes of a batch beside mmdet3d's: operators and reads.

    OMP_NUM_THREADS=1 python benchmarks/center_targets.py [--samples N] [--boxes N] [--device D]
        [--steps targets loss maps boxes]

Counts every operator that PyTorch's profiler sees on the host, those called by others included,
and how often a value is read back to the host, for which a GPU would have to finish its work: the
columns are ``item``, masks turned into indices, and ``Tensor.cpu``.
Operators are the same on a GPU, times are not: a ratio is of one run on one device,
CPU time of this process on a CPU and time until the device has finished on a GPU.
"""

from __future__ import annotations

import argparse
import copy
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
READS = {"item": "aten::_local_scalar_dense", "nonzero": "aten::nonzero"}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--boxes", type=int, default=340, help="in all samples together")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--steps", nargs="+", default=["targets", "loss", "maps", "boxes"])
    args = parser.parse_args()
    register_all_modules()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    head = official_head().to(args.device)
    truths = batch(args.samples, args.boxes, args.device)
    print(f"{'':8} {'way':10} {'operators':>10}", *(f"{name:>8}" for name in READS), end="")
    print(f" {'cpu()':>8} {'ms':>9} {'ratio':>6}")
    compared = steps(head, truths, args.device)
    for step in args.steps:
        ways, seconds = compared[step], {}
        for way, run in ways.items():
            seconds[way] = best_seconds(run, args.device, args.repeats)
            calls, copies = operator_calls(run)
            reads = (f"{calls.get(read, 0):8}" for read in READS.values())
            ratio = seconds[way] / seconds["mmdet3d"]
            print(f"{step:8} {way:10} {sum(calls.values()):10}", *reads, end="")
            print(f" {copies:8} {1000 * seconds[way]:9.1f} {ratio:6.3f}", flush=True)


def steps(head, truths: list[InstanceData], device: str) -> dict[str, dict[str, Callable]]:
    """What is compared: ``step -> way -> run``."""
    samples = len(truths)
    shared = torch.randn(samples, head.shared_conv.out_channels, 128, 128, device=device)
    in_eval = copy.deepcopy(head).eval()
    outputs = random_outputs(head, samples, device)
    metas = [dict(box_type_3d=LiDARInstance3DBoxes)] * samples

    def loss(way) -> Callable:
        def run() -> None:  # of copies, since mmdet3d changes the heatmaps in place
            fresh = tuple(
                [{name: values.clone().requires_grad_() * 1.0 for name, values in task.items()}]
                for (task,) in outputs
            )
            sum(way(fresh, truths).values()).backward()

        return run

    def predict(way) -> Callable:
        return torch.no_grad()(lambda: way(in_eval, outputs, metas))

    official, ours = CenterHead, type(head)
    of_mmdet3d = copy.deepcopy(head)
    of_mmdet3d.get_targets = lambda gt: CenterHead.get_targets(head, gt)
    return {
        "targets": {
            "mmdet3d": lambda: official.get_targets(head, truths),
            "together": lambda: head.get_targets(truths),
        },
        "loss": {
            "mmdet3d": loss(lambda *args: official.loss_by_feat(of_mmdet3d, *args)),
            "together": loss(head.loss_by_feat),
        },
        "maps": {
            "mmdet3d": torch.no_grad()(lambda: [task(shared) for task in in_eval.task_heads]),
            "together": torch.no_grad()(lambda: in_eval.task_maps(shared)),
        },
        "boxes": {
            "mmdet3d": predict(official.predict_by_feat),
            "together": predict(ours.predict_by_feat),
        },
    }


def official_head():
    """The head of the official R50 256x704 configuration: 128 x 128 cells, six tasks."""
    config = Config.fromfile(CONFIG).model
    return MODELS.build(config.heads.boxes, default_args=dict(grid=config.grid, in_channels=256))


def batch(samples: int, boxes: int, device: str = "cpu") -> list[InstanceData]:
    """Random objects of all classes within the grid, as even over the samples as may be."""
    return [_sample(len(part), device) for part in torch.arange(boxes).tensor_split(samples)]


def random_outputs(head, samples: int, device: str) -> tuple[list[dict], ...]:
    """Maps of each task, with about a hundred cells above the least score."""
    channels = dict(reg=2, height=1, dim=3, rot=2, vel=2)
    tasks = []
    for classes in head.num_classes:
        shapes = {**channels, "heatmap": classes}
        maps = {
            name: torch.randn(samples, count, 128, 128, device=device)
            for name, count in shapes.items()
        }
        maps["heatmap"] = maps["heatmap"] * 1.2 - 5.3
        tasks.append([maps])
    return tuple(tasks)


def _sample(boxes: int, device: str) -> InstanceData:
    numbers = torch.randn(boxes, 9)
    numbers[:, :2] = torch.rand(boxes, 2) * 100 - 50
    numbers[:, 3:6] = 0.5 + torch.rand(boxes, 3) * torch.tensor([8.0, 2.0, 2.0])
    found = LiDARInstance3DBoxes(numbers.to(device), box_dim=9, origin=(0.5, 0.5, 0.5))
    return InstanceData(bboxes_3d=found, labels_3d=torch.randint(10, (boxes,)).to(device))


def operator_calls(run: Callable[[], object]) -> tuple[dict[str, int], int]:
    """How often each operator is called, and how often a tensor goes to the host whole."""
    copies, to_host = [], torch.Tensor.cpu
    torch.Tensor.cpu = lambda self, *args, **kwargs: (  # pyright: ignore
        copies.append(1) or to_host(self, *args, **kwargs)
    )
    try:
        with profile(activities=[ProfilerActivity.CPU]) as profiler:
            run()
    finally:
        torch.Tensor.cpu = to_host
    averages = profiler.key_averages()
    calls = {entry.key: entry.count for entry in averages if entry.key.startswith("aten::")}
    return calls, len(copies)


def best_seconds(run: Callable[[], object], device: str, repeats: int) -> float:
    """The shortest of several calls, after one that does not count."""
    run()
    return min(_seconds(run, device) for _ in range(repeats))


def _seconds(run: Callable[[], object], device: str) -> float:
    if device == "cpu":
        start = time.process_time()
        run()
        return time.process_time() - start
    torch.cuda.synchronize()
    start = time.perf_counter()
    run()
    torch.cuda.synchronize()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
