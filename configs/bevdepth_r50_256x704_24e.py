"""BEVDepth's base recipe: R50, one frame, 24 epochs."""

_base_ = [
    "_base_/bevdepth_r50.py",
    "_base_/nuscenes.py",
    "_base_/schedule_24e.py",
    "_base_/default_runtime.py",
]

# The stem keeps its ImageNet weights.
model = dict(image_encoder=dict(backbone=dict(frozen_stages=0)))
# The public code teaches objects seen in one key frame only to stand still.
train_dataloader = dict(dataset=dict(unknown_velocity="zero"))
