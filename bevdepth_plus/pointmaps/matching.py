"""Matches between two images by their local descriptors.

Source: fast reciprocal nearest neighbours of MASt3R (ECCV 2024), Sec. 3.3.

A descriptor that is masked, not finite or zero takes no part: it is neither seed nor target.
Pixels are (column, row), int64. Confidence is the geometric mean of both descriptors' confidences.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

# Similarities held at once: 1024 queries times 8192 targets are 32 MB in float32.
_QUERIES, _TARGETS = 1024, 8192


@dataclass(frozen=True)
class Matches:
    """P matches between image 1 and image 2, sorted by pixel of image 1, then of image 2.

    Attributes:
        pixels1, pixels2: (column, row), int64 ``[P, 2]``.
        confidence: ``[P]``.
    """

    pixels1: Tensor
    pixels2: Tensor
    confidence: Tensor

    def __len__(self) -> int:
        return len(self.pixels1)

    def __getitem__(self, which: Tensor) -> Matches:
        return Matches(self.pixels1[which], self.pixels2[which], self.confidence[which])

    def swapped(self) -> Matches:
        """The same matches from image 2 to image 1, in the same order."""
        return Matches(self.pixels2, self.pixels1, self.confidence)


@dataclass(frozen=True)
class Descriptors:
    """An image's descriptors, one a pixel.

    Attributes:
        values: ``[H, W, C]``.
        confidence: above 0, ``[H, W]``.
        mask: False where nothing may match, bool ``[H, W]``; None: everything may.
    """

    values: Tensor
    confidence: Tensor
    mask: Tensor | None = None

    def __post_init__(self) -> None:
        size = self.values.shape[:2]
        for name in ("confidence", "mask"):
            other = getattr(self, name)
            if other is not None and other.shape != size:
                raise ValueError(f"{name} must be {tuple(size)}, got {tuple(other.shape)}")

    @property
    def size(self) -> tuple[int, int]:
        return tuple(self.values.shape[:2])

    @property
    def valid(self) -> Tensor:
        """Which pixels take part, bool ``[H * W]``."""
        usable = usable_descriptors(self.values)
        return (usable if self.mask is None else usable & self.mask).flatten()


def match_images(
    both_orders: Iterable[tuple[Descriptors, Descriptors]],
    subsample: int = 8,
) -> Matches:
    """Matches of one image pair from what the network said of it in one or both orders.

    Seeds are spread over each image in turn and both directions are merged. Of a match that is
    found several times, the confidence is that of the first time.

    Args:
        both_orders: (descriptors of image 1, of image 2) for each order of the views.
        subsample: every how many rows and columns a seed stands.
    """
    found, size1, size2 = [], None, None
    for image1, image2 in both_orders:
        size1, size2 = image1.size, image2.size
        forward = fast_reciprocal(image1, image2, subsample)
        backward = fast_reciprocal(image2, image1, subsample).flip(1)
        index = torch.cat([forward, backward])  # [P, 2]
        square = image1.confidence.flatten()[index[:, 0]] * image2.confidence.flatten()[index[:, 1]]
        found.append((index, square.sqrt()))
    index, first = unique_pairs(torch.cat([index for index, _ in found]))
    confidence = torch.cat([confidence for _, confidence in found])[first]
    return Matches(to_pixels(index[:, 0], size1), to_pixels(index[:, 1], size2), confidence)


def fast_reciprocal(
    image1: Descriptors,
    image2: Descriptors,
    subsample: int = 8,
    max_iterations: int = 10,
) -> Tensor:
    """Reciprocal nearest neighbours that seeds in image 1 lead to, flat indices ``[P, 2]``.

    A seed jumps to its nearest neighbour in image 2, from there to the nearest one in image 1, and
    so on, until it stays. Each step computes only the side it needs, for the seeds still moving.
    """
    valid1, valid2 = image1.valid, image2.valid
    values1, values2 = image1.values.flatten(0, 1), image2.values.flatten(0, 1)
    seeds = seed_pixels(image1.size, subsample, valid1.device)
    seeds = seeds[valid1[seeds]]
    if not len(seeds) or not valid2.any():
        return seeds.new_zeros(0, 2)
    here, there = seeds, torch.full_like(seeds, -1)
    kept = []
    for _ in range(max_iterations):
        # Seeds that have met go on together.
        here, there = unique_pairs(torch.stack([here, there], dim=1))[0].unbind(1)
        nearest2 = nearest(values1, values2, here, valid2)
        nearest1 = nearest(values2, values1, nearest2, valid1)
        stays = (nearest2 == there) | (nearest1 == here)
        kept.append(torch.stack([here, nearest2], dim=1)[stays])
        here, there = nearest1[~stays], nearest2[~stays]
        if not len(here):
            break
    return unique_pairs(torch.cat(kept))[0]


def within_tolerance(
    image1: Descriptors,
    image2: Descriptors,
    pixels: Tensor,  # [P, 2], (column, row) in image 1
    tolerance: float,
) -> Tensor:
    """Matches of given pixels that come back within a tolerance, flat indices ``[P', 2]``.

    There and back once; kept where less than ``tolerance`` pixels lie between start and end.
    """
    start = pixels[:, 1] * image1.size[1] + pixels[:, 0]
    valid1, valid2 = image1.valid, image2.valid
    start = start[valid1[start]]
    if not len(start) or not valid2.any():
        return start.new_zeros(0, 2)
    values1, values2 = image1.values.flatten(0, 1), image2.values.flatten(0, 1)
    nearest2 = nearest(values1, values2, start, valid2)
    back = nearest(values2, values1, nearest2, valid1)
    apart = (to_pixels(start, image1.size) - to_pixels(back, image1.size)).double().norm(dim=1)
    return unique_pairs(torch.stack([start, nearest2], dim=1)[apart < tolerance])[0]


def mutual_nearest(image1: Descriptors, image2: Descriptors) -> Tensor:
    """All pixels that are each other's nearest neighbours, flat indices ``[P, 2]``; exact, slow."""
    valid1, valid2 = image1.valid, image2.valid
    index1 = valid1.nonzero()[:, 0]
    if not len(index1) or not valid2.any():
        return index1.new_zeros(0, 2)
    values1, values2 = image1.values.flatten(0, 1), image2.values.flatten(0, 1)
    nearest2 = nearest(values1, values2, index1, valid2)
    back = nearest(values2, values1, nearest2, valid1)
    return torch.stack([index1, nearest2], dim=1)[back == index1]


def nearest(
    queries: Tensor,  # [Q, C]
    targets: Tensor,  # [P, C]
    index: Tensor,  # [...], which of the queries
    valid: Tensor,  # [P], bool, at least one True
) -> Tensor:
    """The valid target of the largest dot product with each query, ``[...]``; ties: the first.

    Each query is computed once however often it is asked for, in blocks of bounded memory.
    """
    allowed = valid.nonzero()[:, 0]
    targets = targets if len(allowed) == len(targets) else targets[allowed]
    asked, back = index.unique(return_inverse=True)
    blocks = [_nearest_of_block(block, targets) for block in queries[asked].split(_QUERIES)]
    return allowed[torch.cat(blocks)[back]]


def _nearest_of_block(queries: Tensor, targets: Tensor) -> Tensor:
    best = queries.new_full((len(queries),), -torch.inf)
    best_index = torch.zeros(len(queries), dtype=torch.int64, device=queries.device)
    for start in range(0, len(targets), _TARGETS):
        similarity, index = (queries @ targets[start : start + _TARGETS].mT).max(dim=1)
        nearer = similarity > best  # strict: the first block wins ties
        best = torch.where(nearer, similarity, best)
        best_index = torch.where(nearer, index + start, best_index)
    return best_index


def refine_subpixel(
    matches: Matches,
    image1: Descriptors,
    image2: Descriptors,
) -> tuple[Tensor, Tensor]:
    """Where the matches lie between pixels, float ``[P, 2]`` twice, centres at integers + 0.5.

    The pixel of image 1 stays; in image 2 a parabola through the similarities of the pixel and of
    its two neighbours in a row (and in a column) has its peak at most half a pixel aside. Beside
    the image's border or a pixel that takes no part, the match stays where it is.
    """
    height, width = image2.size
    columns, rows = matches.pixels2.unbind(1)
    query = image1.values[matches.pixels1[:, 1], matches.pixels1[:, 0]]
    valid = image2.valid.reshape(height, width)

    def similarity(right: int, down: int) -> tuple[Tensor, Tensor]:
        x, y = columns + right, rows + down
        inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
        x, y = x.clamp(0, width - 1), y.clamp(0, height - 1)
        usable = inside & valid[y, x]
        return torch.where(usable, (query * image2.values[y, x]).sum(1), 0), usable

    centre, _ = similarity(0, 0)
    shifts = []
    for right, down in ((1, 0), (0, 1)):
        (after, usable1), (before, usable2) = similarity(right, down), similarity(-right, -down)
        curvature = 2 * centre - after - before
        is_peak = usable1 & usable2 & (centre >= after) & (centre >= before) & (curvature > 0)
        shift = (after - before) / (2 * torch.where(is_peak, curvature, 1))
        shifts.append(torch.where(is_peak, shift.clamp(-0.5, 0.5), 0))
    return matches.pixels1 + 0.5, matches.pixels2 + 0.5 + torch.stack(shifts, dim=1)


def away_from_border(
    matches: Matches,
    size1: tuple[int, int],
    size2: tuple[int, int],
    border: int = 3,
) -> Tensor:
    """Which matches keep that many pixels from the border of both images, bool ``[P]``."""
    kept = torch.ones(len(matches), dtype=torch.bool, device=matches.pixels1.device)
    for pixels, (height, width) in ((matches.pixels1, size1), (matches.pixels2, size2)):
        upper = pixels.new_tensor([width - border, height - border])
        kept &= ((pixels >= border) & (pixels < upper)).all(dim=1)
    return kept


def usable_descriptors(values: Tensor) -> Tensor:  # [..., C] -> [...], bool
    """Which descriptors are finite and not zero: with others every dot product is NaN or a tie."""
    return values.isfinite().all(-1) & (values != 0).any(-1)


def seed_pixels(
    size: tuple[int, int], subsample: int, device: torch.device | None = None
) -> Tensor:
    """Flat indices of a grid of seeds, from half a step on."""
    rows, columns = (torch.arange(subsample // 2, side, subsample, device=device) for side in size)
    return (rows[:, None] * size[1] + columns).flatten()


def unique_pairs(
    pairs: Tensor,  # [P, 2], int64
) -> tuple[Tensor, Tensor]:
    """Pairs sorted and once each ``[P', 2]``, and where each first stood ``[P']``."""
    unique, inverse = pairs.unique(dim=0, return_inverse=True)
    first = torch.full((len(unique),), len(pairs), dtype=torch.int64, device=pairs.device)
    positions = torch.arange(len(pairs), device=pairs.device)
    return unique, first.scatter_reduce(0, inverse, positions, reduce="amin")


def to_pixels(index: Tensor, size: tuple[int, int]) -> Tensor:
    """Flat indices ``[P]`` -> (column, row) ``[P, 2]``."""
    return torch.stack([index % size[1], index // size[1]], dim=-1)
