"""The prior from motion takes part in a training step by one line of the config."""

from __future__ import annotations

import torch
from mmdet3d.registry import MODELS


def build(small_config, frames: int):
    torch.manual_seed(0)
    config = small_config(frames)
    config["depth"]["priors"] = dict(motion=dict(type="TriangulationPrior", channels=8, samples=16))
    return MODELS.build(config)


def test_one_line_adds_it_to_the_detector(small_config, make_batch):
    model = build(small_config, frames=2).train()
    given = make_batch(cameras=3, frames=2)
    for sample in given["data_samples"]:
        poses = sample.ego_T_cam.copy()
        poses[1, :, 0, 3] -= 3.0  # the vehicle drove 3 m
        sample.set_metainfo(dict(ego_T_cam=poses))
    batch = model.data_preprocessor(given, training=True)
    losses = model(**batch, mode="loss")
    assert "loss_motion_point" in losses
    sum(losses.values()).backward()
    assert model.depth.priors["motion"].descriptor.weight.grad.abs().max() > 0
    assert all(loss.isfinite() for loss in losses.values())


def test_without_a_past_or_a_neighbour_the_detector_works_as_before(small_config, make_batch):
    model = build(small_config, frames=1).train()
    batch = model.data_preprocessor(make_batch(cameras=1), training=True)
    losses = model(**batch, mode="loss")
    assert "loss_motion_point" not in losses and all(x.isfinite() for x in losses.values())
    model.eval()
    with torch.no_grad():
        model.test_step(make_batch(cameras=1))
