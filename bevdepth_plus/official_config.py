"""The public BEVDepth code's configs -> ours, its quirks as named options."""

from __future__ import annotations

OFFICIAL_CLASSES = (
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


def model_config(config: dict, max_objs: int = 500) -> dict:
    """Our model config for a parity folder's ``config.json``, all quirks of the public code on."""
    context, cell, bev_base = config["context"], config["cell"], config["bev_base"]
    start, stop, step = config["d_bound"]
    frames = config["sweeps"]
    neck_channels, bev_neck = config["neck"], config["bev_neck"]
    return dict(
        type="BEVDepth",
        grid=dict(x=(-51.2, 51.2, cell), y=(-51.2, 51.2, cell), z=(-5.0, 3.0, 8.0)),
        depth_bins=dict(start=start, stop=stop, step=step, plane="left"),
        image_size=config["final_dim"],
        depth_net_sees_key_rig=True,
        img_backbone=dict(
            type="mmdet.ResNet",
            depth=config["depth"],
            base_channels=config["base"],
            out_indices=(0, 1, 2, 3),
        ),
        img_neck=dict(
            type="SECONDFPN",
            in_channels=config["neck_in"],
            out_channels=[neck_channels] * 4,
            upsample_strides=[0.25, 0.5, 1, 2],
        ),
        depth_net=dict(
            type="DepthNet",
            in_channels=4 * neck_channels,
            mid_channels=config["mid"],
            context_channels=context,
            image_level_norm="batch",
        ),
        view_transform=dict(type="LiftSplat", frustum="corners", rounding="truncate"),
        temporal_fusion=dict(type="ConcatFusion") if frames > 1 else None,
        bev_encoder=dict(
            type="BEVEncoder",
            backbone=dict(
                type="mmdet.ResNet",
                in_channels=context * frames,
                depth=18,
                base_channels=bev_base,
                num_stages=3,
                strides=(1, 2, 2),
                dilations=(1, 1, 1),
                out_indices=(0, 1, 2),
            ),
            neck=dict(
                type="SECONDFPN",
                in_channels=[context * frames, bev_base, 2 * bev_base, 4 * bev_base],
                out_channels=[bev_neck] * 4,
                upsample_strides=[1, 2, 4, 8],
            ),
        ),
        bbox_head=dict(
            type="BEVCenterHead",
            classes=OFFICIAL_CLASSES,
            in_channels=4 * bev_neck,
            tasks=[dict(class_names=list(names)) for names in _TASKS],
            common_heads=dict(reg=(2, 2), height=(1, 2), dim=(3, 2), rot=(2, 2), vel=(2, 2)),
            separate_head=dict(type="SeparateHead", init_bias=-2.19, final_kernel=3),
            loss_cls=dict(type="mmdet.GaussianFocalLoss", reduction="mean"),
            loss_bbox=dict(type="mmdet.L1Loss", reduction="mean", loss_weight=0.25),
            bbox_coder=dict(
                post_center_range=[-61.2, -61.2, -10.0, 61.2, 61.2, 10.0],
                max_num=500,
                score_threshold=0.1,
            ),
            train_cfg=dict(
                gaussian_overlap=0.1,
                max_objs=max_objs,
                min_radius=2,
                code_weights=[1.0] * 8 + [0.5] * 2,
            ),
            test_cfg=dict(
                nms_type="circle", min_radius=[4, 12, 10, 1, 0.85, 0.175], post_max_size=83
            ),
        ),
        depth_loss=dict(type="BinDepthLoss", loss_weight=3.0),
    )
