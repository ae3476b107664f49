"""Two key frames, a deeper image backbone and four times the pixels."""

_base_ = ["bevdepth_r50_256x704_24e_2key.py"]

image_size = (512, 1408)
model = dict(
    image_size=image_size,
    image_encoder=dict(
        backbone=dict(
            depth=101, init_cfg=dict(type="Pretrained", checkpoint="torchvision://resnet101")
        )
    ),
)

images = dict(pipeline=dict(augment_images=dict(final_dim=image_size)))
train_dataloader = dict(dataset=images)
val_dataloader = dict(dataset=images)
test_dataloader = val_dataloader
