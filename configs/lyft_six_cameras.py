"""Lyft's six cameras all around, from mmdet3d's info files: own classes and range, no velocities."""

_base_ = ["bevdepth_r50_256x704_24e.py"]

data_root = "data/lyft"
reach = 80.0

model = dict(
    grid=dict(x=(-reach, reach, 0.8), y=(-reach, reach, 0.8)),
    depth_bins=dict(stop=82.0),
    heads=dict(
        boxes=dict(
            tasks=None,  # from the classes below
            # No `vel`: mmdet3d's info files of Lyft have no velocities.
            common_heads=dict(_delete_=True, reg=(2, 2), height=(1, 2), dim=(3, 2), rot=(2, 2)),
            train_cfg=dict(code_weights=[1.0] * 8),
        )
    ),
)

dataset = dict(
    data_root=data_root,
    data_prefix=dict(_delete_=True, pts="v1.01-train/lidar", img="v1.01-train/images"),
    metainfo=dict(
        classes=(
            "car",
            "truck",
            "bus",
            "emergency_vehicle",
            "other_vehicle",
            "motorcycle",
            "bicycle",
            "pedestrian",
            "animal",
        )
    ),
)
train_dataloader = dict(dataset=dict(**dataset, ann_file="lyft_infos_train.pkl"))
val_dataloader = dict(dataset=dict(**dataset, ann_file="lyft_infos_val.pkl"))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=f"{data_root}/lyft_infos_val.pkl", class_range=reach)
test_evaluator = val_evaluator
