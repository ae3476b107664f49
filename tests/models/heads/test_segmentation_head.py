"""A second head is one class and one line in a config; it trains beside the boxes."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from mmdet3d.registry import MODELS

from bevdepth_plus.errors import DataError

LAYERS = ("drivable_area", "lane_marks")


@pytest.fixture
def config(small_config):
    config = copy.deepcopy(small_config())
    config["heads"]["map"] = dict(type="BEVSegmentationHead", layers=LAYERS, mid_channels=8)
    return config


@pytest.fixture
def model(config):
    torch.manual_seed(0)
    return MODELS.build(config)


def with_map(data: dict) -> dict:
    """A road along x, half known, without marks."""
    for sample in data["data_samples"]:
        target = np.zeros((2, 32, 32), dtype=np.uint8)
        target[0, 12:20] = 1
        target[:, :, :4] = 255
        sample.gt_map = torch.from_numpy(target)
    return data


def test_it_trains_beside_the_boxes(model, make_batch):
    model.train()
    batch = model.data_preprocessor(with_map(make_batch(batch=2)), training=True)
    losses = model(**batch, mode="loss")
    assert set(losses) == {"loss_heatmap", "loss_bbox", "loss_map", "loss_depth"}
    losses["loss_map"].backward()
    assert model.image_encoder.backbone.conv1.weight.grad.abs().sum() > 0


def test_it_learns_the_map_of_a_sample(model, make_batch):
    head = model.heads["map"]
    bev = torch.randn(1, head.layers_of_map[0].in_channels, 32, 32)
    samples = with_map(make_batch())["data_samples"]
    optimizer = torch.optim.Adam(head.parameters(), lr=1e-2)
    for _ in range(100):
        loss = head.losses(head.outputs(bev), samples)["loss_map"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    head.add_predictions(head.outputs(bev), samples)
    known = samples[0].gt_map < 255
    right = (samples[0].pred_map >= 0.5) == (samples[0].gt_map == 1)
    assert right[known].float().mean() > 0.9
    assert samples[0].map_layers == LAYERS


def test_mirrored_maps_are_told_unmirrored(model):
    logits = torch.randn(1, 2, 32, 32)
    head = model.heads["map"]
    assert torch.equal(head.undo_mirror(logits.flip([-1]), x=True, y=False), logits)
    assert torch.equal(head.undo_mirror(logits.flip([-2]), x=False, y=True), logits)
    torch.testing.assert_close(head.mean([logits, -logits]), torch.zeros_like(logits))


def test_predictions_with_mirrors_hold_boxes_and_map(config, make_batch):
    torch.manual_seed(0)
    model = MODELS.build(config | dict(test_time_flips=dict(image=True, y=True)))
    model.eval()
    with torch.no_grad():
        (sample,) = model.test_step(make_batch())
    assert sample.pred_map.shape == (2, 32, 32)
    assert 0 <= sample.pred_map.min() and sample.pred_map.max() <= 1
    assert sample.pred_instances_3d.bboxes_3d.tensor.shape[1] == 9


def test_without_ground_truth_it_says_what_is_missing(model, make_batch):
    batch = model.data_preprocessor(make_batch(), training=True)
    with pytest.raises(DataError, match=r"drivable_area, lane_marks, got none; add LoadMapLayers"):
        model(**batch, mode="loss")
