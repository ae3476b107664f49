"""Depth from motion with the numbers of DELTAS (ECCV 2020) where they are known.

8 GPUs x 3 samples are its batch of 24.
"""

_base_ = ["sequence_loaders.py", "default_runtime.py"]

model = dict(
    type="DepthFromMotion",
    network=dict(
        encoder=dict(
            depth=50, init_cfg=dict(type="Pretrained", checkpoint="torchvision://resnet50")
        ),
        num_points=512,
    ),
    criterion=dict(type="TriangulationCriterion"),
)
train_dataloader = dict(batch_size=3)

num_steps = 100000
train_cfg = dict(by_epoch=False, max_iters=num_steps, val_interval=10000)
val_cfg = dict()
test_cfg = dict()
optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="Adam", lr=1e-4, betas=(0.9, 0.999)),
    clip_grad=dict(max_norm=5),  # ours: a wrong pose of the data must not end a long training
)
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=5000, max_keep_ckpts=3))
log_processor = dict(by_epoch=False)
auto_scale_lr = dict(enable=False, base_batch_size=24)
