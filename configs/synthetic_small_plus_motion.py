"""``synthetic_small_plus`` with velocities from two key frames; its boxes stay as they are.

Trains what sees motion, from a checkpoint of ``synthetic_small_plus``:
--cfg-options load_from=CHECKPOINT
"""

_base_ = ["synthetic_small_plus.py"]

num_frames = 2
model = dict(
    temporal=dict(num_frames=num_frames, fusion=dict(type="ConcatFusion"), fuse_encoded=True),
    heads=dict(
        boxes=dict(
            type="MotionCenterHead",
            num_frames=num_frames,
            # Velocities have a loss of their own.
            train_cfg=dict(code_weights=[1.0] * 8 + [0.0] * 2),
        ),
    ),
    frozen=[
        "image_encoder",
        "depth",
        "temporal.encoder",
        "heads.boxes.shared_conv",
        "heads.boxes.task_heads",
    ],
)
train_dataloader = dict(dataset=dict(num_frames=num_frames))
val_dataloader = dict(dataset=dict(num_frames=num_frames))
test_dataloader = val_dataloader
