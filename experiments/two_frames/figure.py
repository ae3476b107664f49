"""The picture of the experiment: a scene from above, velocities from one frame and from two."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from mmengine.config import Config

from bevdepth_plus.visualization import style
from bevdepth_plus.visualization.bev_view import draw_bev
from bevdepth_plus.visualization.camera_view import write_corner
from bevdepth_plus.visualization.from_config import (
    build_dataset,
    build_model,
    predict,
    scene_and_ground_truth,
)
from bevdepth_plus.visualization.layout import Page
from bevdepth_plus.visualization.scene import hit_by_points

_SIDE = 620  # pixels of a panel
_SCORE = 0.3


def draw(
    detectors: Mapping[str, tuple[Config, Path]],  # what to call it -> config, checkpoint
    sample: int,
    reach: float,
    path: Path,
) -> None:
    """A panel for each detector, ground truth in blue and its detections in orange.

    Args:
        sample: index in the data set of each config's ``test_dataloader``; the last where it has
            fewer.
        reach: metres to each side; boxes that far off are left out.
        path: PNG to write.
    """
    page = Page(len(detectors) * (_SIDE + style.GAP) + style.GAP, _SIDE + 2 * style.GAP)
    for column, (name, (config, checkpoint)) in enumerate(detectors.items()):
        dataset = build_dataset(config, "test")
        index = min(sample, len(dataset) - 1)
        scene, ground_truth = scene_and_ground_truth(dataset, index, "")
        ground_truth = ground_truth.select(hit_by_points(ground_truth, scene.points))
        model = build_model(config, str(checkpoint), torch.device("cpu"))
        detections, _, _ = predict(model, dataset, index)
        left = style.GAP + column * (_SIDE + style.GAP)
        axes = page.panel(left, style.GAP, _SIDE, _SIDE, name)
        near = [
            abs(boxes.numbers[:, :2]).max(axis=1) < reach for boxes in (ground_truth, detections)
        ]
        near[1] &= detections.scores > _SCORE
        shown = ground_truth.select(near[0]), detections.select(near[1])
        draw_bev(axes, scene.points, *shown, reach=reach, ring_step=10)
        write_corner(axes, name)
    page.save(path)
