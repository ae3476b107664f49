"""Depth from the vehicle's own motion and from neighbouring cameras, as a prior of the detector."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple, cast

import torch
from mmdet3d.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional

from bevdepth_plus.geometry.cameras import Cameras
from bevdepth_plus.geometry.depth_bins import DepthBins
from bevdepth_plus.geometry.epipolar import PixelLines, pixel_lines, seen_at_depth
from bevdepth_plus.geometry.pinhole import pixel_centres
from bevdepth_plus.geometry.rigid import invert_rigid
from bevdepth_plus.geometry.triangulation import InverseDepth, triangulate_inverse_depth
from bevdepth_plus.geometry.z_buffer import nearest_depth
from bevdepth_plus.losses.point_trust import point_trust_loss
from bevdepth_plus.losses.triangulated_points import (
    match_likelihood_loss,
    triangulated_point_loss,
)
from bevdepth_plus.models.depth.prior import DepthPrior, View
from bevdepth_plus.triangulation.epipolar_matching import EpipolarMatcher, Matches
from bevdepth_plus.triangulation.match_cues import NUM_MATCH_CUES, match_cues
from bevdepth_plus.triangulation.static_check import agreement, on_line_share

_SHOWN_CHANNELS = 16  # of what the image shows
_LOG_SIGMA = (-4.0, 3.0)  # range of what is learnt
_MOST_TRUST = 0.98  # no match is beyond doubt: it can always be outvoted, and no weight is 0


class CellDepth(NamedTuple):
    """What motion says about each feature cell.

    Attributes:
        inverse_depth: mean and variance, ``[B, N, H * W]`` each.
        trust: probability that the match is one, 0 where nothing was found, ``[B, N, H * W]``.
        depth: metres, without what is systematically wrong with it, ``[B, N, H * W]``; no gradient
            but into what is learnt about it.
        sigma: mean error of that depth, as a share of it, as learnt, ``[B, N, H * W]``.
        cells: rows and columns.
        matches, lines: of all cells of all cameras, ``[B * N, V, H * W]``; what the loss teaches.
    """

    inverse_depth: InverseDepth
    trust: Tensor
    depth: Tensor
    sigma: Tensor
    cells: tuple[int, int]
    matches: Matches
    lines: PixelLines


class _Seen(NamedTuple):
    """One moment: descriptors, grey images, intrinsics and poses, ``[B, N, ...]`` each."""

    maps: Tensor
    grey: Tensor
    intrinsics: Tensor
    poses: Tensor

    @classmethod
    def of(cls, maps: Tensor, moment: View) -> _Seen:
        cameras = moment.cameras
        grey = moment.images.mean(2, keepdim=True)
        return cls(maps, grey, cameras.network_intrinsics, _poses_of_working(cameras))

    def rows(self, index: Tensor) -> _Seen:
        """Another camera in place of each, ``index [B, N]``."""
        batch = torch.arange(len(index), device=index.device)[:, None]
        return _Seen(*(values[batch, index] for values in self))


@MODELS.register_module()
class TriangulationPrior(DepthPrior):
    """Triangulate every feature cell from past frames and neighbouring cameras.

    The sources of a camera are itself at past moments, and the cameras beside it at the same
    moment. It says nothing where there is no parallax: a vehicle that stands, cells round the
    epipole, cells that no source sees. Moving objects break its assumption in past frames: a match
    counts less where a place beside the epipolar line looks more alike, and where sources disagree
    on the depth (``static_check``). An object that moves along the line is not noticed where only
    one source sees it. How wrong a cell's depth is, and may be, is learnt
    (:class:`~bevdepth_plus.losses.point_trust.PointTrustLoss`) from how it was found and from what
    the image shows there.

    Args:
        in_channels, stride: see :class:`DepthPrior`.
        channels: of the descriptors.
        depth_range: of the search, metres.
        samples: along each epipolar segment.
        neighbours: cameras at the same moment to look into, those that look nearest.
        min_length: of a segment, pixels.
        moving_radius: of the search for a better place beside the line, feature cells; 0: none, and
            moving objects are not looked for at all.
        matcher: further options of the :class:`EpipolarMatcher`. ``patch_radius`` compares grey
            patches of the images, too, which are finer than features and match before anything is
            learnt.
        loss_weight: of the triangulated points.
        likelihood_weight: of the matches' likelihood, see ``losses/triangulated_points.py``.
        trust_weight: of what teaches how wrong a cell may be.
    """

    single_image = False
    static_only = True

    def __init__(
        self,
        in_channels: int,
        stride: int,
        channels: int = 64,
        depth_range: tuple[float, float] = (2.0, 60.0),
        samples: int = 64,
        neighbours: int = 2,
        min_length: float = 2.0,
        moving_radius: int = 3,
        matcher: Mapping | None = None,
        loss_weight: float = 1.0,
        likelihood_weight: float = 0.2,
        trust_weight: float = 0.2,
    ) -> None:
        super().__init__()
        self.stride = stride
        self.depth_range = depth_range
        self.neighbours = neighbours
        self.moving_radius = moving_radius
        self.loss_weight = loss_weight
        self.likelihood_weight = likelihood_weight
        self.trust_weight = trust_weight
        self.descriptor = nn.Conv2d(in_channels, channels, 1)
        self.matcher = EpipolarMatcher(
            stride, samples, across=(0.0,), min_length=min_length, **(matcher or {})
        )
        # Of inverse depth: what poses and the field of view leave open, also for a sharp match.
        self.log_floor = nn.Parameter(torch.tensor(math.log(0.005)))  # 1/m
        self.shown = nn.Conv2d(in_channels, _SHOWN_CHANNELS, 1)
        self.error = nn.Sequential(
            nn.Linear(NUM_MATCH_CUES + 1 + _SHOWN_CHANNELS, 2 * _SHOWN_CHANNELS),
            nn.ReLU(),
            nn.Linear(2 * _SHOWN_CHANNELS, 2 * _SHOWN_CHANNELS),
            nn.ReLU(),
            nn.Linear(2 * _SHOWN_CHANNELS, 2),
        )
        last = cast(nn.Linear, self.error[-1])
        nn.init.zeros_(last.weight)  # at first the error is that of the match
        nn.init.zeros_(last.bias)
        # Errors of cells are not independent of DepthNet's: less than they say may be new.
        self.log_reserve = nn.Parameter(torch.zeros(()))

    def forward(self, view: View) -> CellDepth | None:
        """None where there is no source at all."""
        batch, num_cameras, _, *cells = view.features.shape
        moments = [view, *view.past]
        # The ground cue, a channel of the newest moment alone, says where a cell is, not what.
        channels = min(moment.features.shape[2] for moment in moments)
        maps = [self._descriptors(moment.features, channels) for moment in moments]
        seen = [_Seen.of(each, moment) for each, moment in zip(maps, moments, strict=True)]
        sources = [seen[0].rows(index) for index in self._beside(view)] + seen[1:]
        if not sources:
            return None
        # All cameras of all samples are anchors: [B * N, V, ...]
        others, grey, matrices, poses = (
            torch.stack(parts, dim=2).flatten(0, 1).float() for parts in zip(*sources, strict=True)
        )
        own_pose = view.cameras.ego_T_cam.flatten(0, 1)[:, None].float()
        with torch.autocast(poses.device.type, enabled=False):  # or metres are rounded
            source_T_anchor = invert_rigid(poses) @ own_pose
        intrinsics = view.cameras.network_intrinsics.flatten(0, 1).float()
        size = cells[0] * self.stride, cells[1] * self.stride
        pixels = pixel_centres(size, self.stride, device=others.device).flatten(0, 1)
        pixels = pixels.to(others.dtype).expand(batch * num_cameras, -1, -1)
        rig = (pixels, intrinsics, matrices, source_T_anchor)
        own = maps[0].flatten(0, 1).float()
        images = torch.cat([seen[0].grey.flatten(0, 1).float()[:, None], grey], dim=1)
        matches = self.matcher(own, others, *rig, size, self.depth_range, images)
        lines = pixel_lines(*rig)
        found, trust, agreed = self._triangulate(own, others, rig, matches, lines)
        shown = _first_channels(self.shown, view.features.flatten(0, 1), channels)
        depth, sigma = self._calibrated(shown, found, matches, agreed)
        mean, variance, trust, depth, sigma = (
            values.unflatten(0, (batch, num_cameras))
            for values in (found.mean, found.variance, trust, depth, sigma)
        )
        if view.cameras.mask is not None:
            trust = torch.where(view.cameras.mask[..., None], trust, 0.0)
        inverse_depth = InverseDepth(mean, variance)
        return CellDepth(inverse_depth, trust, depth, sigma, tuple(cells), matches, lines)

    def log_bins(
        self, prediction: CellDepth | None, bins: DepthBins, cells: tuple[int, int]
    ) -> Tensor | None:
        """A Laplacian in log depth over a uniform floor: it can be outvoted, and be silent."""
        if prediction is None:
            return None
        log_depth, width = prediction.depth.log(), prediction.sigma.detach()
        centres = bins.centres(log_depth.device).log()[:, None]  # [D, 1]
        distance = (centres - log_depth[:, :, None]).abs() / width[:, :, None]
        trust = prediction.trust[:, :, None].clamp(max=_MOST_TRUST)
        # A wide Laplacian is flat over the bins: silent, whatever the trust.
        distance = distance * (-self.log_reserve).exp()
        log = torch.log(trust * (-distance).exp() + (1 - trust))  # [B, N, D, H * W]
        return log.unflatten(-1, cells)

    def loss(
        self, prediction: CellDepth | None, labels: Tensor, cameras: Cameras
    ) -> dict[str, Tensor]:
        if prediction is None:
            return {}
        target = nearest_depth(labels, self.stride).flatten(-2).flatten(0, 1)  # [B * N, H * W]
        matches = prediction.matches
        size = labels.shape[-2:]
        places, seen = seen_at_depth(prediction.lines, target, size)
        known = (target > 0)[:, None] & matches.usable
        likelihood = match_likelihood_loss(*matches.scores, places, seen, known)
        found = prediction.inverse_depth
        told = torch.where(prediction.trust.flatten(0, 1) > 0, target, 0.0)
        points = triangulated_point_loss(
            found.mean.flatten(0, 1), found.variance.flatten(0, 1), told
        )
        depth, sigma = prediction.depth.flatten(0, 1), prediction.sigma.flatten(0, 1)
        return {
            "match": self.likelihood_weight * likelihood,
            "point": self.loss_weight * points,
            "trust": self.trust_weight * point_trust_loss(sigma, depth, told),
        }

    def _triangulate(
        self,
        own: Tensor,  # [B * N, C, H, W], descriptors of the anchors
        others: Tensor,  # [B * N, V, C, H, W], of the sources
        rig: tuple[Tensor, Tensor, Tensor, Tensor],
        matches: Matches,
        lines: PixelLines,
    ) -> tuple[InverseDepth, Tensor, Tensor]:
        """Inverse depth, trust and agreement of each cell, ``[B * N, H * W]``.

        ``rig`` holds the cells' pixels, the anchors' intrinsics, the sources' and their poses.
        """
        pixels, intrinsics, matrices, source_T_anchor = rig
        confidence = matches.confidence
        if self.moving_radius:
            confidence = confidence * on_line_share(
                own,
                others,
                pixels,
                matches.pixels,
                lines,
                self.stride,
                self.moving_radius,
                self.matcher.log_scale.exp(),
            )
        found = triangulate_inverse_depth(
            pixels,
            intrinsics,
            matches.pixels,
            confidence / matches.variance,
            matrices,
            source_T_anchor,
        )
        agreed = agreement(matches.pixels, matches.variance, confidence, lines, found.mean)
        trust = confidence.amax(1)
        return found, trust * agreed if self.moving_radius else trust, agreed

    def _calibrated(
        self,
        shown: Tensor,  # [B * N, C, H, W], of the anchors' features
        found: InverseDepth,
        matches: Matches,
        agreed: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Depth, and how wrong it may be as a share of it, ``[B * N, H * W]`` each."""
        nearest, farthest = self.depth_range
        inverse = found.mean.detach().clamp(1 / farthest, 1 / nearest)
        log_depth = -inverse.log()
        cues = match_cues(found, matches, agreed, log_depth)
        parts = cues, log_depth[..., None] / 2, shown.flatten(-2).mT
        shift, log_ratio = self.error(torch.cat(parts, dim=-1)).float().unbind(-1)
        variance = found.variance.detach() + (2 * self.log_floor).exp()
        log_sigma = (0.5 * variance.log() + log_depth + log_ratio).clamp(*_LOG_SIGMA)
        return (log_depth + shift).exp(), log_sigma.exp()

    def _descriptors(self, features: Tensor, channels: int) -> Tensor:
        """Of length 1, ``[B, N, C, H, W]``."""
        maps = _first_channels(self.descriptor, features.flatten(0, 1), channels)
        return functional.normalize(maps, dim=1).unflatten(0, features.shape[:2])

    def _beside(self, view: View) -> Tensor:
        """For each camera the others that look nearest to it, ``[K, B, N]``."""
        forward = view.cameras.ego_T_cam[..., :3, 2]  # [B, N, 3]
        alike = forward @ forward.transpose(-1, -2)
        count = min(self.neighbours, alike.shape[-1] - 1)
        alike = alike - 4 * torch.eye(alike.shape[-1], device=alike.device)  # not itself
        return alike.topk(count, dim=-1).indices.movedim(-1, 0)


def _first_channels(projection: nn.Conv2d, features: Tensor, channels: int) -> Tensor:
    """The projection of features ``[B, C, H, W]`` from their first channels alone."""
    weight = projection.weight[:, :channels]
    return functional.conv2d(features[:, :channels], weight, projection.bias)


def _poses_of_working(cameras: Cameras) -> Tensor:
    """``ego_T_cam``, NaN where a camera is out: a view without a pose is not looked at."""
    if cameras.mask is None:
        return cameras.ego_T_cam
    return torch.where(cameras.mask[..., None, None], cameras.ego_T_cam, torch.nan)
