"""All losses of depth from motion, by name."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from mmdet3d.registry import MODELS
from torch import Tensor, nn

from bevdepth_plus.losses.interest_points import InterestPointLoss, RepeatabilityLoss
from bevdepth_plus.losses.multi_scale_depth import EdgeAwareSmoothnessLoss, MultiScaleDepthLoss
from bevdepth_plus.losses.point_trust import PointTrustLoss
from bevdepth_plus.losses.triangulated_points import (
    MatchLikelihoodLoss,
    MatchLoss,
    TriangulatedPointLoss,
)
from bevdepth_plus.triangulation.network import MotionDepth
from bevdepth_plus.triangulation.points import Views
from bevdepth_plus.triangulation.true_places import depth_at, reproject, warped_scores


@MODELS.register_module()
class TriangulationCriterion(nn.Module):
    """What the network said against true depth of the anchor.

    The defaults of the weights are those of DELTAS (0.1, 1, 2, 1 and 2 x 0.7^scale). The likelihood
    of matches is ours: see ``losses/triangulated_points.py``.

    Args:
        min_depth: of a target that counts, metres.
        interest_points, match, likelihood, point, smoothness: weights.
        trust: weight, where points correct the depth.
        match_sigma: of the likelihood's target, pixels.
        depth: options of :class:`MultiScaleDepthLoss`.
    """

    def __init__(
        self,
        min_depth: float = 0.1,
        interest_points: float = 0.1,
        match: float = 1.0,
        likelihood: float = 1.0,
        point: float = 2.0,
        smoothness: float = 1.0,
        trust: float = 0.1,
        match_sigma: float = 1.0,
        depth: Mapping | None = None,
    ) -> None:
        super().__init__()
        self.min_depth = min_depth
        self.distillation = InterestPointLoss(interest_points)
        self.repeatability = RepeatabilityLoss(interest_points)
        self.match = MatchLoss(match)
        self.likelihood = MatchLikelihoodLoss(likelihood, match_sigma)
        self.point = TriangulatedPointLoss(point)
        self.smoothness = EdgeAwareSmoothnessLoss(smoothness)
        self.trust = PointTrustLoss(trust)
        self.depth = MultiScaleDepthLoss(**(depth or {}))

    def forward(
        self,
        found: MotionDepth,
        views: Views,
        target: Tensor,  # [B, 1, H, W], metres, 0 = none
        teacher: Tensor | None = None,  # [B, H, W], interest points' probability
        source_depths: Tensor | None = None,  # [B, V, H, W], metres, 0 = unknown
    ) -> dict[str, Tensor]:
        """Losses by name. Without a teacher, points that repeat in the first source are taught.

        With the depth of the sources, a point that is hidden there or has moved is no match.
        """
        target = torch.where(target >= self.min_depth, target, 0.0)
        points = found.points
        pixels = points.keypoints.pixels
        depth = depth_at(target, pixels)  # [B, P]
        expected, seen = reproject(pixels, depth, views, source_depths)
        logits = found.features.logits.unflatten(0, views.images.shape[:2])
        if teacher is None:
            loss = self.repeatability(*warped_scores(logits, target, views, source_depths))
        else:
            loss = self.distillation(logits[:, 0], teacher)
        matches = points.matches
        known = (depth > 0)[:, None] & matches.usable  # [B, V, P]
        losses = {
            "loss_interest_points": loss,
            "loss_match": self.match(matches.pixels, expected, seen & matches.usable),
        }
        if matches.scores is not None:
            losses["loss_likelihood"] = self.likelihood(*matches.scores, expected, seen, known)
        depths = found.depths
        if found.uncorrected is not None:
            losses["loss_trust"] = self.trust(found.sigma, found.calibrated, depth)
            # Both are taught alike, each by itself.
            losses["loss_corrected"] = self.depth(depths[:1], target)
            depths = [found.uncorrected, *depths[1:]]
        return losses | {
            "loss_point": self.point(
                points.inverse_depth.mean,
                points.inverse_depth.variance,
                torch.where((matches.usable & seen).any(1), depth, 0.0),
            ),
            "loss_smoothness": self.smoothness(depths[0], views.images[:, 0]),
            "loss_depth": self.depth(depths, target),
        }
