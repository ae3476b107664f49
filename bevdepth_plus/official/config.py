"""The public BEVDepth code's configs -> ours, its quirks as named options."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from mmengine.config import Config

from bevdepth_plus.official.models import CLASSES, official_confs

# What of the head's settings does not follow from the grid.
_BBOX_CODER = ("post_center_range", "max_num", "score_threshold")
_TRAIN_CFG = ("gaussian_overlap", "max_objs", "min_radius", "code_weights")
_TEST_CFG = ("nms_type", "min_radius", "post_max_size")


def model_config(config: Mapping, max_objs: int = 500) -> dict:
    """Our model config for a parity folder's ``config.json``, all quirks of the public code on."""
    confs = official_confs(
        frames=config["sweeps"],
        final_dim=config["final_dim"],
        output_channels=config["context"],
        cell=config["cell"],
        d_bound=config["d_bound"],
        img_backbone=dict(depth=config["depth"], base_channels=config["base"]),
        img_neck_in=config["neck_in"],
        img_neck_out=config["neck"],
        mid_channels=config["mid"],
        bev_base=config["bev_base"],
        bev_neck_out=config["bev_neck"],
        max_objs=max_objs,
    )
    model = convert_confs(*confs)
    model["heads"]["boxes"]["classes"] = (
        CLASSES  # the record numbers labels in the public code's order
    )
    return model


def convert_confs(backbone_conf: Mapping, head_conf: Mapping) -> dict:
    """Our model config for the public code's two config dicts, all its quirks on.

    Raises:
        ValueError: a setting is missing, contradicts another one, or has no counterpart here.
    """
    try:
        return _convert(backbone_conf, head_conf)
    except KeyError as missing:
        raise ValueError(f"backbone_conf or head_conf lacks {missing}") from None


def run_config(model: Mapping, base: Path) -> Config:
    """A whole config like ``base``, for a model of :func:`convert_confs`."""
    config = Config.fromfile(base)
    config.model = dict(model)
    config.image_size = tuple(model["image_size"])
    frames = model["temporal"]["num_frames"]
    for split in ("train", "val", "test"):
        dataset = config[f"{split}_dataloader"].dataset
        dataset.num_frames = frames
        dataset.pipeline.augment_images.final_dim = config.image_size
    # Names the base's files use among themselves; they would contradict what is above.
    for name in ("train_pipeline", "test_pipeline", "dataset"):
        config.pop(name, None)
    return config


def _convert(backbone_conf: Mapping, head_conf: Mapping) -> dict:
    start, stop, step = backbone_conf["d_bound"]
    context = backbone_conf["output_channels"]
    bev_channels = head_conf["bev_backbone_conf"]["in_channels"]
    frames, rest = divmod(bev_channels, context)
    if rest or not frames:
        raise ValueError(
            f"head_conf's bev_backbone_conf takes {bev_channels} channels, which is no multiple of "
            f"backbone_conf's output_channels {context}"
        )
    _check_grid(backbone_conf, head_conf)
    view_transform = dict(
        type="LiftSplat",
        stride=backbone_conf["downsample_factor"],
        frustum=dict(rays="corners", rounding="truncate"),
    )
    if backbone_conf.get("use_da", False):
        view_transform["refinement"] = dict(type="DepthRefinement", channels=context)
    return dict(
        type="BEVDepth",
        data_preprocessor=dict(
            type="MultiViewPreprocessor",
            mean=(123.675, 116.28, 103.53),
            std=(58.395, 57.12, 57.375),
            to_rgb=False,
        ),
        grid={axis: tuple(map(float, backbone_conf[f"{axis}_bound"])) for axis in "xyz"},
        depth_bins=dict(start=start, stop=stop, step=step, plane="left"),
        image_size=tuple(backbone_conf["final_dim"]),
        image_encoder=dict(
            type="ImageEncoder",
            backbone=_mmdet(backbone_conf["img_backbone_conf"]),
            neck=dict(backbone_conf["img_neck_conf"]),
            stride=backbone_conf["downsample_factor"],
        ),
        depth=dict(
            type="DepthEstimator",
            depth_net=dict(
                type="DepthNet",
                **backbone_conf["depth_net_conf"],
                context_channels=context,
                image_level_norm="batch",
            ),
            loss=dict(type="BinDepthLoss", loss_weight=3.0),
            key_cameras_for_past=True,
        ),
        view_transform=view_transform,
        temporal=dict(
            type="TemporalEncoder",
            num_frames=frames,
            fusion=dict(type="ConcatFusion") if frames > 1 else None,
            encoder=dict(
                type="BEVEncoder",
                backbone=_mmdet(head_conf["bev_backbone_conf"]),
                neck=dict(head_conf["bev_neck_conf"]),
            ),
        ),
        heads=dict(boxes=_head(head_conf)),
    )


def _head(head_conf: Mapping) -> dict:
    nms = head_conf["test_cfg"]["nms_type"]
    if nms != "circle":
        raise ValueError(f"head_conf's test_cfg.nms_type must be 'circle', got {nms!r}")
    return dict(
        type="BEVCenterHead",
        in_channels=head_conf["in_channels"],
        tasks=[dict(class_names=list(task["class_names"])) for task in head_conf["tasks"]],
        common_heads=dict(head_conf["common_heads"]),
        separate_head=dict(type="SeparateHead", init_bias=-2.19, final_kernel=3),
        loss_cls=_mmdet(head_conf["loss_cls"]),
        loss_bbox=_mmdet(head_conf["loss_bbox"]),
        bbox_coder={key: head_conf["bbox_coder"][key] for key in _BBOX_CODER},
        train_cfg={key: head_conf["train_cfg"][key] for key in _TRAIN_CFG},
        test_cfg={key: head_conf["test_cfg"][key] for key in _TEST_CFG},
    )


def _mmdet(conf: Mapping) -> dict:
    """A module's config in mmdet's scope; weights come from the checkpoint, not from init_cfg."""
    return {**{k: v for k, v in conf.items() if k != "init_cfg"}, "type": f"mmdet.{conf['type']}"}


def _check_grid(backbone_conf: Mapping, head_conf: Mapping) -> None:
    """Heatmap cells are BEV cells here; the public code keeps both and trusts they agree."""
    for index, axis in enumerate("xy"):
        lower, _, cell = backbone_conf[f"{axis}_bound"]
        target = head_conf["train_cfg"]
        target_cell = target["voxel_size"][index] * target["out_size_factor"]
        target_lower = target["point_cloud_range"][index]
        if not (math.isclose(cell, target_cell) and math.isclose(lower, target_lower)):
            raise ValueError(
                f"{axis}_bound starts at {lower} m with cells of {cell} m, head_conf's train_cfg "
                f"at {target_lower} m with {target_cell:g} m; they must agree"
            )
