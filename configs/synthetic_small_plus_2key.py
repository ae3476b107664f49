"""``synthetic_small_plus`` with two key frames."""

_base_ = ["synthetic_small_plus.py"]

num_frames = 2
bev_channels = _base_.context_channels * num_frames
model = dict(
    temporal_fusion=dict(type="ConcatFusion"),
    bev_encoder=dict(
        backbone=dict(in_channels=bev_channels),
        neck=dict(in_channels=[bev_channels, *_base_.model.bev_encoder.neck.in_channels[1:]]),
    ),
)
train_dataloader = dict(dataset=dict(num_frames=num_frames))
val_dataloader = dict(dataset=dict(num_frames=num_frames))
test_dataloader = val_dataloader
