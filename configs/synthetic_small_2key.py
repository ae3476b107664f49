"""The demo's detector with two key frames: the BEV map of half a second ago beside the present."""

_base_ = ["synthetic_small.py"]

num_frames = 2
model = dict(temporal=dict(num_frames=num_frames, fusion=dict(type="ConcatFusion")))
train_dataloader = dict(dataset=dict(num_frames=num_frames))
val_dataloader = dict(dataset=dict(num_frames=num_frames))
test_dataloader = val_dataloader
