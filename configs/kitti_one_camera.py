"""KITTI's left colour camera: own classes, a range ahead, no velocities.

Learns one frame on a CPU. For all of KITTI set `data_root`, `ann_file`, `data_prefix` and
`num_steps`, and give the networks the sizes of `_base_/bevdepth_r50.py`.
"""

_base_ = [
    "_base_/bevdepth_r50.py",
    "_base_/nuscenes.py",
    "_base_/schedule_cpu.py",
    "_base_/default_runtime.py",
]

data_root = "{{$BEVDEPTH_PLUS_SHARED:../shared}}/other_datasets/kitti_000008"
ann_file = "000008.pkl"
image_size = (192, 640)  # 1242 x 375 pixels halved; the crop takes a row
reach = 70.4  # metres ahead, as KITTI's LiDAR detectors look
num_steps = 300

model = dict(
    # Nothing is seen behind. KITTI's +-40 m aside, up to a multiple of eight cells.
    grid=dict(x=(0.0, reach, 0.8), y=(-41.6, 41.6, 0.8)),
    depth_bins=dict(stop=72.0, step=1.0),
    image_size=image_size,
    # Learning one frame by heart needs little capacity.
    image_encoder=dict(
        backbone=dict(depth=18, base_channels=32, init_cfg=None), neck=dict(out_channels=[32] * 4)
    ),
    depth=dict(depth_net=dict(mid_channels=64, context_channels=32, use_dcn=False)),
    temporal=dict(encoder=dict(backbone=dict(base_channels=32), neck=dict(out_channels=[32] * 4))),
    heads=dict(
        boxes=dict(
            tasks=None,  # from the classes below
            # No `vel`: KITTI has no velocities.
            common_heads=dict(_delete_=True, reg=(2, 2), height=(1, 2), dim=(3, 2), rot=(2, 2)),
            share_conv_channel=32,
            separate_head=dict(head_conv=16),
            train_cfg=dict(code_weights=[1.0] * 8),
        )
    ),
)

test_pipeline = _base_.test_pipeline
test_pipeline.augment_images.final_dim = image_size
dataset = dict(
    data_root=data_root,
    ann_file=ann_file,
    data_prefix=dict(_delete_=True, pts="", img=""),
    camera_names=("CAM2",),
    metainfo=dict(
        classes=("Car", "Pedestrian", "Cyclist"),
        ignored_classes=("Van", "Truck", "Person_sitting", "Tram", "Misc"),
    ),
)
train_dataloader = dict(
    batch_size=1,
    num_workers=1,
    sampler=dict(type="InfiniteSampler", shuffle=True),
    dataset=dict(
        **dataset,
        # Learning by heart needs no augmentation. For more frames: `flip_x=0` in `augment_bev`,
        # a mirror from front to rear would carry all objects off the grid.
        pipeline=dict(_delete_=True, **test_pipeline),
    ),
)
val_dataloader = dict(num_workers=1, dataset=dict(**dataset, pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(
    ann_file=f"{data_root}/{ann_file}",
    class_range=reach,
    classes_present_only=True,  # the one frame has cars alone
    min_lidar_points=1,
)
test_evaluator = val_evaluator

train_cfg = dict(max_iters=num_steps, val_interval=num_steps)
optim_wrapper = dict(optimizer=dict(weight_decay=1e-4))
warm_up = num_steps // 5
linear, cosine = _base_.param_scheduler
param_scheduler = [
    dict(linear, end=warm_up),
    dict(cosine, begin=warm_up, end=num_steps, T_max=num_steps - warm_up),
]
default_hooks = dict(
    logger=dict(interval=10),
    checkpoint=dict(by_epoch=False, interval=num_steps, max_keep_ckpts=1),
)
log_processor = dict(by_epoch=False, window_size=10)
