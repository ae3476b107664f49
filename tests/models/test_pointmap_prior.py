"""The prior from pointmaps takes part in a training step by one line of the config."""

from __future__ import annotations

import pytest
import torch
from mmdet3d.registry import MODELS

from bevdepth_plus.pointmaps.checkpoints import save_model
from bevdepth_plus.pointmaps.heads import Pointmap
from bevdepth_plus.pointmaps.two_view import TwoViewConfig, TwoViewModel

TINY = dict(
    encoder_dim=32,
    encoder_depth=1,
    encoder_heads=2,
    decoder_dim=32,
    decoder_depth=1,
    decoder_heads=2,
    head="linear",
)


@pytest.fixture
def build(small_config, tmp_path):
    def make(frames: int):
        torch.manual_seed(0)
        save_model(TwoViewModel(TwoViewConfig(**TINY)), tmp_path / "tiny.pth")
        config = small_config(frames)
        config["depth"]["priors"] = dict(
            pointmaps=dict(type="PointmapPrior", weights=str(tmp_path / "tiny.pth"))
        )
        return MODELS.build(config)

    return make


def with_motion(batch: dict, metres: float) -> dict:
    for sample in batch["data_samples"]:
        poses = sample.ego_T_cam.copy()
        poses[1:, :, 0, 3] -= metres  # the vehicle drove
        sample.set_metainfo(dict(ego_T_cam=poses))
    return batch


class Guess(torch.nn.Module):
    """Points whose scale is clear: all at 5 units, seen from 1 unit behind."""

    def forward(self, images1, images2):
        height, width = images1.shape[-2:]
        u, v = torch.arange(width) + 0.5, torch.arange(height) + 0.5
        v, u = torch.meshgrid(v, u, indexing="ij")
        rays = torch.stack([(u - 48) / 60, (v - 32) / 60, torch.ones_like(u)], dim=-1)
        own = (5 * rays).expand(len(images1), -1, -1, -1)
        behind = torch.tensor([0.0, 0.0, -1.0])
        confidence = torch.full(own.shape[:3], 5.0)
        return Pointmap(own, confidence), Pointmap(6 * rays + behind + 0 * own, confidence)


def test_one_line_adds_it_to_the_detector(build, make_batch):
    model = build(frames=2).train()
    prior = model.depth.priors["pointmaps"]
    prior.network = Guess()
    batch = model.data_preprocessor(with_motion(make_batch(frames=2), 3.0), training=True)
    batch["inputs"]["depth"].fill_(15.0)  # 1 unit is 3 m
    losses = model(**batch, mode="loss")
    assert losses["loss_depth_fused"] < 0.9 * losses["loss_depth"]
    sum(losses.values()).backward()
    assert all(loss.isfinite() for loss in losses.values())
    assert not list(prior.parameters())

    model.eval()
    with torch.no_grad():
        (sample,) = model.test_step(with_motion(make_batch(frames=2), 3.0))
    depth = sample.pred_depths["pointmaps"]
    torch.testing.assert_close(depth, torch.full_like(depth, 15.0), rtol=1e-3, atol=0)


def test_a_vehicle_that_stands_gets_what_it_got_without(build, make_batch):
    model = build(frames=2).eval()
    with torch.no_grad():
        (sample,) = model.test_step(make_batch(frames=2))
    torch.testing.assert_close(sample.pred_depths["fused"], sample.pred_depths["bin"])
    assert (sample.pred_depths["pointmaps"] == 0).all()


def test_without_a_past_the_detector_works_as_before(build, make_batch):
    model = build(frames=1).train()
    batch = model.data_preprocessor(make_batch(), training=True)
    losses = model(**batch, mode="loss")
    assert "loss_depth_fused" not in losses and all(x.isfinite() for x in losses.values())
    model.eval()
    with torch.no_grad():
        (sample,) = model.test_step(make_batch())
    assert "pointmaps" not in sample.pred_depths


def test_missing_weights_are_one_line(small_config):
    config = small_config(2)
    config["depth"]["priors"] = dict(pointmaps=dict(type="PointmapPrior", weights="none.pth"))
    with pytest.raises(ValueError, match="none.pth does not exist") as caught:
        MODELS.build(config)
    assert "\n" not in str(caught.value).strip()
