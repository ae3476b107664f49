"""Depth of the network, corrected by what motion says about points.

Points are exact in places and wrong in others, and few. A network that sees them as a sparse map
must learn from examples how far each of them reaches. A Gaussian process needs not: the points tell
by how much the network's depth is wrong there, each with its own standard deviation, and neighbours
on the same surface are wrong alike (Rasmussen and Williams, "Gaussian Processes for Machine
Learning", 2006, Sec. 2.2). Without points it changes nothing: a vehicle that stands keeps the depth
of its image.
"""

from __future__ import annotations

from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from bevdepth_plus.geometry.pinhole import pixel_centres
from bevdepth_plus.triangulation.correlation import sample_maps
from bevdepth_plus.triangulation.match_cues import NUM_MATCH_CUES, match_cues
from bevdepth_plus.triangulation.points import Points
from bevdepth_plus.triangulation.true_places import depth_at

_UNKNOWN = 1e4  # variance of a point that says nothing
_SMALLEST_SIGMA = 0.02  # no point is better than 2 % of depth
_LOG_SIGMA, _RESERVE = (-4.0, 3.0), (-3.0, 6.0)  # ranges of what the head may say
_NUM_CUES = NUM_MATCH_CUES + 4


class CorrectedDepth(NamedTuple):
    """What a :class:`PointCorrection` makes of a depth map.

    Attributes:
        depth: metres, ``[B, 1, H, W]``; its gradient goes into the correction alone.
        points: the points' own depth without what is systematically wrong with it, metres,
            ``[B, P]``; 0 = not told.
        sigma: mean error of that, as a share of depth, ``[B, P]``.
    """

    depth: Tensor
    points: Tensor
    sigma: Tensor


