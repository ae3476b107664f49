"""The demo's detector with two key frames: the BEV map of half a second ago beside the present."""

_base_ = ["synthetic_small.py"]

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
