"""The depth priors of a detector, trained and scored alone."""

from __future__ import annotations

import pytest
import torch
from mmdet3d.registry import MODELS
from mmdet3d.structures import Det3DDataSample
from mmdet3d.utils import register_all_modules

import bevdepth_plus.plugin  # noqa: F401
import experiments.depth_losses.depth_priors_alone  # noqa: F401
from experiments.depth_losses.run import VARIANTS
from experiments.runner.variants import training_config


@pytest.fixture(scope="module")
def config() -> dict:
    register_all_modules()
    return training_config(VARIANTS[0], seed=0, steps=5)["model"]


@pytest.fixture
def batch() -> tuple[dict, list[Det3DDataSample]]:
    """Two cameras of one sample, with depth everywhere in the second."""
    intrinsics = torch.tensor([[280.0, 0, 176], [0, 280, 64], [0, 0, 1]])
    metainfo = dict(
        intrinsics=intrinsics.expand(1, 2, 3, 3),
        ego_T_cam=torch.eye(4).expand(1, 2, 4, 4),
        image_aug=torch.eye(3).expand(1, 2, 3, 3),
        bev_aug=torch.eye(4),
    )
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(1, 2, 3, 128, 352, generator=generator)
    depth = torch.zeros(1, 2, 128, 352)
    depth[:, 1] = 20.0
    return dict(img=images, depth=depth), [Det3DDataSample(metainfo=metainfo)]


def test_weights_have_the_names_of_the_whole_detector(config):
    alone = MODELS.build(config).state_dict()
    whole = MODELS.build({**config, "type": "BEVDepth"}).state_dict()
    parts = ("image_encoder.", "depth.priors.metric.")
    assert alone.keys() == {name for name in whole if name.startswith(parts)}


def test_the_losses_are_the_chosen_ones_and_reach_all_that_is_kept(config, batch):
    model = MODELS.build(config).train()
    losses = model(*batch, mode="loss")
    assert losses.keys() == {"loss_metric_silog", "loss_metric_bins"}
    assert losses["loss_metric_bins"] == 0  # its weight is 0
    losses["loss_metric_silog"].backward()
    without = [name for name, value in model.named_parameters() if value.grad is None]
    assert without == []


@torch.no_grad()
def test_predictions_hold_depth_of_each_cell_its_label_and_no_boxes(config, batch):
    model = MODELS.build(config).eval()
    (sample,) = model(*batch, mode="predict")
    assert sample.pred_depths["metric"].shape == sample.gt_depth.shape == (2, 16, 44)
    assert (sample.pred_depths["metric"] > 0).all()
    assert (sample.gt_depth[0] == 0).all() and (sample.gt_depth[1] == 20).all()
    assert len(sample.pred_instances_3d.bboxes_3d) == 0
