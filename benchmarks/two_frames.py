"""Do two key frames see how fast things move? python benchmarks/two_frames.py --start CHECKPOINT

Both variants go on from the same detector, one that saw one frame (``make demo`` trains it), for
the same number of steps: one with one frame as before, one with two. The weights for the past frame
begin at zero, so at step 0 both are the same function. Velocity is what one picture cannot show:
mAVE is the measure.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from mmdet3d.registry import MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch import Tensor
from training_report import markdown, publish, spread
from training_runs import add_arguments, run_benchmark
from training_variants import REPO, TestSet, Variant

from bevdepth_plus.engine.launch import run_tool
from bevdepth_plus.errors import DataError

NAME = "two_frames"
CONFIGS = {
    "one_frame": "configs/synthetic_small.py",
    "two_frames": "configs/synthetic_small_2key.py",
}
# Velocity counts as much as the other numbers of a box; the configs have BEVDepth's 0.5.
CODE_WEIGHTS = [1.0] * 10
ERRORS = ("mAVE", "AVE/car", "AVE/truck", "AVE/bus", "AVE/motorcycle", "AVE/pedestrian")
METRICS = (*ERRORS, "mAP", "NDS")


def variants(start: Path, work_dir: Path) -> list[Variant]:
    """Both configs, begun with the weights of ``start``.

    Raises:
        DataError: there is no such checkpoint, or it is of another model.
    """
    if not start.is_file():
        raise DataError(f"--start: {start} does not exist; make demo trains it")
    content = start.read_bytes()
    weights = torch.load(start, map_location="cpu", weights_only=True)["state_dict"]
    work_dir.mkdir(parents=True, exist_ok=True)
    found = []
    for name, config in CONFIGS.items():
        path = work_dir / f"start-{name}-{hashlib.sha256(content).hexdigest()[:8]}.pth"
        if not path.is_file():
            model = MODELS.build(Config.fromfile(REPO / config).model)
            torch.save(dict(state_dict=widened(weights, model.state_dict()), meta={}), path)
        init = dict(type="Pretrained", checkpoint=str(path))
        head = dict(train_cfg=dict(code_weights=CODE_WEIGHTS))
        found.append(Variant(name, config, dict(model=dict(init_cfg=init, bbox_head=head))))
    return found


def widened(weights: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights in a model with more input channels, behind those it had; the new ones are zero.

    Raises:
        DataError: a weight is missing or too large.
    """
    wide = {}
    for name, place in wanted.items():
        old = weights.get(name)
        if old is None or any(o > n for o, n in zip(old.shape, place.shape, strict=True)):
            raise DataError(f"--start: the checkpoint's {name} does not fit; it is another model")
        wide[name] = torch.zeros_like(place)
        wide[name][tuple(slice(0, side) for side in old.shape)] = old
    return wide


def table(results: Mapping[str, Any]) -> str:
    """Both variants and the change from the first to the second, a row each metric."""
    one, two = (results["summary"].get(name, {}).get("val", {}) for name in CONFIGS)
    rows = []
    for metric in METRICS:
        change = "-"
        if metric in one and metric in two and one[metric]["mean"]:
            change = f"{100 * (two[metric]['mean'] / one[metric]['mean'] - 1):+.0f} %"
        name = f"{metric}, m/s" if metric in ERRORS else metric
        rows.append([name, spread(one.get(metric)), spread(two.get(metric)), change])
    return markdown(["", "one frame", "two frames", "change"], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_arguments(parser, NAME, seeds=(0, 1))
    parser.add_argument(
        "--start", type=Path, default=Path("work_dirs/demo/iter_4500.pth"), help="checkpoint"
    )
    args = parser.parse_args()
    init_default_scope("mmdet3d")
    table_of = variants(args.start, args.work_dir.resolve())
    results, status = run_benchmark(NAME, table_of, [TestSet.of_root("val", args.data)], args)
    publish(table(results), args.out)
    sys.exit(status)


if __name__ == "__main__":
    run_tool(main)
