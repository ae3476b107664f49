"""The demo's detector with two frames that must agree on what is nearer: order over time."""

_base_ = ["synthetic_small_2key.py"]

model = dict(
    depth=dict(
        map_losses=dict(
            order=dict(
                type="MatchedDepthOverTime",
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
