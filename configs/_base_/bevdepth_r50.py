context_channels = 80

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
    img_backbone=dict(
        type="mmdet.ResNet",
        depth=50,
        out_indices=(0, 1, 2, 3),
        norm_eval=False,  # mmdet's default freezes the statistics of every BatchNorm
        init_cfg=dict(type="Pretrained", checkpoint="torchvision://resnet50"),
    ),
    img_neck=dict(
        type="SECONDFPN",
        in_channels=[256, 512, 1024, 2048],
        out_channels=[128, 128, 128, 128],
        upsample_strides=[0.25, 0.5, 1, 2],
    ),
    depth_net=dict(
        type="DepthNet", in_channels=512, mid_channels=512, context_channels=context_channels
    ),
    view_transform=dict(type="LiftSplat"),
    bev_encoder=dict(
        type="BEVEncoder",
        backbone=dict(
            type="mmdet.ResNet",
            in_channels=context_channels,
            depth=18,
            base_channels=2 * context_channels,
            num_stages=3,
            strides=(1, 2, 2),
            dilations=(1, 1, 1),
            out_indices=(0, 1, 2),
            norm_eval=False,
        ),
        neck=dict(
            type="SECONDFPN",
            in_channels=[context_channels * 2**level for level in range(4)],
            out_channels=[64, 64, 64, 64],
            upsample_strides=[1, 2, 4, 8],
        ),
    ),
    bbox_head=dict(
        type="BEVCenterHead",
        in_channels=256,
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
        ),
    ),
    depth_loss=dict(type="BinDepthLoss", loss_weight=3.0),
)
