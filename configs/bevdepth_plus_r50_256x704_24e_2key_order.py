"""Two key frames and metric depth, whose depths must agree on what is nearer: order over time."""

_base_ = ["bevdepth_plus_r50_256x704_24e_2key.py"]

model = dict(
    depth=dict(
        map_losses=dict(
            order=dict(
                type="MatchedDepthOverTime",
                maps=["bin", "metric"],
                loss=dict(type="TemporalOrderLoss", num_pairs=2000),
            ),
        ),
    ),
)
load_flow = dict(type="LoadOpticalFlow", stride=_base_.model.image_encoder.stride)
past_depth = dict(type="PastLidarDepthMaps")
train_dataloader = dict(dataset=dict(pipeline=dict(load_flow=load_flow)))
val_dataloader = dict(dataset=dict(pipeline=dict(past_depth=past_depth)))
test_dataloader = val_dataloader
