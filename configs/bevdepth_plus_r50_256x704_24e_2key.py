"""Two key frames, with metric depth in canonical space fused into the bins: for more than one rig."""

_base_ = ["bevdepth_r50_256x704_24e_2key.py"]

focal = 560.0  # nuScenes' front and side cameras at this image size, pixels
model = dict(
    depth=dict(
        ground_cue=True,
        # From the longest to the shortest lens: nuScenes' back camera sees 58 m as 91 m.
        canonical_bins=dict(focal=focal, bins=dict(start=1.0, stop=101.0, step=0.5)),
        priors=dict(
            metric=dict(
                type="MetricDepthPrior",
                mid_channels=256,
                canonical_focal=focal,
                likelihood_weight=2.0,
                losses=dict(silog=dict(type="SILogLoss", loss_weight=2.0)),
                fuse=True,
            ),
        ),
    ),
)
train_dataloader = dict(dataset=dict(unknown_velocity="masked"))
