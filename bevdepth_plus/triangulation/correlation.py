"""Descriptors at places of the image, and how alike two of them are.

A map of stride s has its cells' centres at ``s (j + 0.5)``: with pixel centres at integers + 0.5,
pixel u lies at column ``u / s - 0.5`` of the map, for every size and stride.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

_SMALLEST_NORM = 1e-6  # squared
# A product of a whole map costs about as much as sampling one descriptor for so many of its cells.
_CELLS_PER_SAMPLE = 114


class _Corners(NamedTuple):
    """The four cells round each sample: flat index of the upper left one, and steps from it.

    Attributes:
        index: ``[..., S]``; ``right`` and ``down``: 0 at the last column and row, else 1 and the
            width.
        weights: of upper left, upper right, lower left, lower right, ``[..., S]`` each.
    """

    index: Tensor
    right: Tensor
    down: Tensor
    weights: tuple[Tensor, Tensor, Tensor, Tensor]


def sample_descriptors(
    descriptors: Tensor,  # [B, C, h, w]
    pixels: Tensor,  # [B, P, 2], (u, v), centres at integers + 0.5
    stride: int,
) -> Tensor:
    """Descriptors between the cells, of length 1, ``[B, C, P]``; beyond the last cell, its own."""
    return functional.normalize(sample_maps(descriptors, pixels, stride), dim=1)


def sample_maps(
    maps: Tensor,  # [B, C, h, w]
    pixels: Tensor,  # [B, P, 2], (u, v), centres at integers + 0.5
    stride: int,
) -> Tensor:
    """Values between the cells, ``[B, C, P]``; beyond the last cell, its own."""
    height, width = maps.shape[-2:]
    grid = pixels / pixels.new_tensor([width, height]) * (2 / stride) - 1
    found = functional.grid_sample(maps, grid[:, None], padding_mode="border", align_corners=False)
    return found[:, :, 0]


def correlate(
    queries: Tensor,  # [B, C, P], of length 1
    descriptors: Tensor,  # [B, V, C, h, w]
    pixels: Tensor,  # [B, V, P, S, 2], where to look in each view
    stride: int,
) -> Tensor:
    """Cosine of each query with the descriptors at its S places in each view, ``[B, V, P, S]``.

    The same as sampling descriptors bilinearly, giving them length 1 and multiplying, but without
    sampling a single descriptor: the product with a mean of four cells is the mean of four
    products, so all products come from one matrix product and the samples are of single numbers.
    The length of that mean follows from products of neighbouring cells. A map of many more cells
    than samples is sampled after all.
    """
    if descriptors.shape[-2:].numel() > _CELLS_PER_SAMPLE * pixels.shape[-2]:
        return _correlate_samples(queries, descriptors, pixels, stride)
    flat = descriptors.flatten(-2)  # [B, V, C, h * w]
    products = queries.transpose(1, 2)[:, None] @ flat  # [B, V, P, h * w]
    corners = _corners(pixels / stride - 0.5, descriptors.shape[-2:])
    right, below = corners.index + corners.right, corners.index + corners.down
    places = (corners.index, right, below, below + corners.right)
    values = (products.gather(-1, place) for place in places)
    found = sum(weight * value for weight, value in zip(corners.weights, values, strict=True))
    square = _square_of_mean(descriptors, corners)
    return found * square.clamp(min=_SMALLEST_NORM).rsqrt()


def _correlate_samples(
    queries: Tensor,  # [B, C, P]
    descriptors: Tensor,  # [B, V, C, h, w]
    pixels: Tensor,  # [B, V, P, S, 2]
    stride: int,
) -> Tensor:
    """The same from sampled descriptors, ``[B, V, P, S]``."""
    corners = _corners(pixels / stride - 0.5, descriptors.shape[-2:])
    maps = descriptors.flatten(-2).mT.flatten(0, 2)  # [B * V * h * w, C]: a cell is one row
    first = torch.arange(pixels.shape[:2].numel(), device=pixels.device)
    first = first.view(*pixels.shape[:2], 1, 1) * descriptors.shape[-2:].numel()
    index = corners.index + first
    right, below = index + corners.right, index + corners.down
    found = sum(
        weight[..., None] * maps[place]
        for weight, place in zip(
            corners.weights, (index, right, below, below + corners.right), strict=True
        )
    )  # [B, V, P, S, C]
    cosines = (found @ queries.mT[:, None, :, :, None])[..., 0]
    return cosines * found.square().sum(-1).clamp(min=_SMALLEST_NORM).rsqrt()


def _corners(
    places: Tensor,  # [..., 2], column and row of the map, centres at integers
    size: tuple[int, int],
) -> _Corners:
    height, width = size
    column = places[..., 0].clamp(0, width - 1)
    row = places[..., 1].clamp(0, height - 1)
    left, upper = column.detach().floor(), row.detach().floor()
    x, y = column - left, row - upper
    right = (left < width - 1).long()
    down = (upper < height - 1).long() * width
    index = (upper * width + left).long()
    weights = ((1 - x) * (1 - y), x * (1 - y), (1 - x) * y, x * y)
    return _Corners(index, right, down, weights)


def _square_of_mean(
    descriptors: Tensor,  # [B, V, C, h, w]
    corners: _Corners,  # of [B, V, P, S]
) -> Tensor:
    """Squared length of the weighted mean of each sample's four cells, ``[B, V, P, S]``."""

    def shifted(rows: int, columns: int) -> Tensor:
        """Each cell's neighbour; beyond the last row and column, the cell itself there."""
        moved = descriptors
        if rows:
            moved = torch.cat([moved[..., 1:, :], moved[..., -1:, :]], dim=-2)
        if columns:
            moved = torch.cat([moved[..., 1:], moved[..., -1:]], dim=-1)
        return moved

    a, b, c, d = shifted(0, 0), shifted(0, 1), shifted(1, 0), shifted(1, 1)
    pairs = (a * a, b * b, c * c, d * d, a * b, a * c, a * d, b * c, b * d, c * d)
    grams = torch.stack([pair.sum(2) for pair in pairs], dim=2).flatten(-2)  # [B, V, 10, h * w]
    wa, wb, wc, wd = corners.weights
    factors = (wa * wa, wb * wb, wc * wc, wd * wd)
    factors += tuple(2 * one * other for one, other in ((wa, wb), (wa, wc), (wa, wd)))
    factors += tuple(2 * one * other for one, other in ((wb, wc), (wb, wd), (wc, wd)))
    index = corners.index.flatten(-2)  # [B, V, P * S]
    total = torch.zeros_like(wa)
    for number, factor in enumerate(factors):
        total = total + factor * grams[:, :, number].gather(-1, index).reshape_as(wa)
    return total
