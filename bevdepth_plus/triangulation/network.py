"""Depth from motion: interest points, matches, triangulation and densification in one network.

Written from the description of DELTAS (Sinha et al., ECCV 2020). Rights: the public DELTAS code and
its weights are for non-commercial research only, and the method is claimed in the US patent
application 2021/0279904 A1. No code of theirs is used here; whether the patent touches your use is
yours to find out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from bevdepth_plus.triangulation.correction import PointCorrection
from bevdepth_plus.triangulation.deltas_compat import DeltasEpipolarMatcher, normalise_images
from bevdepth_plus.triangulation.densify import DepthDensifier, SparseDepth, sparse_depth_map
from bevdepth_plus.triangulation.encoder import PyramidEncoder
from bevdepth_plus.triangulation.epipolar_matching import EpipolarMatcher, Matches
from bevdepth_plus.triangulation.keypoints import (
    Features,
    InterestPointNetwork,
    Keypoints,
    score_map,
    select_keypoints,
)
from bevdepth_plus.triangulation.points import (
    Points,
    Views,
    triangulate_points,
    triangulate_points_as_deltas,
)

_EVALUATION_SEED = 0  # random points are the same at every evaluation


class MotionDepth(NamedTuple):
    """All that the network says.

    Attributes:
        depths: metres at full, 1/2, 1/4 and 1/8 resolution, ``[B, 1, H/s, W/s]``.
        points: see :class:`Points`.
        sparse: the map of the points' depth.
        features: of all images, anchor first: tensors ``[B * (1 + V), ...]``.
        uncorrected: the full depth before the points corrected it, ``[B, 1, H, W]``; None where
            they do not.
        calibrated, sigma: the points' depth as the correction takes it, metres, 0 = not told, and
            its mean error, a share of it, ``[B, P]`` each; None likewise.
    """

    depths: list[Tensor]
    points: Points
    sparse: SparseDepth
    features: Features
    uncorrected: Tensor | None = None
    calibrated: Tensor | None = None
    sigma: Tensor | None = None


class TriangulationNetwork(nn.Module):
    """Anchor and source images -> depth of the anchor.

    Args:
        interest_points, matcher, densifier: the parts; with ``compat="deltas"`` those of
            :func:`deltas_network`.
        depth_range: of triangulated points, metres.
        num_points: P of each anchor.
        detected_share: of the points that the detector gives; the others are random.
        threshold, radius, border: of :func:`select_keypoints`.
        correction: of the densifier's depth by the points; None: none, as DELTAS.
        points_into_densifier: False: the densifier sees the image alone, and points only correct
            what it says.
        compat: None, or "deltas" for the numbers of the public code.
    """

    def __init__(
        self,
        interest_points: InterestPointNetwork,
        matcher: nn.Module,
        densifier: DepthDensifier,
        depth_range: tuple[float, float],
        num_points: int = 512,
        detected_share: float = 0.5,
        threshold: float = 5e-4,
        radius: int = 9,
        border: int = 4,
        correction: PointCorrection | None = None,
        points_into_densifier: bool = True,
        compat: str | None = None,
    ) -> None:
        super().__init__()
        if compat not in (None, "deltas"):
            raise ValueError(f'compat must be None or "deltas", got {compat!r}')
        if compat and correction is not None:
            raise ValueError('compat="deltas" has no correction; leave one of the two out')
        self.interest_points = interest_points
        self.matcher = matcher
        self.densifier = densifier
        self.depth_range = depth_range
        self.num_points = num_points
        self.select = dict(
            detected_share=detected_share, threshold=threshold, radius=radius, border=border
        )
        self.correction = correction
        self.points_into_densifier = points_into_densifier
        self.compat = compat

    @property
    def pixel_centre(self) -> float:
        return 0.0 if self.compat else 0.5

    def forward(
        self, views: Views, keypoints: Keypoints | None = None, generator=None
    ) -> MotionDepth:
        """Depth of the anchor; ``keypoints`` None: those of the detector and random ones."""
        batch, count = views.images.shape[:2]
        size = views.images.shape[-2:]
        images = views.images.flatten(0, 1)
        features = self.interest_points(normalise_images(images) if self.compat else images)
        if keypoints is None:
            keypoints = self.choose(features.logits.unflatten(0, (batch, count))[:, 0], generator)
        descriptors = features.descriptors.unflatten(0, (batch, count))  # [B, 1 + V, C, h, w]
        matches = self.match(descriptors, keypoints, views)
        points = self.triangulate(keypoints, matches, views)
        sparse = sparse_depth_map(
            keypoints.pixels, points.depth, points.confidence, size, self.pixel_centre
        )
        levels = [level.unflatten(0, (batch, count))[:, 0] for level in features.levels]
        nothing = SparseDepth(*map(torch.zeros_like, sparse))
        depths = self.densifier(levels, sparse if self.points_into_densifier else nothing)
        if self.correction is None:
            return MotionDepth(depths, points, sparse, features)
        corrected = self.correction(depths[0], points, levels[1])
        depths, full = [corrected.depth, *depths[1:]], depths[0]
        told = corrected.points, corrected.sigma
        return MotionDepth(depths, points, sparse, features, full, *told)

    def choose(self, logits: Tensor, generator: torch.Generator | None = None) -> Keypoints:
        """Points of the anchors, from the detector's logits ``[B, 65, H/8, W/8]``."""
        if generator is None and not self.training:
            generator = torch.Generator().manual_seed(_EVALUATION_SEED)
        return select_keypoints(
            score_map(logits.detach().float()),
            self.num_points,
            **self.select,
            generator=generator,
            pixel_centre=self.pixel_centre,
        )

    def match(
        self,
        descriptors: Tensor,  # [B, 1 + V, C, h, w], anchor first
        keypoints: Keypoints,
        views: Views,
    ) -> Matches:
        """Where the sources see the anchors' points."""
        return self.matcher(
            descriptors[:, 0],
            descriptors[:, 1:],
            keypoints.pixels,
            views.intrinsics[:, 0],
            views.intrinsics[:, 1:],
            views.source_T_anchor,
            views.images.shape[-2:],
            self.depth_range,
            views.images,
        )

    def triangulate(self, keypoints: Keypoints, matches: Matches, views: Views) -> Points:
        find = triangulate_points_as_deltas if self.compat else triangulate_points
        return find(keypoints, matches, views, self.depth_range)


