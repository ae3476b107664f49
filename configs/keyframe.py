"""One real nuScenes key frame, learnt by heart on a CPU: proof that every frame convention holds."""

_base_ = [
    "_base_/bevdepth_r50.py",
    "_base_/nuscenes.py",
    "_base_/schedule_cpu.py",
    "_base_/default_runtime.py",
]

data_root = "{{$BEVDEPTH_PLUS_SHARED:../shared}}/nuscenes_keyframe"
ann_file = "n015-2018-07-24-11-22-45+0800.pkl"
num_steps = 400

# Learning one frame by heart needs little capacity.
model = dict(
    image_encoder=dict(
        backbone=dict(depth=18, base_channels=32, init_cfg=None), neck=dict(out_channels=[32] * 4)
    ),
    depth=dict(depth_net=dict(mid_channels=64, context_channels=64)),
    temporal=dict(encoder=dict(backbone=dict(base_channels=64))),
)

dataset = dict(
    data_root=data_root,
    ann_file=ann_file,
    data_prefix=dict(_delete_=True, pts="", img=""),
    pipeline=dict(_delete_=True, **_base_.test_pipeline),  # no augmentation
)
train_dataloader = dict(
    batch_size=1,
    num_workers=1,
    sampler=dict(type="InfiniteSampler", shuffle=False),
    dataset=dict(dataset, unknown_velocity="zero"),  # as in the published number
)
val_dataloader = dict(num_workers=1, dataset=dataset)
test_dataloader = val_dataloader
val_evaluator = dict(
    ann_file=f"{data_root}/{ann_file}",
    class_range=_base_.model.grid.x[1],
    classes_present_only=True,
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
