"""BEVDepth's base recipe: R50, one frame, 24 epochs."""

_base_ = [
    "_base_/bevdepth_r50.py",
    "_base_/nuscenes.py",
    "_base_/schedule_24e.py",
    "_base_/default_runtime.py",
]

model = dict(img_backbone=dict(frozen_stages=0))  # the stem keeps its ImageNet weights