class PointCorrection(nn.Module):
    """Spread the points' corrections of a depth map over the surfaces they lie on.

    How wrong a point is and may be is learnt
    (:class:`~bevdepth_plus.losses.point_trust.PointTrustLoss`) from how it was found, from the
    network's own depth there, and from what the image shows: a car that drives is a poor point
    however well it matches.

    Args:
        image_channels: of the image encoder's level at stride 4.
        depth_range: metres, of the answer.
        hidden_channels: of the head that says how wrong a point may be.
    """

    level_stride = 4
    stride = 8  # of the correction, which is smooth where depth is not

    def __init__(
        self, image_channels: int, depth_range: tuple[float, float], hidden_channels: int = 32
    ) -> None:
        super().__init__()
        self.depth_range = depth_range
        self.head = nn.Sequential(
            nn.Linear(_NUM_CUES + image_channels, hidden_channels),
            nn.ReLU(),
            nn.Linear(hidden_channels, hidden_channels),
            nn.ReLU(),
            nn.Linear(hidden_channels, 3),
        )
        last = cast(nn.Linear, self.head[-1])
        nn.init.zeros_(last.weight)  # at first every point may be anything
        nn.init.zeros_(last.bias)
        # From this relative error on a point counts ever less: poor points are wrong together.
        self.log_doubtful = nn.Parameter(torch.tensor(0.1).log())
        # Standard deviations of log depth: of the whole image, of a surface, of a detail.
        self.log_amplitude = nn.Parameter(torch.tensor([0.1, 0.2, 0.07]).log())
        # How far a surface and a detail reach: in the image, of its height; and in log depth.
        self.log_reach = nn.Parameter(torch.tensor([0.7, 0.15]).log())
        self.log_depth_reach = nn.Parameter(torch.tensor([0.7, 0.3]).log())

    def forward(
        self,
        depth: Tensor,  # [B, 1, H, W], metres, of the network
        points: Points,
        level: Tensor,  # [B, C, H / 4, W / 4], of the image encoder
    ) -> CorrectedDepth:
        with torch.autocast(depth.device.type, enabled=False):  # a matrix is solved
            return self._corrected(depth.float(), points, level.float())

    def _corrected(self, depth: Tensor, points: Points, level: Tensor) -> CorrectedDepth:
        pixels, height = points.keypoints.pixels, depth.shape[-2]
        known = points.depth > 0
        # The network's depth is taught by itself: else it learns to lean against the correction,
        # and is worse where the vehicle stands.
        guess = depth.detach()
        own = depth_at(guess, pixels).log()  # [B, P]
        wrong = torch.where(known, points.depth, 1.0).log() - own
        wrong = torch.where(known, wrong, 0.0)
        # How wrong is each point itself?
        seen = sample_maps(level, pixels, self.level_stride).mT  # [B, P, C]
        cues = torch.cat([_cues(points, own, wrong), seen], dim=-1)
        log_sigma, shift, reserve = self.head(cues).unbind(-1)  # [B, P] each
        sigma = log_sigma.clamp(*_LOG_SIGMA).exp()
        variance = torch.where(known, self._variance(sigma.detach(), reserve), _UNKNOWN)
        wrong = torch.where(known, wrong + shift, 0.0)
        # The process: its weights at the points, its mean at the cells, in between bilinear.
        places = pixels / height
        among = self._kernel(places, own, places, own) + torch.diag_embed(variance)
        weights = torch.cholesky_solve(wrong[..., None], torch.linalg.cholesky(among))
        coarse = functional.avg_pool2d(guess.log(), self.stride)
        cells = pixel_centres(depth.shape[-2:], self.stride, device=depth.device).to(depth)
        cells = (cells.flatten(0, 1) / height).expand(len(depth), -1, -1)
        field = self._kernel(cells, coarse.flatten(1), places, own) @ weights
        field = functional.interpolate(
            field.view_as(coarse), size=depth.shape[-2:], mode="bilinear", align_corners=False
        )
        corrected = (guess.log() + field).exp().clamp(*self.depth_range)
        return CorrectedDepth(corrected, points.depth.detach() * shift.exp(), sigma)

    def _variance(self, sigma: Tensor, reserve: Tensor) -> Tensor:
        """Of a point in the process, more than its own: errors of neighbours are not independent.

        The depth's loss alone teaches how much more; ``sigma`` stays an honest measure.
        """
        doubt = 1 + (2 * (sigma.log() - self.log_doubtful)).exp()
        return sigma.square() * doubt * reserve.clamp(*_RESERVE).exp() + _SMALLEST_SIGMA**2

    def _kernel(
        self,
        places: Tensor,  # [B, M, 2], of the image's height
        log_depth: Tensor,  # [B, M]
        other_places: Tensor,  # [B, N, 2]
        other_log_depth: Tensor,  # [B, N]
    ) -> Tensor:
        """How alike the network errs at two places, ``[B, M, N]``."""
        total = (2 * self.log_amplitude[0]).exp()
        for i in range(len(self.log_reach)):
            near, level = (-self.log_reach[i]).exp(), (-self.log_depth_reach[i]).exp()
            one = torch.cat([places * near, log_depth[..., None] * level], dim=-1)
            other = torch.cat([other_places * near, other_log_depth[..., None] * level], dim=-1)
            # |a - b|^2 by one matrix product
            square = one.square().sum(-1)[:, :, None] + other.square().sum(-1)[:, None]
            square = torch.baddbmm(square, one, other.mT, alpha=-2)
            total = total + (2 * self.log_amplitude[i + 1]).exp() * (-0.5 * square).exp()
        return total


def _cues(points: Points, own: Tensor, wrong: Tensor) -> Tensor:
    """What tells how wrong a point may be, numbers of about 1, ``[B, P, 9]``."""
    log_depth = own + wrong
    assert points.inverse_depth is not None  # as of our own triangulation
    found = match_cues(points.inverse_depth, points.matches, points.agreement, log_depth)
    here = torch.stack([log_depth / 2, own / 2, wrong, wrong.abs()], dim=-1)
    return torch.cat([found, here.detach()], dim=-1)
