"""The demo: a detector that learns the synthetic scenes in minutes on two CPU cores."""

_base_ = [
    "_base_/bevdepth_r50.py",
    "_base_/nuscenes.py",
    "_base_/schedule_cpu.py",
    "_base_/default_runtime.py",
]

data_root = "data/synthetic"
image_size = (128, 352)
cell = 0.8

model = dict(
    grid=dict(x=(-51.2, 51.2, cell), y=(-51.2, 51.2, cell)),
    depth_bins=dict(step=1.0),
    image_size=image_size,
    image_encoder=dict(
        backbone=dict(depth=18, base_channels=32, init_cfg=None),
        # To stride 8: small images need finer cells.
        neck=dict(out_channels=[32] * 4, upsample_strides=[0.5, 1, 2, 4]),
        stride=8,
    ),
    depth=dict(
        depth_net=dict(
            mid_channels=64,
            context_channels=48,
            use_dcn=False,  # slow on a CPU
        ),
    ),
    temporal=dict(encoder=dict(backbone=dict(base_channels=48), neck=dict(out_channels=[32] * 4))),
    heads=dict(boxes=dict(share_conv_channel=32, separate_head=dict(head_conv=16))),
)

train_dataloader = dict(
    batch_size=1,
    num_workers=1,
    sampler=dict(type="InfiniteSampler", shuffle=True),
    dataset=dict(
        data_root=data_root,
        unknown_velocity="zero",  # as in all published numbers of the synthetic scenes
        # A short training on simple scenes learns faster without rotations, mirrors and strong
        # rescaling.
        pipeline=dict(
            augment_images=dict(final_dim=image_size, scale=(1.0, 1.1), rot=(0.0, 0.0), flip=False),
            augment_bev=dict(rot=(0.0, 0.0), scale=(1.0, 1.0), flip_x=0.0, flip_y=0.0),
        ),
    ),
)
val_dataloader = dict(
    num_workers=1,
    dataset=dict(data_root=data_root, pipeline=dict(augment_images=dict(final_dim=image_size))),
)
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + "/bevdepth_plus_infos_val.pkl")
test_evaluator = val_evaluator

default_hooks = dict(checkpoint=dict(by_epoch=False, interval=500, max_keep_ckpts=1))
log_processor = dict(by_epoch=False)
