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

from bevdepth_plus.geometry.epipolar import pixel_lines
from bevdepth_plus.geometry.pinhole import unproject
from bevdepth_plus.geometry.triangulation import (
    InverseDepth,
    projection_matrices,
    triangulate_inverse_depth,
    triangulate_svd,
)
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
from bevdepth_plus.triangulation.static_check import agreement

# Relative standard deviation of depth at which a point counts half.
HALF_TRUSTED = 0.1
_EVALUATION_SEED = 0  # random points are the same at every evaluation


class Views(NamedTuple):
    """The images of one depth map.

    Attributes:
        images: anchor first, normalised, ``[B, 1 + V, 3, H, W]``; with ``compat="deltas"`` from -1
            to 1.
        intrinsics: of these images, ``[B, 1 + V, 3, 3]``.
        source_T_anchor: ``[B, V, 4, 4]``, metres.
    """

    images: Tensor
    intrinsics: Tensor
    source_T_anchor: Tensor


class Points(NamedTuple):
    """What motion says about the anchor's points.

    Attributes:
        keypoints: P of the anchor.
        matches: in the V sources.
        inverse_depth: with variance, ``[B, P]``; None with ``compat="deltas"``.
        depth: metres, 0 = not told, ``[B, P]``.
        confidence: 0 to 1, ``[B, P]``.
        xyz: in the anchor's camera frame, ``[B, P, 3]``; of the SVD with ``compat="deltas"``.
    """

    keypoints: Keypoints
    matches: Matches
    inverse_depth: InverseDepth | None
    depth: Tensor
    confidence: Tensor
    xyz: Tensor


class MotionDepth(NamedTuple):
    """All that the network says.

    Attributes:
        depths: metres at full, 1/2, 1/4 and 1/8 resolution, ``[B, 1, H/s, W/s]``.
        points: see :class:`Points`.
        sparse: the map of the points' depth.
        features: of all images, anchor first: tensors ``[B * (1 + V), ...]``.
    """

    depths: list[Tensor]
    points: Points
    sparse: SparseDepth
    features: Features


class TriangulationNetwork(nn.Module):
    """Anchor and source images -> depth of the anchor.

    Args:
        interest_points, matcher, densifier: the parts; with ``compat="deltas"`` those of
            :func:`deltas_network`.
        depth_range: of triangulated points, metres.
        num_points: P of each anchor.
        detected_share: of the points that the detector gives; the others are random.
        threshold, radius, border: of :func:`select_keypoints`.
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
        compat: str | None = None,
    ) -> None:
        super().__init__()
        if compat not in (None, "deltas"):
            raise ValueError(f'compat must be None or "deltas", got {compat!r}')
        self.interest_points = interest_points
        self.matcher = matcher
        self.densifier = densifier
        self.depth_range = depth_range
        self.num_points = num_points
        self.select = dict(
            detected_share=detected_share, threshold=threshold, radius=radius, border=border
        )
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
        return MotionDepth(self.densifier(levels, sparse), points, sparse, features)

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
        )

    def triangulate(self, keypoints: Keypoints, matches: Matches, views: Views) -> Points:
        anchor = views.intrinsics[:, 0]
        if self.compat:
            return _triangulate_as_deltas(keypoints, matches, views, self.depth_range)
        found = triangulate_inverse_depth(
            keypoints.pixels,
            anchor,
            matches.pixels,
            matches.information,
            views.intrinsics[:, 1:],
            views.source_T_anchor,
        )
        depth = found.depth(*self.depth_range)
        relative = found.variance.sqrt() * depth.detach()  # of depth, as of inverse depth
        exact = 1 / (1 + (relative / HALF_TRUSTED).square())
        # A wrong match looks exact, most of all a near one: sources must be sure, and agree.
        lines = pixel_lines(
            keypoints.pixels, anchor, views.intrinsics[:, 1:], views.source_T_anchor
        )
        told = matches.pixels.detach(), matches.variance.detach(), matches.confidence.detach()
        agreed = agreement(*told, lines, found.mean.detach())
        sure = matches.confidence.mean(1)
        confidence = torch.where(depth > 0, exact * agreed * sure, 0.0)
        return Points(
            keypoints, matches, found, depth, confidence, unproject(keypoints.pixels, depth, anchor)
        )


def build_network(
    depth_range: tuple[float, float],
    encoder: Mapping | None = None,
    interest_points: Mapping | None = None,
    matcher: Mapping | None = None,
    densifier: Mapping | None = None,
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
        options: further ones of :class:`TriangulationNetwork`.
    """
    image_encoder = PyramidEncoder(**(encoder or {}))
    densifier = dict(densifier or {})
    sparse_encoder = densifier.pop("sparse_encoder", None)
    if sparse_encoder is not None:
        densifier["encoder"] = PyramidEncoder(in_channels=2, **sparse_encoder)
    depth_range = tuple(depth_range)
    points = InterestPointNetwork(image_encoder, **(interest_points or {}))
    return TriangulationNetwork(
        points,
        EpipolarMatcher(points.descriptor_stride, **(matcher or {})),
        DepthDensifier(image_encoder.channels, depth_range, **densifier),
        depth_range,
        **options,
    )


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


def _triangulate_as_deltas(
    keypoints: Keypoints, matches: Matches, views: Views, depth_range: tuple[float, float]
) -> Points:
    """By SVD in pixels; a point counts if one view has it in range, and between both depths."""
    identity = torch.eye(4, device=views.intrinsics.device, dtype=views.intrinsics.dtype)
    poses = torch.cat([identity.expand(len(views.images), 1, 4, 4), views.source_T_anchor], dim=1)
    pixels = torch.cat([keypoints.pixels[:, None], matches.pixels], dim=1)
    confidence = torch.cat([torch.ones_like(keypoints.scores)[:, None], matches.confidence], dim=1)
    xyz = triangulate_svd(projection_matrices(views.intrinsics, poses), pixels, confidence)
    near, far = depth_range
    depth = xyz[..., 2]
    counts = matches.usable.any(1) & (depth > near) & (depth < far)
    depth = torch.where(counts, depth, 0.0)
    return Points(keypoints, matches, None, depth, counts.to(depth.dtype), xyz)
