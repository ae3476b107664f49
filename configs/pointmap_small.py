"""Two-view pointmaps on synthetic driving video, small enough for a CPU."""

_base_ = [
    "_base_/sequence_loaders.py",
    "_base_/schedule_cpu.py",
    "_base_/default_runtime.py",
]

data_root = "data/synthetic_video"
final_dim = (96, 256)  # multiples of 16

model = dict(
    type="PointmapTraining",
    network=dict(
        encoder_dim=128,
        encoder_depth=4,
        encoder_heads=4,
        decoder_dim=128,
        decoder_depth=4,
        decoder_heads=4,
        head="linear",
    ),
    metric=True,
    compress="both",
    max_distance=120.0,  # metres
)

source = dict(layout="nuscenes", root=data_root)
pairs = dict(final_dim=final_dim, num_views=2, gap=1, source_depth=True)
train_source = dict(**source, ann_file="bevdepth_plus_infos_train.pkl")
val_source = dict(**source, ann_file="bevdepth_plus_infos_val.pkl")
train_dataloader = dict(
    batch_size=4,
    num_workers=1,
    pin_memory=False,
    dataset=dict(**pairs, sources=[train_source]),
)
val_dataloader = dict(batch_size=8, num_workers=1, dataset=dict(**pairs, sources=[val_source]))
test_dataloader = val_dataloader
val_evaluator = dict(type="PointmapMetric")
test_evaluator = val_evaluator

num_steps = 1000
warm_up = num_steps // 20
train_cfg = dict(max_iters=num_steps, val_interval=num_steps)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.04, by_epoch=False, begin=0, end=warm_up),
    dict(
        type="CosineAnnealingLR",
        eta_min_ratio=1e-3,
        by_epoch=False,
        begin=warm_up,
        end=num_steps,
        T_max=num_steps - warm_up,
    ),
]
optim_wrapper = dict(optimizer=dict(lr=1e-3, weight_decay=0.05, betas=(0.9, 0.95)))
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=500, max_keep_ckpts=1))
custom_hooks = [
    *_base_.custom_hooks,
    dict(type="PointmapNetworkHook"),
]
log_processor = dict(by_epoch=False)
