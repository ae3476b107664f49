"""The demo's detector with all of metric depth: bevdepth_plus_r50_256x704_24e_2key in small."""

_base_ = ["synthetic_small_metric.py"]

model = dict(
    depth=dict(
        ground_cue=True,
        canonical_bins=dict(
            focal=_base_.model.depth.priors.metric.canonical_focal,
            bins=dict(start=1.0, stop=101.0, step=1.0),
        ),
    ),
)
