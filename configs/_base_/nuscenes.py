data_root = "data/nuscenes"
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

# The steps have names, so that a config can change one of them. `order` says when each runs; names
# without a step are optional ones.
order = [
    "load_images",
    "augment_images",
    "load_flow",
    "load_points",
    "depth_labels",
    "load_teacher",
    "past_depth",
    "augment_bev",
    "load_map",
    "mark_moving",
    "drop_cameras",  # before drop_boxes: boxes of a lost camera are uncovered
    "drop_boxes",
    "pack",
]
train_pipeline = dict(
    order=order,
    load_images=dict(type="LoadMultiViewImages"),
    # BEVDepth resizes 1600 pixels wide images by 0.386 to 0.55 for an input of 704 (fit: 0.44).
    augment_images=dict(
        type="ImageAugmentation",
        final_dim=image_size,
        scale=(0.386 / 0.44, 0.55 / 0.44),
        rot=(-5.4, 5.4),
        flip=True,
    ),
    load_points=dict(type="LoadLidarPoints"),
    depth_labels=dict(type="LidarDepthMaps"),
    augment_bev=dict(
        type="BEVAugmentation", rot=(-22.5, 22.5), scale=(0.95, 1.05), flip_x=0.5, flip_y=0.5
    ),
    pack=dict(type="PackBEVInputs"),
)
test_pipeline = dict(
    order=order,
    load_images=dict(type="LoadMultiViewImages"),
    augment_images=dict(type="ImageAugmentation", final_dim=image_size, training=False),
    load_points=dict(type="LoadLidarPoints"),
    depth_labels=dict(type="LidarDepthMaps"),
    pack=dict(type="PackBEVInputs"),
)

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
        **dataset,
        ann_file="bevdepth_plus_infos_train.pkl",
        pipeline=train_pipeline,
        test_mode=False,
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
val_evaluator = dict(type="NuScenesBEVMetric", ann_file=data_root + "/bevdepth_plus_infos_val.pkl")
test_evaluator = val_evaluator
