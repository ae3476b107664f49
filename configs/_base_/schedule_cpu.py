# Warm-up and one cosine, for trainings of minutes on a CPU.
num_steps = 4500
warm_up = num_steps // 20

train_cfg = dict(by_epoch=False, max_iters=num_steps, val_interval=num_steps)
val_cfg = dict()
test_cfg = dict()
optim_wrapper = dict(
    type="AutocastOptimWrapper",
    optimizer=dict(type="AdamW", lr=2e-3, weight_decay=1e-2),
    clip_grad=dict(max_norm=5),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.04, by_epoch=False, begin=0, end=warm_up),
    dict(
        type="CosineAnnealingLR",
        eta_min_ratio=1e-4,
        by_epoch=False,
        begin=warm_up,
        end=num_steps,
        T_max=num_steps - warm_up,
    ),
]
