"""What tells, beside the image, how far a triangulated point may be believed."""

from __future__ import annotations

import torch
from torch import Tensor

from bevdepth_plus.geometry.triangulation import InverseDepth
from bevdepth_plus.triangulation.epipolar_matching import Matches

NUM_MATCH_CUES = 5
_TINY = 1e-3
_LOG_SPREAD = (-7.0, 3.0)  # of the relative standard deviation


def match_cues(
    found: InverseDepth,  # [B, P]
    matches: Matches,  # in V sources
    agreement: Tensor,  # [B, P]
    log_depth: Tensor,  # [B, P], log metres at which the spread is taken
) -> Tensor:
    """Numbers of about 1, without gradient, ``[B, P, 5]``.

    The logarithms of the relative standard deviation and of the most and the least sure match, the
    share of the sources that could look, and how well they agree.
    """
    spread = 0.5 * found.variance.clamp(min=1e-12).log() + log_depth
    sure = matches.confidence.clamp(min=_TINY).log()
    usable = matches.usable.to(spread.dtype).mean(1)
    cues = (spread.clamp(*_LOG_SPREAD), sure.amax(1), sure.amin(1), usable, agreement)
    return torch.stack(cues, dim=-1).detach()
