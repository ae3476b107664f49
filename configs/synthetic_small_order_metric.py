"""Order over time for metric depth, too: the fused detector with two frames."""

_base_ = ["synthetic_small_metric.py"]

num_frames = 2
model = dict(
    temporal=dict(num_frames=num_frames, fusion=dict(type="ConcatFusion")),
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
train_dataloader = dict(dataset=dict(num_frames=num_frames))
val_dataloader = dict(dataset=dict(num_frames=num_frames, pipeline=dict(past_depth=past_depth)))
test_dataloader = val_dataloader
