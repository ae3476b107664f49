"""The public BEVDepth code's own configs, as data, under the names of its experiments."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

CLASSES = (
    "car",
    "truck",
    "construction_vehicle",
    "bus",
    "trailer",
    "barrier",
    "motorcycle",
    "bicycle",
    "pedestrian",
    "traffic_cone",
)
_TASKS = (
    ("car",),
    ("truck", "construction_vehicle"),
    ("bus", "trailer"),
    ("barrier",),
    ("motorcycle", "bicycle"),
    ("pedestrian", "traffic_cone"),
)
_RANGE = [-51.2, -51.2, -5, 51.2, 51.2, 3]  # metres
_TARGET_CELL = 0.2  # metres; a BEV cell is a multiple of it


def official_confs(
    frames: int = 1,
    final_dim: Sequence[int] = (256, 704),
    use_da: bool = False,
    output_channels: int = 80,
    cell: float = 0.8,
    d_bound: Sequence[float] = (2.0, 58.0, 0.5),
    img_backbone: dict | None = None,
    img_neck_in: Sequence[int] = (256, 512, 1024, 2048),
    img_neck_out: int = 128,
    mid_channels: int = 512,
    bev_base: int = 160,
    bev_neck_out: int = 64,
    max_objs: int = 500,
) -> tuple[dict, dict]:
    """``backbone_conf`` and ``head_conf`` in the public code's form; the defaults are its R50."""
    grid = dict(out_size_factor=cell / _TARGET_CELL, voxel_size=[_TARGET_CELL, _TARGET_CELL, 8])
    backbone_conf = dict(
        x_bound=[-51.2, 51.2, cell],
        y_bound=[-51.2, 51.2, cell],
        z_bound=[-5, 3, 8],
        d_bound=list(d_bound),
        final_dim=tuple(final_dim),
        output_channels=output_channels,
        downsample_factor=16,
        img_backbone_conf=dict(
            type="ResNet",
            out_indices=[0, 1, 2, 3],
            **(img_backbone or dict(depth=50, frozen_stages=0, norm_eval=False)),
        ),
        img_neck_conf=dict(
            type="SECONDFPN",
            in_channels=list(img_neck_in),
            upsample_strides=[0.25, 0.5, 1, 2],
            out_channels=[img_neck_out] * 4,
        ),
        depth_net_conf=dict(in_channels=4 * img_neck_out, mid_channels=mid_channels),
        use_da=use_da,
    )
    bev_channels = output_channels * frames
    head_conf = dict(
        bev_backbone_conf=dict(
            type="ResNet",
            in_channels=bev_channels,
            depth=18,
            num_stages=3,
            strides=(1, 2, 2),
            dilations=(1, 1, 1),
            out_indices=[0, 1, 2],
            norm_eval=False,
            base_channels=bev_base,
        ),
        bev_neck_conf=dict(
            type="SECONDFPN",
            in_channels=[bev_channels, bev_base, 2 * bev_base, 4 * bev_base],
            upsample_strides=[1, 2, 4, 8],
            out_channels=[bev_neck_out] * 4,
        ),
        in_channels=4 * bev_neck_out,
        tasks=[dict(num_class=len(names), class_names=list(names)) for names in _TASKS],
        common_heads=dict(reg=(2, 2), height=(1, 2), dim=(3, 2), rot=(2, 2), vel=(2, 2)),
        bbox_coder=dict(
            type="CenterPointBBoxCoder",
            post_center_range=[-61.2, -61.2, -10.0, 61.2, 61.2, 10.0],
            max_num=500,
            score_threshold=0.1,
            code_size=9,
            pc_range=_RANGE,
            **grid,
        ),
        train_cfg=dict(
            point_cloud_range=_RANGE,
            dense_reg=1,
            gaussian_overlap=0.1,
            max_objs=max_objs,
            min_radius=2,
            # The two-frame experiments mean to weigh velocity fully but set `code_weight`, which
            # nothing reads: 0.5 it is.
            code_weights=[1.0] * 8 + [0.5] * 2,
            **grid,
        ),
        test_cfg=dict(
            nms_type="circle", min_radius=[4, 12, 10, 1, 0.85, 0.175], post_max_size=83, **grid
        ),
        loss_cls=dict(type="GaussianFocalLoss", reduction="mean"),
        loss_bbox=dict(type="L1Loss", reduction="mean", loss_weight=0.25),
    )
    return backbone_conf, head_conf


_TWO_KEYS = partial(official_confs, frames=2)
_TWO_KEYS_DA = partial(official_confs, frames=2, use_da=True)
# Averaged weights (EMA) are those of the same model.
OFFICIAL_MODELS: dict[str, Callable[[], tuple[dict, dict]]] = {
    "bev_depth_lss_r50_256x704_128x128_24e": official_confs,
    "bev_depth_lss_r50_256x704_128x128_24e_ema": official_confs,
    "bev_depth_lss_r50_256x704_128x128_24e_2key": _TWO_KEYS,
    "bev_depth_lss_r50_256x704_128x128_24e_2key_ema": _TWO_KEYS,
    "bev_depth_lss_r50_256x704_128x128_20e_cbgs_2key_da": _TWO_KEYS_DA,
    "bev_depth_lss_r50_256x704_128x128_20e_cbgs_2key_da_ema": _TWO_KEYS_DA,
    "bev_depth_lss_r50_512x1408_128x128_24e_2key": partial(
        official_confs, frames=2, final_dim=(512, 1408)
    ),
}