def build_network(
    depth_range: tuple[float, float],
    encoder: Mapping | None = None,
    interest_points: Mapping | None = None,
    matcher: Mapping | None = None,
    densifier: Mapping | None = None,
    correction: Mapping | None = None,
    **options,
) -> TriangulationNetwork:
    """A network from the options of its parts, as configs give them.

    Args:
        depth_range: metres, of triangulated points and of the answer.
        encoder: options of :class:`PyramidEncoder`.
        interest_points: options of :class:`InterestPointNetwork`.
        matcher: options of :class:`EpipolarMatcher`.
        densifier: options of :class:`DepthDensifier`, and ``sparse_encoder``: those of the
            :class:`PyramidEncoder` of the sparse map.
        correction: options of :class:`PointCorrection`; None: none.
        options: further ones of :class:`TriangulationNetwork`.
    """
    image_encoder = PyramidEncoder(**(encoder or {}))
    densifier = dict(densifier or {})
    sparse_encoder = densifier.pop("sparse_encoder", None)
    if sparse_encoder is not None:
        densifier["encoder"] = PyramidEncoder(in_channels=2, **sparse_encoder)
    depth_range = tuple(depth_range)
    points = InterestPointNetwork(image_encoder, **(interest_points or {}))
    parts = (
        points,
        EpipolarMatcher(points.descriptor_stride, **(matcher or {})),
        DepthDensifier(image_encoder.channels, depth_range, **densifier),
    )
    if correction is not None:
        options["correction"] = PointCorrection(
            image_encoder.channels[1], depth_range, **correction
        )
    return TriangulationNetwork(*parts, depth_range, **options)


def deltas_network(compat: str | None = None) -> TriangulationNetwork:
    """The network in the sizes of DELTAS: 124.6 million parameters, 0.5 to 10 m, 512 points.

    With ``compat="deltas"`` it takes official weights (tools/convert_deltas_checkpoint.py).
    """
    encoder = PyramidEncoder(50)
    depth_range = (0.5, 10.0)
    matcher = DeltasEpipolarMatcher() if compat else EpipolarMatcher()
    return TriangulationNetwork(
        InterestPointNetwork(encoder),
        matcher,
        DepthDensifier(encoder.channels, depth_range, compat=compat),
        depth_range,
        compat=compat,
    )
