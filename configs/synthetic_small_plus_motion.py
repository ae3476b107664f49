"""``synthetic_small_plus`` with velocities from two key frames; its boxes stay as they are.

Trains what sees motion, from a checkpoint of ``synthetic_small_plus``:
--cfg-options load_from=CHECKPOINT
"""

_base_ = ["synthetic_small_plus.py"]

model = dict(
    temporal_fusion=dict(type="ConcatFusion"),
    fuse_encoded=True,
    bbox_head=dict(
        type="MotionCenterHead",
        num_frames=2,
        # Velocities have a loss of their own.
        train_cfg=dict(code_weights=[1.0] * 8 + [0.0] * 2),
    ),
    frozen=[
        "img_backbone",
        "img_neck",
        "depth_net",
        "metric_depth_head",
        "bev_encoder",
        "bbox_head.shared_conv",
        "bbox_head.task_heads",
    ],
)
train_dataloader = dict(dataset=dict(num_frames=2))
val_dataloader = dict(dataset=dict(num_frames=2))
test_dataloader = val_dataloader
