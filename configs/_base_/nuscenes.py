data_root = "data/nuscenes/"
image_size = (256, 704)
camera_names = (
    "CAM_FRONT_LEFT",
    "CAM_FRONT",
    "CAM_FRONT_RIGHT",
    "CAM_BACK_LEFT",
    "CAM_BACK",
    "CAM_BACK_RIGHT",
)
data_prefix = dict(pts="samples/LIDAR_TOP", **{name: f"samples/{name}" for name in camera_names})

train_pipeline = [
    dict(type="LoadMultiViewImages"),
    # BEVDepth: resize 0.386 to 0.55 of a 1600 pixel image, that is 0.877 to 1.25 of the input's width
    dict(
        type="ImageAugmentation",
        final_dim=image_size,
        scale=(0.877, 1.25),
        rotation=(-5.4, 5.4),
        flip=True,
        training=True,
    ),
    dict(type="LoadLidarPoints"),
    dict(type="LidarDepthMaps"),
    dict(
        type="BEVAugmentation", rotation=(-22.5, 22.5), scale=(0.95, 1.05), flip_x=0.5, flip_y=0.5
    ),
    dict(type="PackBEVInputs"),
]
test_pipeline = [
    dict(type="LoadMultiViewImages"),
    dict(type="ImageAugmentation", final_dim=image_size),
    dict(type="LoadLidarPoints"),
    dict(type="LidarDepthMaps"),
    dict(type="PackBEVInputs"),
]

dataset = dict(
    type="NuScenesBEVDataset",
    data_root=data_root,
    data_prefix=data_prefix,
    camera_names=camera_names,
)
train_dataloader = dict(
    batch_size=8,
    num_workers=4,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type="DefaultSampler", shuffle=True),
    dataset=dict(
        **dataset, ann_file="bevdepth_plus_infos_train.pkl", pipeline=train_pipeline, test_mode=False
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        **dataset, ann_file="bevdepth_plus_infos_val.pkl", pipeline=test_pipeline, test_mode=True
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type="NuScenesBEVMetric", ann_file=data_root + "bevdepth_plus_infos_val.pkl")
test_evaluator = val_evaluator
