"""What do grey patches alone match, and which points can be trusted? Trains nothing.

python -m experiments.triangulation.matches

Validation views of the experiment, one and two frames apart: the share of points that a source does
not see though they lie inside its image (hidden, or moved); and the error of triangulated depth,
points in the order of two confidences: that of parallax alone, and times the probability of the
matches and the agreement of the sources.
"""

from __future__ import annotations

import argparse

import torch
from mmdet3d.registry import DATASETS
from mmdet3d.utils import register_all_modules
from mmengine.config import Config
from torch import Tensor
from torch.utils.data import default_collate

import bevdepth_plus.plugin  # noqa: F401
from bevdepth_plus.engine.launch import run_tool
from bevdepth_plus.geometry.rigid import invert_rigid
from bevdepth_plus.triangulation.keypoints import select_keypoints
from bevdepth_plus.triangulation.model import SequencePreprocessor
from bevdepth_plus.triangulation.network import build_network
from bevdepth_plus.triangulation.points import HALF_TRUSTED, Points, Views
from bevdepth_plus.triangulation.true_places import depth_at, reproject
from experiments.runner.synthetic_data import make_synthetic
from experiments.runner.variants import REPO
from experiments.triangulation.run import CONFIG, DATA, SCENES, source

SAMPLES, SHARES = 24, (0.1, 0.2, 0.4, 0.7)


def load(config: Config, gap: int) -> dict[str, Tensor]:
    options = dict(sources=[source(DATA, "val")], gap=gap, source_depth=True)
    dataset = DATASETS.build({**config.val_dataloader.dataset, **options})
    chosen = [dataset[len(dataset) * i // SAMPLES] for i in range(SAMPLES)]
    return SequencePreprocessor()(default_collate(chosen))


def match_patches(config: Config, views: Views) -> Points:
    """Random points of the anchors, matched by patches and triangulated."""
    network = build_network(**config.model.network)
    network.matcher.descriptor_share.data.fill_(-30.0)  # nothing but the patch
    batch, count, _, height, width = views.images.shape
    stride = network.matcher.stride
    same = torch.ones(batch, count, 1, height // stride, width // stride)
    generator = torch.Generator().manual_seed(0)
    scores = torch.zeros(batch, height, width)
    keypoints = select_keypoints(scores, 768, detected_share=0.0, generator=generator)
    matches = network.match(same, keypoints, views)
    return network.triangulate(keypoints, matches, views)


def report(config: Config, gap: int) -> None:
    batch = load(config, gap)
    poses = invert_rigid(batch["anchor_T_source"])
    views = Views(batch["images"], batch["intrinsics"], poses)
    points = match_patches(config, views)
    pixels = points.keypoints.pixels
    true = depth_at(batch["depth"][:, None], pixels)
    inside = reproject(pixels, true, views)[1]
    seen = reproject(pixels, true, views, batch["source_depths"])[1]
    for view in range(seen.shape[1]):
        missed = 1 - seen[:, view].sum() / inside[:, view].sum()
        print(f"gap {gap}, source {view + 1}: {missed:.0%} of the points inside are not seen")
    told = (points.depth > 0) & (true > 0)
    error = ((points.depth - true).abs() / true.clamp(min=0.1))[told]
    relative = points.inverse_depth.variance.sqrt() * points.depth
    parallax = 1 / (1 + (relative / HALF_TRUSTED).square())
    for name, confidence in (("parallax alone", parallax), ("all three", points.confidence)):
        order = error[confidence[told].argsort(descending=True)]
        best = (order[: int(share * len(order))].median().item() for share in SHARES)
        cells = (f"{share:.0%}: {value:.3f}" for share, value in zip(SHARES, best, strict=True))
        print(f"gap {gap}, median error of the most confident by {name}: {', '.join(cells)}")


def main() -> None:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    torch.set_num_threads(1)
    make_synthetic(DATA, *SCENES)
    register_all_modules()
    config = Config.fromfile(REPO / CONFIG)
    with torch.no_grad():
        for gap in (1, 2):
            report(config, gap)


if __name__ == "__main__":
    run_tool(main)
