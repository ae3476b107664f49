train_cfg = dict(by_epoch=True, max_epochs=24, val_interval=24)
val_cfg = dict()
test_cfg = dict()
optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="AdamW", lr=2e-4, weight_decay=1e-7),  # for a total batch of 64
    clip_grad=dict(max_norm=5, norm_type=2),
)
param_scheduler = [dict(type="MultiStepLR", by_epoch=True, milestones=[19, 23], gamma=0.1)]
auto_scale_lr = dict(enable=False, base_batch_size=64)
