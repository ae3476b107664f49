model = dict(
    type="BEVDepth",
    grid=dict(x=(-51.2, 51.2, 0.8), y=(-51.2, 51.2, 0.8), z=(-5.0, 3.0, 8.0)),
    depth_bins=dict(start=2.0, stop=58.0, step=0.5),
    image_size=(256, 704),
    data_preprocessor=dict(
        type="MultiViewPreprocessor",
        mean=(123.675, 116.28, 103.53),
        std=(58.395, 57.12, 57.375),
    ),
    image_encoder=dict(
        type="ImageEncoder",
        backbone=dict(
            type="mmdet.ResNet",
            depth=50,
            out_indices=(0, 1, 2, 3),
            norm_eval=False,  # mmdet's default freezes the statistics of every BatchNorm
            init_cfg=dict(type="Pretrained", checkpoint="torchvision://resnet50"),
        ),
        neck=dict(
            type="SECONDFPN",
            out_channels=[128, 128, 128, 128],
            upsample_strides=[0.25, 0.5, 1, 2],
        ),
        stride=16,
    ),
    depth=dict(
        type="DepthEstimator",
        depth_net=dict(type="DepthNet", mid_channels=512, context_channels=80),
        loss=dict(type="BinDepthLoss", loss_weight=3.0),
    ),
    view_transform=dict(type="LiftSplat"),
    temporal=dict(
        type="TemporalEncoder",
        encoder=dict(
            type="BEVEncoder",
            backbone=dict(
                type="mmdet.ResNet",
                depth=18,
                base_channels=160,
                num_stages=3,
                strides=(1, 2, 2),
                dilations=(1, 1, 1),
                out_indices=(0, 1, 2),
                norm_eval=False,
            ),
            neck=dict(
                type="SECONDFPN",
                out_channels=[64, 64, 64, 64],
                upsample_strides=[1, 2, 4, 8],
            ),
        ),
    ),
    heads=dict(
        boxes=dict(
            type="BEVCenterHead",
            tasks=[
                dict(class_names=["car"]),
                dict(class_names=["truck", "construction_vehicle"]),
                dict(class_names=["bus", "trailer"]),
                dict(class_names=["barrier"]),
                dict(class_names=["motorcycle", "bicycle"]),
                dict(class_names=["pedestrian", "traffic_cone"]),
            ],
            common_heads=dict(reg=(2, 2), height=(1, 2), dim=(3, 2), rot=(2, 2), vel=(2, 2)),
            separate_head=dict(type="SeparateHead", init_bias=-2.19, final_kernel=3),
            loss_cls=dict(type="mmdet.GaussianFocalLoss", reduction="mean"),
            loss_bbox=dict(type="mmdet.L1Loss", reduction="mean", loss_weight=0.25),
            bbox_coder=dict(max_num=500, score_threshold=0.1),
            train_cfg=dict(
                gaussian_overlap=0.1,
                max_objs=500,
                min_radius=2,
                code_weights=[1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.5, 0.5],
            ),
            test_cfg=dict(
                nms_type="circle",
                min_radius=[4, 12, 10, 1, 0.85, 0.175],  # squared metres, one a task
                post_max_size=83,
            ),
        ),
    ),
)
