"""Loaders of SequenceDataset, which a config gives its sources and sizes."""

train_dataloader = dict(
    batch_size=6,
    num_workers=4,
    persistent_workers=True,
    pin_memory=True,
    sampler=dict(type="InfiniteSampler", shuffle=True),
    collate_fn=dict(type="default_collate"),
    dataset=dict(
        type="SequenceDataset",
        pipeline=dict(
            order=["mirror", "jitter"],
            mirror=dict(type="MirrorViews"),
            jitter=dict(type="JitterColours"),
        ),
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=False),
    collate_fn=dict(type="default_collate"),
    dataset=dict(type="SequenceDataset", test_mode=True),
)
test_dataloader = val_dataloader
val_evaluator = dict(type="SequenceDepthMetric")
test_evaluator = val_evaluator
