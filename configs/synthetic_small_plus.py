"""The demo's detector with all of metric depth: bevdepth_plus_r50_256x704_24e_2key in small."""

_base_ = ["synthetic_small_metric.py"]

# One channel more than the image features: the ground cue.
model = dict(
    ground_cue=True,
    canonical_bins=dict(
        focal=_base_.model.metric_depth_head.canonical_focal,
        bins=dict(start=1.0, stop=101.0, step=1.0),
    ),
    depth_net=dict(in_channels=_base_.model.depth_net.in_channels + 1),
    metric_depth_head=dict(in_channels=_base_.model.depth_net.in_channels + 1),
)
