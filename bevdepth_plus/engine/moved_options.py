"""Options that older configs have elsewhere: one line that names the new place."""

from __future__ import annotations

from collections.abc import Mapping

from bevdepth_plus.errors import DataError

# Old name in `model` -> where it stands now.
_MOVED: Mapping[str, str] = {
    "img_backbone": "model.image_encoder.backbone",
    "img_neck": "model.image_encoder.neck",
    "depth_net": "model.depth.depth_net",
    "depth_loss": "model.depth.loss",
    "metric_depth_head": "model.depth.priors.metric (type MetricDepthPrior)",
    "canonical_bins": "model.depth.canonical_bins",
    "focal_branch": "model.depth.focal_branch",
    "estimate_focal": "model.depth.estimate_focal",
    "ground_cue": "model.depth.ground_cue",
    "depth_net_sees_key_rig": "model.depth.key_cameras_for_past",
    "bev_encoder": "model.temporal.encoder",
    "temporal_fusion": "model.temporal.fusion (with model.temporal.num_frames)",
    "fuse_encoded": "model.temporal.fuse_encoded",
    "bbox_head": "model.heads.boxes",
}


def refuse_moved(model: Mapping) -> None:
    """Refuse a model config of an older version.

    Raises:
        DataError: an option stands elsewhere now; the message says where.
    """
    if model.get("type") != "BEVDepth":
        return
    moved = [f"model.{name} is now {_MOVED[name]}" for name in model if name in _MOVED]
    if moved:
        raise DataError(f"this config is of an older version: {'; '.join(moved)}")
