"""Two key frames, class-balanced samples (CBGS), depth refinement ("DA") and averaged weights."""

_base_ = ["bevdepth_r50_256x704_24e_2key_ema.py"]

model = dict(
    view_transform=dict(
        refinement=dict(
            type="DepthRefinement", channels=_base_.model.depth.depth_net.context_channels
        ),
    ),
)
train_dataloader = dict(
    dataset=dict(_delete_=True, type="BEVCBGSDataset", dataset=_base_.train_dataloader.dataset)
)
train_cfg = dict(max_epochs=20, val_interval=20)
param_scheduler = [dict(type="MultiStepLR", by_epoch=True, milestones=[16, 19], gamma=0.1)]
