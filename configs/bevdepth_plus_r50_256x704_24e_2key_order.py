"""Two key frames and metric depth, whose depths must agree on what is nearer: order over time."""

_base_ = ["bevdepth_plus_r50_256x704_24e_2key.py"]

model = dict(
    depth=dict(
        map_losses=dict(
            order=dict(
                type="MatchedDepthOverTime",
                maps=["bin", "metric"],
                source="rigid",
                loss=dict(type="TemporalOrderLoss", loss_weight=2.0, num_pairs=2000),
            ),
        ),
    ),
)
past_depth = dict(type="PastLidarDepthMaps")
val_dataloader = dict(dataset=dict(pipeline=dict(past_depth=past_depth)))
test_dataloader = val_dataloader
