"""The demo's detector with two frames that must agree on what is nearer: order over time."""

_base_ = ["synthetic_small_2key.py"]

model = dict(
    depth=dict(
        map_losses=dict(
            order=dict(
                type="MatchedDepthOverTime",
                source="rigid",
                loss=dict(type="TemporalOrderLoss", loss_weight=2.0, num_pairs=2000),
            ),
        ),
    ),
)
past_depth = dict(type="PastLidarDepthMaps")
val_dataloader = dict(dataset=dict(pipeline=dict(past_depth=past_depth)))
test_dataloader = val_dataloader
