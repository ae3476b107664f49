"""Interest points and descriptors from one shared encoder.

As DELTAS has it (Sinha et al., ECCV 2020, Sec. 3.1), after SuperPoint (DeTone et al., 2018): a
detector with 64 cells and a dustbin for each 8 x 8 block, a descriptor map at stride 8, half of
the points by score and the others at random, so that points cover what has no corners too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from bevdepth_plus.losses.masking import uniform
from bevdepth_plus.triangulation.encoder import PyramidEncoder, conv_norm_relu

CELL = 8  # pixels: side of a detector's block, and DELTAS's stride of the descriptors
_DUSTBIN = 1  # the block's last logit: no interest point here


class Features(NamedTuple):
    """What :class:`InterestPointNetwork` says about an image.

    Attributes:
        levels: of the encoder, strides 2 to 32.
        logits: of the detector, ``[B, 65, H/8, W/8]``.
        descriptors: of length 1, ``[B, C, H/d, W/d]``, d the descriptors' stride.
    """

    levels: list[Tensor]
    logits: Tensor
    descriptors: Tensor


@dataclass(frozen=True)
class Keypoints:
    """P points of each image.

    Attributes:
        pixels: centres of pixels, (u, v), ``[B, P, 2]``, all different.
        scores: of the detector, ``[B, P]``; falling in the detected points, which come first.
        detected: whether the detector found it; False: a random pixel. ``[B, P]``
    """

    pixels: Tensor
    scores: Tensor
    detected: Tensor


class InterestPointNetwork(nn.Module):
    """Encoder, detector and descriptor.

    Args:
        encoder: of the images.
        channels: of the descriptors.
        hidden_channels: of the detector and the descriptor inside.
        descriptor_stride: of the descriptors: 2, 4 or 8. 8 is DELTAS's, for images 480 pixels high;
            a smaller image needs a finer one.

    Raises:
        ValueError: the stride is another one.
    """

    def __init__(
        self,
        encoder: PyramidEncoder,
        channels: int = 128,
        hidden_channels: int = 256,
        descriptor_stride: int = CELL,
    ) -> None:
        super().__init__()
        if descriptor_stride not in (2, 4, 8):
            raise ValueError(f"descriptor_stride must be 2, 4 or 8, got {descriptor_stride!r}")
        self.encoder = encoder
        self.descriptor_stride = descriptor_stride
        self.detector = DetectorDecoder(encoder.channels[-1], hidden_channels)
        self.descriptor = DescriptorDecoder(encoder.channels, channels, hidden_channels)

    def forward(self, images: Tensor) -> Features:  # [B, 3, H, W], normalised
        levels = self.encoder(images)
        height, width = images.shape[-2:]
        cells = height // CELL, width // CELL
        fine = height // self.descriptor_stride, width // self.descriptor_stride
        descriptors = self.descriptor(levels, fine)
        return Features(levels, self.detector(levels[-1], cells), descriptors)


class DetectorDecoder(nn.Module):
    """The deepest level -> 64 cells and a dustbin for each block."""

    def __init__(self, in_channels: int, hidden_channels: int = 256) -> None:
        super().__init__()
        self.deep = conv_norm_relu(in_channels, hidden_channels, 3)
        self.fine = conv_norm_relu(hidden_channels, hidden_channels // 2, 3)
        self.out = nn.Conv2d(hidden_channels // 2, CELL**2 + _DUSTBIN, 1)

    def forward(
        self,
        deepest: Tensor,  # [B, C, H/32, W/32]
        size: tuple[int, int],  # of the blocks
    ) -> Tensor:
        return self.out(self.fine(resize(self.deep(deepest), size)))  # [B, 65, H/8, W/8]


class DescriptorDecoder(nn.Module):
    """Four levels of the encoder -> descriptors of length 1, of the size that is asked for."""

    def __init__(
        self, level_channels: Sequence[int], channels: int = 128, hidden_channels: int = 256
    ) -> None:
        super().__init__()
        half, quarter, eighth, _, deepest = level_channels
        self.deep = conv_norm_relu(deepest, hidden_channels // 2, 3)
        self.merge = nn.Sequential(
            conv_norm_relu(hidden_channels // 2 + eighth, hidden_channels, 1),
            conv_norm_relu(hidden_channels, hidden_channels, 3),
        )
        self.out = nn.Conv2d(hidden_channels + quarter + half, channels, 1)

    def forward(self, levels: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
        half, quarter, eighth, _, deepest = levels
        coarse = [resize(self.deep(deepest), size), resize(eighth, size)]
        middle = self.merge(torch.cat(coarse, dim=1))
        fine = [resize(quarter, size), resize(half, size)]
        return functional.normalize(self.out(torch.cat([middle, *fine], dim=1)), dim=1)


def score_map(logits: Tensor) -> Tensor:  # [B, 65, H/8, W/8]
    """The probability of each pixel to be its block's interest point, ``[B, H, W]``."""
    return functional.pixel_shuffle(logits.softmax(dim=1)[:, :-_DUSTBIN], CELL)[:, 0]


