"""Is a match that of a point which stands still?

Poses alone say where a standing point is seen. What moves across its epipolar line looks more like
a place beside the line; what moves along it looks right in each source, but sources disagree: a
camera beside sees it at the same moment, an older frame elsewhere. The first is the check of
optical flow against rigid flow, with descriptors instead of flow.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bevdepth_plus.geometry.epipolar import PixelLines
from bevdepth_plus.triangulation.correlation import correlate, sample_descriptors

# A place beside the line must look alike by so much more than the line, cosine: equal is static.
_MARGIN = 0.1


def on_line_share(
    descriptors: Tensor,  # [B, C, h, w], of the anchor
    source_descriptors: Tensor,  # [B, V, C, h, w]
    pixels: Tensor,  # [B, P, 2], of the anchor
    matches: Tensor,  # [B, V, P, 2], on the epipolar lines
    lines: PixelLines,
    stride: int,
    radius: int,
    scale: Tensor,  # of cosines, as the matcher's
) -> Tensor:
    """Probability that the best place near a match lies on its line, ``[B, V, P]``.

    Args:
        descriptors, source_descriptors, pixels, matches, lines, scale: see above.
        stride: of the descriptors, pixels; the search goes in such steps.
        radius: of the search, steps to each side.
    """
    steps = torch.arange(-radius, radius + 1, device=matches.device, dtype=matches.dtype) * stride
    offsets = torch.stack(torch.meshgrid(steps, steps, indexing="xy"), dim=-1).flatten(0, 1)
    queries = sample_descriptors(descriptors, pixels, stride)  # [B, C, P]
    places = matches.detach()[..., None, :] + offsets  # [B, V, P, S, 2]
    cosines = correlate(queries, source_descriptors, places, stride)  # [B, V, P, S]
    # The distance of each place from the line; a line without direction is wherever it is.
    direction = lines.slope[..., :2] - matches.detach() * lines.slope[..., 2:]  # [B, V, P, 2]
    direction = direction / direction.norm(dim=-1, keepdim=True).clamp(min=1e-12)
    across = direction[..., None, 0] * offsets[:, 1] - direction[..., None, 1] * offsets[:, 0]
    beside = across.abs() > stride
    best_beside = torch.where(beside, cosines, -1.0).amax(-1)
    best_on = torch.where(beside, -1.0, cosines).amax(-1)
    return torch.sigmoid(scale * (best_on - best_beside + _MARGIN))


def agreement(
    matches: Tensor,  # [B, V, P, 2]
    variance: Tensor,  # [B, V, P], pixels^2
    confidence: Tensor,  # [B, V, P], 0: not used
    lines: PixelLines,
    inverse_depth: Tensor,  # [B, P], of all sources together, 1/m
) -> Tensor:
    """How well the sources agree on one depth, 0 to 1, ``[B, P]``; 1 for a single source.

    The distance of each match from where the common depth would be seen, in standard deviations of
    the match and one pixel; on average over the sources, as the density of a Gaussian.
    """
    seen, before = lines.pixels_at(inverse_depth[:, None].expand_as(variance))
    square = (seen - matches).square().sum(-1) / (variance + 1.0)
    # Behind the camera: as far off as can be.
    square = torch.where(before, square, 100.0)
    weight = confidence / confidence.sum(1, keepdim=True).clamp(min=1e-6)
    return torch.exp(-0.5 * (weight * square).sum(1).clamp(max=100.0))
