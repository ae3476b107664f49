"""The demo's detector with metric depth learnt in canonical space and fused into the bins."""

_base_ = ["synthetic_small.py"]

model = dict(
    depth=dict(
        priors=dict(
            metric=dict(
                type="MetricDepthPrior",
                mid_channels=64,
                canonical_focal=280.0,  # the side and front cameras' at this image size
                # Weights beside which the bins' loss of weight 3 does not drown it.
                likelihood_weight=2.0,
                losses=dict(silog=dict(type="SILogLoss", loss_weight=2.0)),
                fuse=True,
            ),
        ),
    ),
)
