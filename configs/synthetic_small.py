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

base_channels, context_channels, bev_channels = 32, 48, 48
model = dict(
    grid=dict(x=(-51.2, 51.2, cell), y=(-51.2, 51.2, cell)),
    depth_bins=dict(step=1.0),
    image_size=image_size,
    img_backbone=dict(depth=18, base_channels=base_channels, init_cfg=None),
    img_neck=dict(
        in_channels=[base_channels * 2**level for level in range(4)],
        out_channels=[32] * 4,
        upsample_strides=[0.5, 1, 2, 4],  # to stride 8: small images need finer cells
    ),
    view_transform=dict(stride=8),
    depth_net=dict(
        in_channels=4 * 32,
        mid_channels=64,
        context_channels=context_channels,
        use_dcn=False,  # slow on a CPU
    ),
    bev_encoder=dict(
        backbone=dict(in_channels=context_channels, base_channels=bev_channels),
        neck=dict(
            in_channels=[context_channels, *(bev_channels * 2**level for level in range(3))],
            out_channels=[32] * 4,
        ),
    ),
    bbox_head=dict(in_channels=4 * 32, share_conv_channel=32, separate_head=dict(head_conv=16)),
)

train_pipeline = _base_.train_pipeline
# A short training on simple scenes learns faster without rotations, mirrors and strong rescaling.
train_pipeline[1].update(final_dim=image_size, scale=(1.0, 1.1), rot=(0.0, 0.0), flip=False)
train_pipeline[4].update(rot=(0.0, 0.0), scale=(1.0, 1.0), flip_x=0.0, flip_y=0.0)
test_pipeline = _base_.test_pipeline
test_pipeline[1].update(final_dim=image_size)

train_dataloader = dict(
    batch_size=1,
    num_workers=1,
    sampler=dict(type="InfiniteSampler", shuffle=True),
    dataset=dict(data_root=data_root, pipeline=train_pipeline),
)
val_dataloader = dict(num_workers=1, dataset=dict(data_root=data_root, pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + "/bevdepth_plus_infos_val.pkl")
test_evaluator = val_evaluator

default_hooks = dict(checkpoint=dict(by_epoch=False, interval=500, max_keep_ckpts=1))
log_processor = dict(by_epoch=False)
