"""Descriptors at true matches: the loss that teaches them, and how far off their choices are."""

from __future__ import annotations

import torch
from torch import Tensor

from bevdepth_plus.losses.descriptor_matching import descriptor_matching_loss
from bevdepth_plus.pointmaps.heads import Pointmap
from bevdepth_plus.pointmaps.matching import nearest, to_pixels, usable_descriptors
from bevdepth_plus.pointmaps.pair_targets import PosedPair, true_matches


class MatchingOptions:
    """The descriptors' loss at true matches.

    Args:
        num: matches a pair.
        weight: of the loss.
        tolerance: of the z-test, see :func:`true_matches`.
        temperature: see :func:`descriptor_matching_loss`.

    Raises:
        ValueError: a number is out of its range.
    """

    def __init__(
        self,
        num: int = 1024,
        weight: float = 0.075,
        tolerance: float = 0.05,
        temperature: float = 0.05,
    ) -> None:
        if num < 2 or min(weight, tolerance, temperature) <= 0:
            raise ValueError(
                "matching needs num >= 2 and weight, tolerance and temperature above 0, got "
                f"{num}, {weight}, {tolerance} and {temperature}"
            )
        self.num, self.weight = num, weight
        self.tolerance, self.temperature = tolerance, temperature

    def loss(self, own: Pointmap, other: Pointmap, pair: PosedPair) -> Tensor:
        pixels, valid = true_matches(pair, self.num, self.tolerance)
        return self.weight * descriptor_matching_loss(
            (own.descriptors, other.descriptors),
            pixels,
            valid,
            (own.descriptor_confidence, other.descriptor_confidence),
            self.temperature,
        )


def match_errors(
    maps: tuple[Pointmap, Pointmap],  # with descriptors
    pair: PosedPair,
    num: int = 1024,
    tolerance: float = 0.05,
) -> list[Tensor]:
    """How far from the true match the most similar descriptor of the whole view 2 is.

    The matches of a pair are drawn with a fixed seed: they depend neither on its batch nor on what
    ran before.

    Args:
        num, tolerance: see :func:`true_matches`.

    Returns:
        Pixels ``[M]`` for each pair, M at most ``num``: those that both views see. Infinite where
        a descriptor is not usable.
    """
    errors = []
    for index in range(len(pair.first_T_second)):
        one = slice(index, index + 1)
        single = PosedPair(
            tuple(depth[one] for depth in pair.depths),
            tuple(matrix[one] for matrix in pair.intrinsics),
            pair.first_T_second[one],
        )
        (first, second), valid = true_matches(
            single, num, tolerance, torch.Generator().manual_seed(0)
        )
        own, other = (_descriptors(each)[index] for each in maps)
        errors.append(_errors(own, other, first[valid], second[valid]))
    return errors


def _descriptors(view: Pointmap) -> Tensor:  # [B, H, W, C]
    if view.descriptors is None:
        raise ValueError("match errors need a network with descriptors")
    return view.descriptors


def _errors(
    descriptors1: Tensor,  # [H, W, C]
    descriptors2: Tensor,  # [H, W, C]
    pixels1: Tensor,  # [M, 2], (column, row)
    pixels2: Tensor,  # [M, 2], the true matches
) -> Tensor:  # [M], pixels
    size = tuple(descriptors2.shape[:2])
    usable1, usable2 = (usable_descriptors(d).flatten() for d in (descriptors1, descriptors2))
    asked = pixels1[:, 1] * descriptors1.shape[1] + pixels1[:, 0]
    if not len(asked) or not usable2.any():
        return torch.full(asked.shape, torch.inf, device=asked.device)
    found = nearest(descriptors1.flatten(0, 1), descriptors2.flatten(0, 1), asked, usable2)
    errors = (to_pixels(found, size) - pixels2).float().norm(dim=-1)
    return torch.where(usable1[asked], errors, torch.inf)
