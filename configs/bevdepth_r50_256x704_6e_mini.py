"""The base recipe on v1.0-mini, short: whether everything runs, not how well."""

_base_ = ["bevdepth_r50_256x704_24e.py"]

data_root = "data/nuscenes_mini"
train_dataloader = dict(dataset=dict(data_root=data_root))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + "/bevdepth_plus_infos_val.pkl")
test_evaluator = val_evaluator

train_cfg = dict(max_epochs=6, val_interval=6)
param_scheduler = [dict(type="MultiStepLR", by_epoch=True, milestones=[5], gamma=0.1)]
