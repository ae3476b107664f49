"""Waymo's five cameras, from mmdet3d's info files: own classes and range, no velocities."""

_base_ = ["bevdepth_r50_256x704_24e.py"]

data_root = "data/waymo"  # mmdet3d's `kitti_format` folder
reach = 76.8
folders = dict(
    CAM_FRONT="training/image_0",
    CAM_FRONT_LEFT="training/image_1",
    CAM_FRONT_RIGHT="training/image_2",
    CAM_SIDE_LEFT="training/image_3",
    CAM_SIDE_RIGHT="training/image_4",
)

model = dict(
    # The cameras leave out the rear, except for what the two at the sides see of it.
    grid=dict(x=(-32.0, reach, 0.8), y=(-reach, reach, 0.8)),
    depth_bins=dict(stop=78.0),
    heads=dict(
        boxes=dict(
            tasks=None,  # from the classes below
            # No `vel`: mmdet3d's info files of Waymo have no velocities.
            common_heads=dict(_delete_=True, reg=(2, 2), height=(1, 2), dim=(3, 2), rot=(2, 2)),
            train_cfg=dict(code_weights=[1.0] * 8),
        )
    ),
)

dataset = dict(
    data_root=data_root,
    data_prefix=dict(_delete_=True, pts="training/velodyne", **folders),
    camera_names=tuple(folders),
    metainfo=dict(classes=("Car", "Pedestrian", "Cyclist")),
)
train_dataloader = dict(
    dataset=dict(
        **dataset,
        ann_file="waymo_infos_train.pkl",
        # A mirror from front to rear would carry what is far ahead off the grid.
        pipeline=dict(augment_bev=dict(flip_x=0.0)),
    )
)
val_dataloader = dict(dataset=dict(**dataset, ann_file="waymo_infos_val.pkl"))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=f"{data_root}/waymo_infos_val.pkl", class_range=reach)
test_evaluator = val_evaluator
