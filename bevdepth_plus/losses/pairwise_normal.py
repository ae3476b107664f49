"""Pairwise normals: planes are flat, and surfaces meet at edges at the true angle.

Sources: Yin et al., "Learning to recover 3D scene shape from a single image" (CVPR 2021), pairs
on planes and across edges; Metric3D (ICCV 2023), PWN, whose code draws triplets within planes.
"""

from __future__ import annotations

from typing import Any

import torch
from mmdet3d.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional

from bevdepth_plus.geometry.depth_maps import depth_map_points, normal_map, unit
from bevdepth_plus.losses.masking import (
    at_pixels,
    masked_depth,
    masked_mean,
    sample_pixels,
    uniform,
)
from bevdepth_plus.losses.triplets import (
    flat_index,
    kept_triplets,
    triplet_normals,
    triplet_points,
)

EDGE_SHARE = 0.1  # of the strongest gradient of an image: what counts as an edge (Yin et al.)
MAX_COS, MIN_DISTANCE = 0.867, 0.007  # of triplets in a plane (Metric3D's PWN); the latter metres


def pairwise_normal_loss(
    pred: Tensor,  # [B, 1, H, W], metres
    target: Tensor,  # [B, 1, H, W], metres, 0 = none
    mask: Tensor,  # [B, 1, H, W], bool
    intrinsics: Tensor,  # [B, 3, 3], pixels of this depth map
    planes: Tensor | None = None,  # [B, 1, H, W], integers, one for each plane, 0 = none
    guide: Tensor | None = None,  # [B, C, H, W], e.g. the image; None: the target's logarithm
    *,
    num_triplets: int = 5000,
    num_edges: int = 10000,
    pixel_centre: float = 0.5,
    generator: torch.Generator | None = None,
) -> Tensor:
    """:func:`plane_normal_loss` (where planes are given) plus :func:`edge_normal_loss`."""
    loss = edge_normal_loss(
        pred,
        target,
        mask,
        intrinsics,
        guide,
        num_edges=num_edges,
        pixel_centre=pixel_centre,
        generator=generator,
    )
    if planes is None:
        return loss
    return loss + plane_normal_loss(
        pred,
        target,
        mask,
        intrinsics,
        planes,
        num_triplets=num_triplets,
        pixel_centre=pixel_centre,
        generator=generator,
    )


