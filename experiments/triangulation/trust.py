"""Is what a trained network says of its points' errors true? Trains nothing.

python -m experiments.triangulation.trust CHECKPOINT

Every twelfth validation anchor: the points' mean error beside the one that is stated, and the dense
depth before and after the correction by 512 and by 1,024 points.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from itertools import pairwise

import torch
from mmdet3d.registry import DATASETS, MODELS
from mmdet3d.utils import register_all_modules
from mmengine.config import Config
from mmengine.runner import load_checkpoint
from torch.utils.data import default_collate
from tqdm import trange

import bevdepth_plus.plugin  # noqa: F401
from bevdepth_plus.engine.launch import run_tool
from bevdepth_plus.triangulation.true_places import depth_at
from experiments.runner.synthetic_data import make_synthetic
from experiments.runner.variants import REPO
from experiments.triangulation.run import CONFIG, DATA, GAP, SCENES, source

STEP, BATCH, FARTHEST = 12, 4, 60.0
STATED = (0.0, 0.1, 0.2, 0.4, 1.0)  # shares of depth


def score(model, dataset, num_points: int) -> None:
    model.network.num_points = num_points
    errors: dict[str, list[torch.Tensor]] = defaultdict(list)
    for start in trange(0, len(dataset), STEP * BATCH, desc=f"{num_points} points"):
        chosen = range(start, min(start + STEP * BATCH, len(dataset)), STEP)
        batch = model.data_preprocessor(default_collate([dataset[i] for i in chosen]))
        with torch.no_grad():
            found = model(**batch)
        true = batch["depth"][:, None]
        known = (true > 0) & (true <= FARTHEST)
        for name, depth in (("before", found.uncorrected), ("after", found.depths[0])):
            errors[name].append(((depth - true).abs() / true)[known])
        at_points = depth_at(true, found.points.keypoints.pixels)
        counts = (found.calibrated > 0) & (at_points > 0) & (at_points <= FARTHEST)
        wrong = (found.calibrated[counts].log() - at_points[counts].log()).abs()
        for low, high in pairwise(STATED):
            inside = (found.sigma[counts] > low) & (found.sigma[counts] <= high)
            errors[f"points said to be {low:.0%} to {high:.0%} wrong"].append(wrong[inside])
    for name, values in errors.items():
        print(f"{num_points} points, {name}: {torch.cat(values).mean():.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", help="of the experiment's variant 'motion'")
    args = parser.parse_args()
    torch.set_num_threads(1)
    make_synthetic(DATA, *SCENES)
    register_all_modules()
    config = Config.fromfile(REPO / CONFIG)
    config.val_dataloader.dataset.update(sources=[source(DATA, "val")], gap=GAP)
    dataset = DATASETS.build(config.val_dataloader.dataset)
    model = MODELS.build(config.model).eval()
    load_checkpoint(model, args.checkpoint, map_location="cpu", strict=True)
    for num_points in (512, 1024):
        score(model, dataset, num_points)


if __name__ == "__main__":
    run_tool(main)