def suppress_neighbours(
    scores: Tensor,  # [B, H, W]
    radius: int,
) -> Tensor:
    """Scores of the local maxima, 0 elsewhere, ``[B, H, W]``.

    A maximum clears the square of ``radius`` round it; what then is a maximum in the rest is kept
    too, twice over.
    """
    kept = scores == _window_max(scores, radius)
    for _ in range(2):
        cleared = _window_max(kept.to(scores.dtype), radius) > 0
        rest = torch.where(cleared, 0.0, scores)
        kept = kept | ((rest == _window_max(rest, radius)) & ~cleared)
    return torch.where(kept, scores, 0.0)


def select_keypoints(
    scores: Tensor,  # [B, H, W]
    num: int,
    detected_share: float = 0.5,
    threshold: float = 5e-4,
    radius: int = 9,
    border: int = 4,
    generator: torch.Generator | None = None,
    pixel_centre: float = 0.5,
) -> Keypoints:
    """The best points of the detector, and random pixels for the others.

    Args:
        scores: of :func:`score_map`.
        num: P, points of each image.
        detected_share: of the points, at most, that the detector gives.
        threshold: of the score, above which a maximum counts.
        radius: of :func:`suppress_neighbours`, pixels.
        border: pixels at the sides where no point may lie.
        generator: of the random pixels.
        pixel_centre: where in a pixel its point lies; 0.0 reproduces public codes.

    Raises:
        ValueError: the image has fewer pixels than points.
    """
    batch, height, width = scores.shape
    inside = torch.zeros_like(scores, dtype=torch.bool)
    inside[:, border : height - border, border : width - border] = True
    usable = max(height - 2 * border, 0) * max(width - 2 * border, 0)
    if num > usable:
        raise ValueError(
            f"{num} points do not fit an image of {height} x {width} pixels with a border of "
            f"{border}: at most {usable}"
        )
    inside = inside.flatten(1)  # [B, H * W]
    maxima = suppress_neighbours(scores, radius).flatten(1)
    maxima = torch.where(inside & (maxima > threshold), maxima, 0.0)
    best, index = maxima.topk(int(detected_share * num), dim=1)
    # One ranking of all pixels: the detected by score (from 2), the others by lot (from 0 to 1).
    rank = uniform((batch, height * width), scores.device, generator).to(scores.dtype)
    rank = torch.where(inside, rank, -1.0)
    rank = rank.scatter(1, index, torch.where(best > 0, best + 2, rank.gather(1, index)))
    value, index = rank.topk(num, dim=1)
    column, row = index % width, index.div(width, rounding_mode="floor")
    return Keypoints(
        torch.stack([column, row], dim=-1).to(scores.dtype) + pixel_centre,
        scores.flatten(1).gather(1, index),
        value >= 2,
    )


def resize(
    maps: Tensor,  # [B, C, h, w]
    size: tuple[int, int],
) -> Tensor:
    """Bilinear, by the pixels' areas, not their corners: ``[B, C, *size]``."""
    return functional.interpolate(maps, size=size, mode="bilinear", align_corners=False)


def _window_max(
    scores: Tensor,  # [B, H, W]
    radius: int,
) -> Tensor:
    """The largest value of the square round each pixel: rows, then columns. ``[B, H, W]``"""
    side = 2 * radius + 1
    rows = functional.max_pool2d(scores[:, None], (1, side), stride=1, padding=(0, radius))
    return functional.max_pool2d(rows, (side, 1), stride=1, padding=(radius, 0))[:, 0]