def plane_normal_loss(
    pred: Tensor,  # [B, 1, H, W], metres
    target: Tensor,  # [B, 1, H, W], metres, 0 = none
    mask: Tensor,  # [B, 1, H, W], bool
    intrinsics: Tensor,  # [B, 3, 3]
    planes: Tensor,  # [B, 1, H, W], integers, one for each plane, 0 = none
    triplets: Tensor | None = None,  # [B, T, 3, 2], (y, x); None: drawn
    *,
    num_triplets: int = 5000,
    pixel_centre: float = 0.5,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Mean of ``1 - cos`` between a triplet's predicted normal and the mean one of its plane.

    Triplets lie within one plane each; a plane gets as many as its share of the pixels. Those that
    span no plane in the target are dropped. Sparse depth is enough.

    Args:
        pixel_centre: See :func:`bevdepth_plus.losses.virtual_normal_loss`.

    Returns:
        A float32 scalar; 0 with gradient where no triplet counts.

    Raises:
        ValueError: a shape is wrong.
    """
    if planes.shape != pred.shape:
        raise ValueError(f"planes must be {tuple(pred.shape)}, got {tuple(planes.shape)}")
    pred, target, valid = masked_depth(pred, target, mask)
    labels = torch.where(valid, planes, 0).flatten(1)
    ordered, order = labels.sort(dim=1, stable=True)
    if triplets is None:
        index = _triplets_in_planes(labels, ordered, order, num_triplets, generator)
    else:
        index = flat_index(triplets, pred.shape, corners=3)
    true = triplet_points(depth_map_points(target, intrinsics, pixel_centre), index)
    points = triplet_points(depth_map_points(pred, intrinsics, pixel_centre), index)
    label = at_pixels(labels[..., None], index)[..., 0]
    kept = (label[..., 0] > 0) & (label == label[..., :1]).all(-1)
    kept = kept & kept_triplets(true, MAX_COS, MIN_DISTANCE)

    normals = triplet_normals(points)
    faces_away = (normals * points[..., 0, :]).sum(-1, keepdim=True) > 0
    normals = torch.where(faces_away, -normals, normals)  # all towards the camera
    # The mean normal of each plane, summed where its label starts in the ordered labels.
    plane = torch.searchsorted(ordered, label[..., 0].contiguous())
    sums = normals.new_zeros(*labels.shape, 3).scatter_add(
        1, plane[..., None].expand(-1, -1, 3), torch.where(kept[..., None], normals, 0.0)
    )
    cos = (normals * unit(at_pixels(sums, plane))).sum(-1)
    return masked_mean(1 - cos, kept)


def edge_normal_loss(
    pred: Tensor,  # [B, 1, H, W], metres
    target: Tensor,  # [B, 1, H, W], metres, 0 = none
    mask: Tensor,  # [B, 1, H, W], bool
    intrinsics: Tensor,  # [B, 3, 3]
    guide: Tensor | None = None,  # [B, C, H, W], e.g. the image; None: the target's logarithm
    *,
    num_edges: int = 10000,
    distance: tuple[float, float] = (3.0, 20.0),
    pixel_centre: float = 0.5,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Mean of ``|cos(pred pair) - cos(true pair)|`` of normals on both sides of edges.

    On the line across an edge four pixels are drawn, two on each side; their normals make three
    pairs, one across the edge and one on each side of it. Normals need neighbouring
    pixels, so sparse depth gives no pairs.

    Args:
        distance: How far from the edge, from and to, pixels.
        pixel_centre: See :func:`bevdepth_plus.losses.virtual_normal_loss`.

    Returns:
        A float32 scalar; 0 with gradient where no pair counts.
    """
    pred, target, valid = masked_depth(pred, target, mask)
    true, exists = normal_map(depth_map_points(target, intrinsics, pixel_centre), valid)
    predicted, _ = normal_map(depth_map_points(pred, intrinsics, pixel_centre), valid)
    if guide is None:
        gradient = _sobel(target.log().mean(1))
        edges = _strong(gradient, -functional.max_pool2d(-valid.float(), 3, 1, 1)[:, 0] > 0)
    else:
        gradient = _sobel(guide.float().mean(1))
        edges = _strong(gradient, torch.ones_like(exists))
    pixels, inside = _across(gradient, edges, num_edges, distance, generator)
    usable = inside & at_pixels(exists.flatten(1)[..., None], pixels)[..., 0]
    predicted_cos = _cos_of_neighbours(at_pixels(predicted.flatten(1, 2), pixels))
    true_cos = _cos_of_neighbours(at_pixels(true.flatten(1, 2), pixels))
    return masked_mean((predicted_cos - true_cos).abs(), usable[..., 1:] & usable[..., :-1])


@MODELS.register_module()
class PairwiseNormalLoss(nn.Module):
    """:func:`pairwise_normal_loss` times a weight, for the matrices of a camera rig."""

    def __init__(
        self,
        loss_weight: float = 1.0,
        num_triplets: int = 5000,
        num_edges: int = 10000,
        pixel_centre: float = 0.5,
    ) -> None:
        super().__init__()
        self.loss_weight = loss_weight
        self.options: dict[str, Any] = dict(
            num_triplets=num_triplets, num_edges=num_edges, pixel_centre=pixel_centre
        )

    def forward(
        self,
        pred: Tensor,
        target: Tensor,
        mask: Tensor,
        intrinsics: Tensor,
        generator: torch.Generator | None = None,
        planes: Tensor | None = None,
        guide: Tensor | None = None,
    ) -> Tensor:
        loss = pairwise_normal_loss(
            pred, target, mask, intrinsics, planes, guide, generator=generator, **self.options
        )
        return self.loss_weight * loss


def _triplets_in_planes(
    labels: Tensor,  # [B, P]
    ordered: Tensor,  # [B, P], the labels in ascending order
    order: Tensor,  # [B, P], the pixels they came from
    num: int,
    generator: torch.Generator | None,
) -> Tensor:
    """Flat pixels ``[B, num, 3]``: a labelled pixel, and two more with its label."""
    first = sample_pixels(labels > 0, num, generator)
    label = labels.gather(1, first)
    start = torch.searchsorted(ordered, label)[..., None]
    stop = torch.searchsorted(ordered, label, right=True)[..., None]
    share = uniform((len(labels), num, 2), labels.device, generator)
    position = torch.minimum(start + (share * (stop - start)).long(), stop - 1)
    others = order.gather(1, position.flatten(1)).reshape(-1, num, 2)
    return torch.cat([first[..., None], others], dim=-1)


def _sobel(
    gray: Tensor,  # [B, H, W]
) -> Tensor:
    """Gradient ``[B, H, W, 2]`` along u and v, 0 on the border.

    By slices: autocast would run a convolution in half precision.
    """
    down = gray[:, :-2] + 2 * gray[:, 1:-1] + gray[:, 2:]
    right = gray[:, :, :-2] + 2 * gray[:, :, 1:-1] + gray[:, :, 2:]
    along_u = down[:, :, 2:] - down[:, :, :-2]
    along_v = right[:, 2:] - right[:, :-2]
    return functional.pad(torch.stack([along_u, along_v], dim=-1), (0, 0, 1, 1, 1, 1))


def _strong(
    gradient: Tensor,  # [B, H, W, 2]
    usable: Tensor,  # [B, H, W]
) -> Tensor:
    """Edge pixels: gradient of at least ``EDGE_SHARE`` of the image's strongest."""
    strength = torch.where(usable, gradient.norm(dim=-1), 0.0)
    return (strength > 0) & (strength >= EDGE_SHARE * strength.amax((1, 2), keepdim=True))


def _across(
    gradient: Tensor,  # [B, H, W, 2]
    edges: Tensor,  # [B, H, W]
    num: int,
    distance: tuple[float, float],
    generator: torch.Generator | None,
) -> tuple[Tensor, Tensor]:
    """Four pixels (flat, ``[B, num, 4]``) on the line across each drawn edge; if in the image."""
    height, width = edges.shape[1:]
    anchor = sample_pixels(edges, num, generator)
    direction = at_pixels(gradient.flatten(1, 2), anchor)
    direction = direction / direction.norm(dim=-1, keepdim=True).clamp(min=1e-12)
    low, high = distance
    # Two steps of random length against the gradient and two along it.
    length = low + (high - low) * uniform((len(edges), num, 4), edges.device, generator)
    step = torch.where(torch.arange(4, device=length.device) < 2, -length, length)
    u = (anchor % width)[..., None] + (step * direction[..., :1]).round().long()
    v = (anchor // width)[..., None] + (step * direction[..., 1:]).round().long()
    inside = (u >= 0) & (u < width) & (v >= 0) & (v < height)
    inside = inside & edges.flatten(1).any(1)[:, None, None]
    return torch.where(inside, v * width + u, 0), inside


def _cos_of_neighbours(
    normals: Tensor,  # [B, T, 4, 3], unit
) -> Tensor:
    return (normals[..., 1:, :] * normals[..., :-1, :]).sum(-1)
