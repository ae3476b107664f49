"""Can matches be learnt at all? python -m experiments.triangulation.overfit

Depth from motion learns eight samples by heart, the same points at every step.
"""

from __future__ import annotations

import argparse

import torch
from mmdet3d.registry import DATASETS, MODELS
from mmdet3d.utils import register_all_modules
from mmengine.config import Config
from mmengine.optim import OptimWrapper
from torch.utils.data import default_collate

import bevdepth_plus.plugin  # noqa: F401
from bevdepth_plus.engine.launch import run_tool
from experiments.runner.synthetic_data import make_synthetic
from experiments.runner.variants import REPO
from experiments.triangulation.run import CONFIG, DATA, GAP, SCENES, source

SAMPLES, REPORTED = 8, 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=80)
    args = parser.parse_args()
    torch.set_num_threads(1)
    make_synthetic(DATA, *SCENES)
    register_all_modules()
    config = Config.fromfile(REPO / CONFIG)
    config.val_dataloader.dataset.update(sources=[source(DATA, "val")], gap=GAP)
    dataset = DATASETS.build(config.val_dataloader.dataset)
    batch = default_collate([dataset[len(dataset) * i // SAMPLES] for i in range(SAMPLES)])
    torch.manual_seed(0)
    model = MODELS.build(config.model).train()
    adam = torch.optim.AdamW(model.parameters(), lr=2e-3)
    optimizer = OptimWrapper(adam, clip_grad=dict(max_norm=5))
    for step in range(1, args.steps + 1):
        torch.manual_seed(0)  # the same points
        losses = model.train_step(batch, optimizer)
        if step % REPORTED == 0:
            pixels = losses["loss_match"].item() / model.criterion.match.loss_weight
            likelihood = losses["loss_likelihood"].item()
            print(f"step {step}: likelihood {likelihood:.2f}, matches {pixels:.2f} pixels off")


if __name__ == "__main__":
    run_tool(main)
