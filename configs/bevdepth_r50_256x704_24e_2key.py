"""Two key frames: the BEV map of half a second ago beside the present one."""

_base_ = ["bevdepth_r50_256x704_24e.py"]

num_frames = 2
model = dict(temporal=dict(num_frames=num_frames, fusion=dict(type="ConcatFusion")))
train_dataloader = dict(dataset=dict(num_frames=num_frames))
val_dataloader = dict(dataset=dict(num_frames=num_frames))
test_dataloader = val_dataloader
