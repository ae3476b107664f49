"""What a global alignment is given: images with canonical views, and matches between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bevdepth_plus.pointmaps.canonical_views import CanonicalView
from bevdepth_plus.pointmaps.matching import Matches


@dataclass(frozen=True)
class Side:
    """One side of all P matches.

    Attributes:
        image: which image, ``[P]``.
        pixels: (u, v) ``[P, 2]``.
        anchor: index into the anchor depths of all images, one after the other, ``[P]``.
        ratio: depth over the anchor's depth, ``[P]``.
    """

    image: Tensor
    pixels: Tensor
    anchor: Tensor
    ratio: Tensor


@dataclass(frozen=True)
class AlignmentProblem:
    """V images and P matches.

    Attributes:
        sizes: width and height, ``[V, 2]``.
        focals: of the canonical views, pixels, ``[V]``.
        anchor_depth: of all images, one after the other, ``[A]``, 1 where there is none.
        anchor_image: which image each anchor belongs to, ``[A]``.
        median_depth: of each image's anchors, ``[V]``.
        first, second: both sides of the matches.
        weight: confidence of each match, ``[P]``.
        scores: number of matches of each pair, ``[V, V]``.
        dropped: share of the matches whose pixel has no valid depth.
    """

    sizes: Tensor
    focals: Tensor
    anchor_depth: Tensor
    anchor_image: Tensor
    median_depth: Tensor
    first: Side
    second: Side
    weight: Tensor
    scores: Tensor
    dropped: float

    @property
    def num_images(self) -> int:
        return len(self.focals)

    @property
    def num_anchors(self) -> list[int]:
        return torch.bincount(self.anchor_image, minlength=self.num_images).tolist()


def alignment_problem(
    views: Sequence[CanonicalView],
    focals: Tensor,  # [V]
    matches: Mapping[tuple[int, int], Matches],
    names: Sequence[str] | None = None,
    pixel_centre: float = 0.5,
) -> AlignmentProblem:
    """Gather views and matches; a match counts only where both pixels have a valid depth.

    Args:
        names: of the images, for errors; default: their numbers.
        pixel_centre: 0.5 in this project, 0.0 to reproduce the public code.

    Raises:
        ValueError: fewer than two images, an image without any valid depth, or a pair that is not
            two of the images. The line names the image or the pair.
    """
    names = [f"image {i}" for i in range(len(views))] if names is None else names
    if len(views) < 2:
        raise ValueError(f"alignment needs at least two images, got {len(views)}")
    depths, medians = [], []
    for view, name in zip(views, names, strict=True):
        depth = view.anchor_depth[view.anchor_valid]
        if not len(depth) or not depth.isfinite().all():
            raise ValueError(
                f"{name}: no block has a valid depth; its mask is empty, or the network saw nothing"
            )
        medians.append(depth.median())
        depths.append(torch.where(view.anchor_valid, view.anchor_depth, medians[-1]).flatten())
    starts = [0]
    for depth in depths:
        starts.append(starts[-1] + len(depth))

    sides: tuple[list, list] = ([], [])
    weights, total = [], 0
    scores = focals.new_zeros(len(views), len(views))
    for (a, b), pair in sorted(matches.items()):
        if a == b or not (0 <= a < len(views) and 0 <= b < len(views)):
            raise ValueError(f"pair {(a, b)} is not two of the {len(views)} images")
        found = [views[i].offsets(pixels) for i, pixels in ((a, pair.pixels1), (b, pair.pixels2))]
        usable = found[0][2] & found[1][2] & pair.confidence.isfinite() & (pair.confidence > 0)
        total += len(pair)
        scores[a, b] = scores[b, a] = usable.sum()
        for side, i, pixels, (anchor, ratio, _) in zip(
            sides, (a, b), (pair.pixels1, pair.pixels2), found, strict=True
        ):
            image = torch.full_like(anchor[usable], i)
            at = pixels[usable] + pixel_centre
            side.append((image, at, anchor[usable] + starts[i], ratio[usable]))
        weights.append(pair.confidence[usable])
    weight = torch.cat(weights) if weights else focals.new_zeros(0)
    if not len(weight):
        raise ValueError("no match between any two images is valid: they do not overlap")
    first, second = (
        Side(*(torch.cat(parts) for parts in zip(*side, strict=True))) for side in sides
    )
    lengths = torch.tensor([len(depth) for depth in depths], device=focals.device)
    return AlignmentProblem(
        sizes=focals.new_tensor([view.valid.shape[::-1] for view in views]),
        focals=focals,
        anchor_depth=torch.cat(depths),
        anchor_image=torch.arange(len(views), device=focals.device).repeat_interleave(lengths),
        median_depth=torch.stack(medians),
        first=first,
        second=second,
        weight=weight,
        scores=scores,
        dropped=1 - len(weight) / total,
    )
