"""Depth over time of one sample: from what a model wrote into it to sums that add up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bevdepth_plus.errors import DataError
from bevdepth_plus.evaluation.temporal_depth import TemporalDepthSums, depth_over_time
from bevdepth_plus.geometry.cameras import CameraRig

_PER_MOMENT = ("intrinsics", "ego_T_cam", "image_aug", "camera_mask", "frame_mask")
_NEEDED = (*_PER_MOMENT, "bev_aug", "img_shape", "cam_names")


def temporal_sums(
    sample: Mapping[str, Any], ranges: Sequence[tuple[float, float]]
) -> dict[str, TemporalDepthSums]:
    """The sums of each depth map, by its name; none for a sample without depth over time.

    Args:
        sample: ``pred_depths_over_time``, a dict of ``[S, N, h, w]``, and ``gt_depth_over_time`` of
            that shape, metres on the feature cells, 0 = unknown, key frame first. The metainfo
            (cameras, masks and ``img_shape``, see ``PackBEVInputs``) may hold more than S frames.
        ranges: of true depth, metres.

    Raises:
        DataError: the metainfo lacks something, or a prediction is not finite.
    """
    target = sample.get("gt_depth_over_time")
    if target is None:
        return {}
    lacking = [key for key in _NEEDED if key not in sample]
    if lacking:
        raise DataError(
            f"sample {sample['token']}: depth over time needs {', '.join(lacking)} in the sample; "
            "add it to PackBEVInputs.meta_keys"
        )
    target = target.detach().float().cpu()
    meta = {key: np.asarray(sample[key])[: len(target)] for key in _PER_MOMENT}
    rig = CameraRig.from_metainfo([{**meta, "bev_aug": sample["bev_aug"]}])
    stride = sample["img_shape"][0] // target.shape[-2]
    found = {}
    for name, pred in sample.get("pred_depths_over_time", {}).items():
        pred = pred.detach().float().cpu()
        over_time = depth_over_time(pred, target, rig, meta["frame_mask"], stride)
        found[name] = TemporalDepthSums(ranges)
        found[name].update(over_time, target[0], sample["cam_names"])
    return found
