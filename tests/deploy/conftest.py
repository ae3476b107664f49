"""Every recipe with tiny networks: the same modules, few channels and layers, traced in seconds."""

from __future__ import annotations

import copy
import logging
from pathlib import Path

import pytest
import torch
from mmdet3d.registry import MODELS
from mmdet3d.utils import register_all_modules
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch import nn

import bevdepth_plus.plugin  # noqa: F401

# torch.export writes a record for every tensor; pytest would keep them all.
logging.getLogger("torch.__trace").propagate = False

CONFIGS = Path(__file__).resolve().parents[2] / "configs"


def tiny(model: dict) -> dict:
    """The config of a model with one stage of each network and 64 x 96 pixels."""
    model = copy.deepcopy(model)
    model.image_size = (64, 96)
    x, y, z = model.grid.x, model.grid.y, model.grid.z
    model.grid = dict(x=(x[0], x[1], x[2] * 4), y=(y[0], y[1], y[2] * 4), z=z)
    model.depth_bins.step = 4.0
    one_stage = dict(
        depth=18,
        num_stages=1,
        strides=(1,),
        dilations=(1,),
        out_indices=(0,),
        base_channels=8,
        stem_channels=8,
        frozen_stages=-1,
        init_cfg=None,
    )
    model.image_encoder.backbone.update(one_stage, strides=(2,))
    model.image_encoder.neck.update(out_channels=[8], upsample_strides=[0.5])
    model.image_encoder.update(stride=16, coarsest_stride=32)
    model.depth.depth_net.update(mid_channels=8, context_channels=4)
    if "canonical_bins" in model.depth and model.depth.canonical_bins:
        model.depth.canonical_bins.bins.step = 8.0
    for prior in (model.depth.get("priors") or {}).values():
        prior.update(mid_channels=8, num_bins=12)
    if model.view_transform.get("refinement"):
        model.view_transform.refinement.channels = 4
    encoder = model.temporal.encoder
    encoder.backbone.update(one_stage)
    encoder.neck.update(out_channels=[4, 4], upsample_strides=[1, 2])
    boxes = model.heads.boxes
    boxes.update(share_conv_channel=8)
    boxes.separate_head.head_conv = 4
    if boxes.type == "MotionCenterHead":
        boxes.update(motion_channels=4, dilations=(1, 2))
    return model


@pytest.fixture(scope="session")
def load_tiny():
    """``load_tiny(name, more_heads, **model)``: a tiny detector of a config, stirred."""
    register_all_modules()
    init_default_scope("mmdet3d")

    def load(name: str, more_heads: dict | None = None, **changes):
        model = tiny(Config.fromfile(CONFIGS / f"{name}.py").model)
        model.update(changes)
        model.heads.update(more_heads or {})
        torch.manual_seed(0)
        detector = MODELS.build(model)
        stir(detector)
        return detector.eval().requires_grad_(False)

    return load


def stir(detector: nn.Module) -> None:
    """Weights that nothing cancels: offsets, statistics and heatmaps that are not constant."""
    for name, module in detector.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
        if name.endswith("conv_offset"):
            nn.init.normal_(module.weight, std=0.05)
            nn.init.normal_(module.bias, std=0.5)
    boxes = detector.heads["boxes"]
    for task in boxes.task_heads:
        nn.init.normal_(task.heatmap[-1].weight, std=0.5)
    if hasattr(boxes, "motion"):
        nn.init.normal_(boxes.motion[-1].weight, std=0.2)
