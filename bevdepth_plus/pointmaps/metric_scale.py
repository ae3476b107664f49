"""Metres from ego motion: how far the vehicle drove tells how large the scene is."""

from __future__ import annotations

import torch
from torch import Tensor


def scale_from_motion(
    centres: Tensor,  # [V, 3], cameras of a reconstruction without scale
    metric_centres: Tensor,  # [V, 3], metres, in any frame
    min_motion: float = 0.05,
) -> tuple[Tensor, Tensor]:
    """What to multiply a reconstruction by, from the distances between all its cameras.

    Distances do not depend on the frame, and the median ignores single wrong cameras. Cameras of
    one rig at one moment may be among them.

    Args:
        min_motion: pairs of cameras nearer than this tell nothing, metres.

    Returns:
        The scale, and its relative spread (median deviation of what pairs say); both scalars.

    Raises:
        ValueError: shapes disagree, or no two cameras are far enough apart.
    """
    if centres.shape != metric_centres.shape or centres.ndim != 2 or centres.shape[1] != 3:
        raise ValueError(
            "centres and metric_centres must both be [V, 3], got "
            f"{tuple(centres.shape)} and {tuple(metric_centres.shape)}"
        )
    ours, metres = torch.pdist(centres), torch.pdist(metric_centres)
    usable = (metres > min_motion) & (ours > 0) & ours.isfinite()
    if not usable.any():
        raise ValueError(f"no two cameras moved more than {min_motion} m: the scale stays unknown")
    ratios = metres[usable] / ours[usable]
    scale = ratios.median()
    return scale, (ratios / scale - 1).abs().median()
