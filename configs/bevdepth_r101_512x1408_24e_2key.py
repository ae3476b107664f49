"""Two key frames, a deeper image backbone and four times the pixels."""

_base_ = ["bevdepth_r50_256x704_24e_2key.py"]

image_size = (512, 1408)
model = dict(
    image_size=image_size,
    img_backbone=dict(
        depth=101, init_cfg=dict(type="Pretrained", checkpoint="torchvision://resnet101")
    ),
)

train_pipeline = _base_.train_pipeline
train_pipeline[1].update(final_dim=image_size)
test_pipeline = _base_.test_pipeline
test_pipeline[1].update(final_dim=image_size)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
