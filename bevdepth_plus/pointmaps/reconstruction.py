"""From images to cameras, dense depth and matches: the whole way in one function."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from bevdepth_plus.geometry.depth_maps import depth_map_points
from bevdepth_plus.geometry.rigid import transform_points
from bevdepth_plus.pointmaps.alignment_problem import alignment_problem
from bevdepth_plus.pointmaps.canonical_views import CanonicalView, block_index, canonical_view
from bevdepth_plus.pointmaps.focal import estimate_focal
from bevdepth_plus.pointmaps.global_alignment import Alignment, Settings, align
from bevdepth_plus.pointmaps.images import LoadedImage
from bevdepth_plus.pointmaps.matching import Descriptors, Matches, match_images
from bevdepth_plus.pointmaps.pair_cache import PairCache, content_key
from bevdepth_plus.pointmaps.scene_parameters import Known
from bevdepth_plus.pointmaps.two_view import TwoViewModel


@dataclass(frozen=True)
class Reconstruction:
    """V images, their cameras and depth.

    Attributes:
        alignment: cameras (network pixels) and losses.
        depth: metres (or the network's unit) along the optical axis, 0 where unknown, each [H, W].
        confidence: 0 where unknown, each ``[H, W]``.
        matches: of each pair of images.
        dropped: share of the matches without a valid depth.
    """

    alignment: Alignment
    depth: list[Tensor]
    confidence: list[Tensor]
    matches: dict[tuple[int, int], Matches]
    dropped: float

    def points(self, image: int) -> Tensor:
        """World points of one image's pixels, ``[H, W, 3]``; those without depth mean nothing."""
        scene, depth = self.alignment.scene, self.depth[image]
        in_camera = depth_map_points(depth[None, None], scene.intrinsics[image][None])[0]
        flat = transform_points(scene.world_T_cam[image], in_camera.flatten(0, 1))
        return flat.view_as(in_camera)


@torch.no_grad()
def reconstruct(
    model: TwoViewModel,
    images: Sequence[LoadedImage],
    pairs: Sequence[tuple[int, int]],
    known: Known | None = None,
    settings: Settings | None = None,
    subsample: int = 8,
    cache: PairCache | None = None,
    on_pair: Callable[[], None] = lambda: None,
    on_step: Callable[[str, int], None] | None = None,
) -> Reconstruction:
    """Run the network on each pair, average, match and align.

    Args:
        known: poses and intrinsics, the latter in network pixels.
        on_pair, on_step: called after each pair and each step, for progress bars.

    Raises:
        ValueError: the network has no descriptors, images are too few, repeated, in no pair, or
            not linked by matches, or what is known is malformed.
    """
    _check(model, images, pairs)
    cache = PairCache(None, model, {}) if cache is None else cache
    own: list[list[tuple[Tensor, Tensor]]] = [[] for _ in images]
    matches = {}
    for i, j in pairs:
        a, b = images[i], images[j]
        found = cache.get(
            (a.pixels, a.mask, b.pixels, b.mask), lambda a=a, b=b: run_pair(model, a, b, subsample)
        )
        own[i].append((found["points1"], found["confidence1"]))
        own[j].append((found["points2"], found["confidence2"]))
        matches[i, j] = Matches(found["pixels1"], found["pixels2"], found["match_confidence"])
        on_pair()
    views = [
        canonical_view(
            torch.stack([points for points, _ in parts]),
            torch.stack([confidence for _, confidence in parts]),
            image.mask.expand(len(parts), -1, -1),
            block=subsample,
        )
        for parts, image in zip(own, images, strict=True)
    ]
    focals = torch.cat([estimate_focal(v.points[None], v.valid[None])[0] for v in views])
    problem = alignment_problem(views, focals, matches, [image.name for image in images])
    with torch.enable_grad():
        alignment = align(problem, known, settings, on_step=on_step)
    depth = _dense_depth(views, alignment)
    confidence = [torch.where(d > 0, v.confidence, 0) for d, v in zip(depth, views, strict=True)]
    return Reconstruction(alignment, depth, confidence, matches, problem.dropped)


def run_pair(
    model: TwoViewModel, a: LoadedImage, b: LoadedImage, subsample: int
) -> dict[str, Tensor]:
    """Both images' pointmaps in their own frames, and the matches between them."""
    device = next(model.parameters()).device
    results = model.symmetric(a.pixels[None].to(device), b.pixels[None].to(device))
    a_in_a, b_in_a, b_in_b, a_in_b = (
        Descriptors(one.descriptors[0], one.descriptor_confidence[0], image.mask.to(device))
        for one, image in zip(results, (a, b, b, a), strict=True)
    )
    matches = match_images([(a_in_a, b_in_a), (a_in_b, b_in_b)], subsample)
    found = dict(
        points1=results[0].points[0],
        confidence1=results[0].confidence[0],
        points2=results[2].points[0],
        confidence2=results[2].confidence[0],
        pixels1=matches.pixels1,
        pixels2=matches.pixels2,
        match_confidence=matches.confidence,
    )
    return {name: values.cpu() for name, values in found.items()}  # many pairs fill a GPU


def cache_settings(model: TwoViewModel, subsample: int) -> dict[str, object]:
    """What else a pair's result depends on."""
    return dict(subsample=subsample, **asdict(model.config))


def _dense_depth(views: Sequence[CanonicalView], alignment: Alignment) -> list[Tensor]:
    """Depth of every pixel from its anchor's, 0 where unknown, ``[H, W]`` each."""
    counts = [view.anchor.numel() for view in views]
    anchors = alignment.scene.anchor_depth.split(counts)
    stretch = alignment.base_focals / alignment.scene.intrinsics[:, 0, 0]
    maps = []
    for view, depth, factor in zip(views, anchors, stretch, strict=True):
        of_pixel = block_index(view.valid.shape, view.block, depth.device)
        at_anchor = view.relative_depth.flatten()[view.anchor.flatten()[of_pixel]]
        ratio = 1 + (view.relative_depth / at_anchor - 1) * factor
        dense = depth[of_pixel] * ratio
        maps.append(torch.where(view.valid & (dense > 0) & dense.isfinite(), dense, 0))
    return maps


def _check(
    model: TwoViewModel, images: Sequence[LoadedImage], pairs: Sequence[tuple[int, int]]
) -> None:
    if not model.config.descriptor_dim:
        raise ValueError("this network has no local descriptors to match with: take a MASt3R one")
    if len(images) < 2:
        raise ValueError(f"at least two images are needed, got {len(images)}")
    seen: dict[str, str] = {}
    for image in images:
        key = content_key(image.pixels)
        if key in seen:
            raise ValueError(f"{image.name} and {seen[key]} are the same picture: give it once")
        seen[key] = image.name
    alone = set(range(len(images))) - {i for pair in pairs for i in pair}
    if alone:
        names = ", ".join(images[i].name for i in sorted(alone))
        raise ValueError(f"no pair holds {names}: widen the window or name more neighbours")
