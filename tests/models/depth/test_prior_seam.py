"""A new source of depth is one class and one line in a config."""

from __future__ import annotations

import copy

import pytest
import torch
from mmdet3d.registry import MODELS

from bevdepth_plus.models.depth.prior import DepthPrior, View


@MODELS.register_module()
class ToyPrior(DepthPrior):
    """Everything is as far as a weight says; the labels' mean teaches it."""

    def __init__(self, in_channels: int, stride: int) -> None:
        super().__init__()
        self.depth = torch.nn.Parameter(torch.tensor(10.0))

    def forward(self, view: View) -> torch.Tensor:
        return self.depth.expand(*view.features.shape[:2], *view.features.shape[-2:])

    def log_bins(self, prediction, bins, cells):
        return -(prediction[:, :, None] - bins.centres()[:, None, None]).abs()

    def loss(self, prediction, labels, cameras):
        return dict(mean=(prediction.mean() - labels.mean()).abs())

    def maps(self, prediction, cells):
        return prediction


@pytest.fixture
def toy_config(small_config):
    config = copy.deepcopy(small_config())
    config["depth"]["priors"] = dict(toy=dict(type="ToyPrior"))
    return config


def build(config):
    torch.manual_seed(0)
    return MODELS.build(config)


def test_its_loss_appears_and_teaches_it(toy_config, make_batch):
    model = build(toy_config).train()
    batch = model.data_preprocessor(make_batch(), training=True)
    losses = model(**batch, mode="loss")
    assert "loss_toy_mean" in losses and "loss_depth_fused" in losses
    losses["loss_toy_mean"].backward()
    assert model.depth.priors["toy"].depth.grad.abs() == 1


def test_its_map_appears_beside_the_others(toy_config, make_batch):
    model = build(toy_config)
    model.eval()
    with torch.no_grad():
        (sample,) = model.test_step(make_batch())
    assert list(sample.pred_depths) == ["bin", "toy", "fused"]
    assert (sample.pred_depths["toy"] == 10).all()


def test_it_shifts_the_bins_as_bayes_rule_says(toy_config, make_batch):
    model = build(toy_config).eval()
    batch = model.data_preprocessor(make_batch())
    images, rig = model._inputs(batch["inputs"], batch["data_samples"])
    with torch.no_grad():
        found = model.perceive(images[:, 0], rig.moment(0))
    shift = -(10 - model.depth.bins.centres()[:, None, None]).abs()
    expected = (found.bins.log() + shift).softmax(dim=2)
    torch.testing.assert_close(found.fused, expected)
    assert not torch.allclose(found.fused, found.bins)


def test_two_priors_add_up(toy_config, make_batch):
    config = toy_config
    config["depth"]["priors"]["again"] = dict(type="ToyPrior")
    model = build(config).eval()
    batch = model.data_preprocessor(make_batch())
    images, rig = model._inputs(batch["inputs"], batch["data_samples"])
    with torch.no_grad():
        found = model.perceive(images[:, 0], rig.moment(0))
    shift = -2 * (10 - model.depth.bins.centres()[:, None, None]).abs()
    torch.testing.assert_close(found.fused, (found.bins.log() + shift).softmax(dim=2))


def test_a_prior_that_says_nothing_changes_nothing(small_config, make_batch):
    @MODELS.register_module(force=True)
    class SilentPrior(DepthPrior):
        def __init__(self, in_channels: int, stride: int) -> None:
            super().__init__()

        def forward(self, view: View) -> None:
            return None

    config = copy.deepcopy(small_config())
    config["depth"]["priors"] = dict(silent=dict(type="SilentPrior"))
    with_prior, without = build(config).eval(), build(small_config()).eval()
    data = make_batch()
    with torch.no_grad():
        boxes = [
            model.test_step(copy.deepcopy(data))[0].pred_instances_3d.bboxes_3d.tensor
            for model in (with_prior, without)
        ]
    assert torch.equal(*boxes)


def test_a_prior_of_a_static_world_is_not_taught_by_what_moves(toy_config, make_batch):
    """Marked pixels are 0 in its labels, and stay in those of the others."""
    seen = {}

    def remember(name):
        return lambda prediction, labels, cameras: seen.update({name: labels}) or {}

    config = copy.deepcopy(toy_config)
    config["depth"]["priors"]["other"] = dict(type="ToyPrior")
    model = MODELS.build(config)
    for name, prior in model.depth.priors.items():
        prior.loss = remember(name)
    model.depth.priors["toy"].static_only = True
    batch = model.data_preprocessor(make_batch(), training=True)
    inputs = batch["inputs"]
    inputs["moving"] = torch.zeros_like(inputs["depth"], dtype=torch.bool)
    inputs["moving"][..., :20] = True
    model(**batch, mode="loss")
    assert (seen["toy"][..., :20] == 0).all() and (seen["other"][..., :20] > 0).any()
    assert torch.equal(seen["toy"][..., 20:], seen["other"][..., 20:])
