"""Where source views see a point of the anchor: soft-argmax along its epipolar segment.

After DELTAS (Sinha et al., ECCV 2020, Sec. 3.2): descriptors on a strip along the segment are
compared with the point's own, and the expected place is the match. Ours differ where it matters
for a car: segments are clipped instead of dropped, the place is that of the best peak's
neighbourhood, and the match says how far it may be trusted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from bevdepth_plus.geometry.epipolar import EpipolarSegments, epipolar_segments, sample_segments
from bevdepth_plus.triangulation.correlation import correlate, sample_descriptors
from bevdepth_plus.triangulation.patches import patch_correlation

# Nothing is found more exactly than to a tenth of a pixel.
_SMALLEST_VARIANCE = 0.01


class SampleScores(NamedTuple):
    """What was compared for each point, for the loss that teaches where to look.

    Attributes:
        logits: of S samples of a segment and, last, of "none of them", ``[B, V, P, S + 1]``.
        places: of the samples, pixels, ``[B, V, P, S, 2]``.
    """

    logits: Tensor
    places: Tensor


@dataclass(frozen=True)
class Matches:
    """What V source views say about P points.

    Attributes:
        pixels: where a view sees the point, ``[B, V, P, 2]``.
        variance: of that place along the line, pixels^2, ``[B, V, P]``.
        confidence: probability of the match, 0 to 1, ``[B, V, P]``; 0 where not usable.
        usable: whether the segment lies in the image and is long enough, ``[B, V, P]``.
        scores: of all samples; None in the public code's matcher.
    """

    pixels: Tensor
    variance: Tensor
    confidence: Tensor
    usable: Tensor
    scores: SampleScores | None = None

    @property
    def information(self) -> Tensor:
        """Inverse variance, less where the match is in doubt, 1/pixel^2, ``[B, V, P]``."""
        return self.confidence / self.variance


class EpipolarMatcher(nn.Module):
    """Match points along their epipolar segments.

    Args:
        stride: of the descriptor maps.
        samples: L, along each segment.
        across: offsets of the strip's rows from the line, pixels, for poses that are a little off.
        window: samples to both sides of the best one that the expected place is taken over. A mean
            over the whole segment is drawn to its middle.
        beyond: by which part of the range of inverse depth the search goes on at both ends, so
            that the range's ends themselves are peaks like others.
        min_length: of a segment, pixels; a shorter one tells nothing about depth. This is the
            gate for a vehicle that stands: a baseline counts in pixels, not in metres.
        temperature: of the softmax over cosines, at the start of training.
        threshold: cosine of a match as likely as none, at the start of training.
        patch_radius: of grey patches, pixels, that are compared beside the descriptors, by a share
            that is learnt from one half on. Patches match before anything is learnt, for training
            without pretrained weights. 0: none, as DELTAS.
    """

    def __init__(
        self,
        stride: int = 8,
        samples: int = 100,
        across: Sequence[float] = (-1.0, 0.0, 1.0),
        window: int = 5,
        beyond: float = 0.05,
        min_length: float = 1.0,
        temperature: float = 0.02,
        threshold: float = 0.5,
        patch_radius: int = 0,
    ) -> None:
        super().__init__()
        self.stride = stride
        self.samples = samples
        self.across = tuple(across)
        self.window = window
        self.beyond = beyond
        self.min_length = min_length
        self.log_scale = nn.Parameter(torch.tensor(-math.log(temperature)))
        self.threshold = nn.Parameter(torch.tensor(threshold))
        self.patch_radius = patch_radius
        # Of the descriptors beside the patches, logit.
        self.descriptor_share = nn.Parameter(torch.zeros(())) if patch_radius else None

    def forward(
        self,
        descriptors: Tensor,  # [B, C, h, w], of the anchor
        source_descriptors: Tensor,  # [B, V, C, h, w]
        pixels: Tensor,  # [B, P, 2], of the anchor
        intrinsics: Tensor,  # [B, 3, 3]
        source_intrinsics: Tensor,  # [B, V, 3, 3]
        source_T_anchor: Tensor,  # [B, V, 4, 4]
        size: tuple[int, int],  # height, width of the images
        depth_range: tuple[float, float],  # metres
        images: Tensor | None = None,  # [B, 1 + V, 3, H, W], normalised; for patches
    ) -> Matches:
        """Raises ValueError where a shape is another one, the range is none, or images lack."""
        if self.patch_radius and images is None:
            raise ValueError("a matcher with a patch_radius needs the images, got None")
        inverse_depth_range = widened(depth_range, self.beyond)
        segments = epipolar_segments(
            pixels, intrinsics, source_intrinsics, source_T_anchor, size, inverse_depth_range
        )
        places, _ = sample_segments(segments, self.samples, self.across)  # [B, V, P, R, L, 2]
        queries = sample_descriptors(descriptors, pixels, self.stride)  # [B, C, P]
        where = places.detach().flatten(3, 4)
        cosines = correlate(queries, source_descriptors, where, self.stride)
        if images is not None and self.descriptor_share is not None:
            share = self.descriptor_share.sigmoid()
            alike = patch_correlation(images, pixels, where, self.patch_radius)
            cosines = share * cosines + (1 - share) * alike
        cosines = cosines.unflatten(-1, places.shape[3:5])  # [B, V, P, R, L]
        return self.match(cosines, places, segments)

    def match(
        self,
        cosines: Tensor,  # [B, V, P, R, L]
        places: Tensor,  # [B, V, P, R, L, 2]
        segments: EpipolarSegments,
    ) -> Matches:
        scale = self.log_scale.exp()
        # Probabilities of all samples and of "none of them", which is as likely as the threshold.
        none = (scale * self.threshold).expand(*cosines.shape[:3], 1)
        logits = torch.cat([(scale * cosines).flatten(-2), none], dim=-1)
        share = logits.softmax(dim=-1)[..., :-1].unflatten(-1, cosines.shape[-2:])
        share = share * _window(cosines.detach().amax(-2), self.window)[..., None, :]
        confidence = share.sum((-2, -1))  # [B, V, P]
        share = share / confidence.clamp(min=1e-12)[..., None, None]
        found = (share[..., None] * places).sum((-3, -2))  # [B, V, P, 2]
        along = torch.linspace(-1, 1, self.samples, device=share.device, dtype=share.dtype)
        along = along * segments.length[..., None].detach() / 2  # [B, V, P, L], pixels
        by_sample = share.sum(-2)
        mean = (by_sample * along).sum(-1, keepdim=True)
        variance = (by_sample * (along - mean).square()).sum(-1) + _SMALLEST_VARIANCE
        usable = segments.visible & (segments.length >= self.min_length)
        confidence = torch.where(usable, confidence, 0.0)
        scores = SampleScores(logits, places.flatten(-3, -2))
        return Matches(found, variance, confidence, usable, scores)


def widened(
    depth_range: tuple[float, float],  # metres
    beyond: float,
) -> tuple[float, float]:
    """Inverse depth of the far and of the near end, 1/m, moved apart by a part of the range.

    Raises:
        ValueError: the range is not 0 < near < far.
    """
    near, far = depth_range
    if not 0 < near < far:
        raise ValueError(
            f"depth_range must be (near, far) in metres with 0 < near < far, got {(near, far)}"
        )
    more = beyond * (1 / near - 1 / far)
    return 1 / far - more, 1 / near + more


def _window(
    scores: Tensor,  # [..., L]
    radius: int,
) -> Tensor:
    """Which samples lie within ``radius`` of the best, bool ``[..., L]``."""
    index = torch.arange(scores.shape[-1], device=scores.device)
    return (index - scores.argmax(-1, keepdim=True)).abs() <= radius
