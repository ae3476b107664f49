"""Depth from motion on ScanNet, with the numbers of DELTAS (ECCV 2020) where they are known.

8 GPUs x 3 samples are its batch of 24. Images are 256 pixels high instead of 240: a multiple of 32.
"""

_base_ = ["_base_/sequence_loaders.py", "_base_/default_runtime.py"]

data_root = "data/scannet"
final_dim = (256, 320)

model = dict(
    type="DepthFromMotion",
    network=dict(
        depth_range=(0.5, 10.0),
        encoder=dict(
            depth=50, init_cfg=dict(type="Pretrained", checkpoint="torchvision://resnet50")
        ),
        num_points=512,
    ),
    criterion=dict(type="TriangulationCriterion"),
)

scannet = dict(layout="scannet")
sequences = dict(final_dim=final_dim, num_views=3, gap=20)
train_dataloader = dict(
    batch_size=3,
    dataset=dict(**sequences, sources=[dict(**scannet, root=f"{data_root}/scans")]),
)
val_dataloader = dict(
    dataset=dict(
        **sequences, sources=[dict(**scannet, root=f"{data_root}/scans_test")], anchor_step=10
    )
)
test_dataloader = val_dataloader
rooms = dict(depth_ranges=((0, 1), (1, 2), (2, 3), (3, 5), (5, 10)))
val_evaluator = dict(**rooms, baselines=((0, 0.02), (0.02, 0.1), (0.1, 0.3), (0.3, 1), (1, 5)))
test_evaluator = val_evaluator

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
