"""How steady depth is over time, as running sums: at static points that several frames show.

Every metric compares depths of one point *in the key frame's camera*: what an earlier frame
predicts is moved there by the pose. Comparing raw depth, as the usual OPW does, would punish right
depth for the vehicle's own motion, 0.8 m a frame at 10 m/s and 12 Hz.

    order_agreement   share of pairs of points that two neighbouring frames put in the same order
    warped_diff       mean |D_s - D_s+1| of neighbouring frames, metres; OPW (NVDS: Wang et al.,
                      "Neural video depth stabilizer", ICCV 2023) with visibility instead of colour
                      as the mask
    warped_rel        the same over true depth
    flicker           standard deviation over all frames that show a point, mean over points, metres
    flicker_rel       the same over true depth

Depth that is steady need not be right: constant depth flickers little. Report these beside abs_rel.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from bevdepth_plus.errors import DataError
from bevdepth_plus.evaluation.depth import DEFAULT_RANGES, MIN_DEPTH
from bevdepth_plus.geometry.cameras import CameraRig
from bevdepth_plus.geometry.flow import motion_between, rigid_flow_between, visible_in_other
from bevdepth_plus.geometry.pinhole import scaled_intrinsics, unproject
from bevdepth_plus.geometry.rigid import transform_points
from bevdepth_plus.geometry.warping import sample_depth

TEMPORAL_METRIC_NAMES = (
    "order_agreement",
    "warped_diff",
    "warped_rel",
    "flicker",
    "flicker_rel",
)

TemporalMetrics = dict[str, float | int | None]

_SUMS = ("pairs", "order_agreement", "pixels", "warped_diff", "warped_rel")
_SUMS += ("points", "flicker", "flicker_rel")
_COUNT_OF = dict.fromkeys(("warped_diff", "warped_rel"), "pixels")
_COUNT_OF |= dict.fromkeys(("flicker", "flicker_rel"), "points") | {"order_agreement": "pairs"}


def depth_over_time(
    pred: Tensor,  # [S, N, H, W], metres, of cells, 0 = says nothing
    target: Tensor,  # [S, N, H, W], true depth, metres, 0 = unknown
    rig: CameraRig,  # of one sample
    frame_mask: ArrayLike,  # [S], False where the frame repeats the key frame
    stride: int = 1,
    static: Tensor | None = None,  # [N, H, W], bool; None: everything stands still
    tolerance: float = 0.05,
) -> Tensor:
    """What each frame predicts for the points of the key frame's cells, in the key's camera.

    A cell's point is where its true depth puts it. An earlier frame shows the point if it lies in
    its image, its camera works, and the true depth there is the point's within the tolerance, so
    that nothing hides it and it did not move.

    Args:
        stride: Network pixels a cell.
        tolerance: Share of depth.

    Returns:
        Metres ``[S, N, H, W]``, 0 where a frame does not show the point.

    Raises:
        ValueError: shapes disagree.
        DataError: a prediction is not finite where depth is known.
    """
    if pred.ndim != 4 or pred.shape != target.shape or len(pred) != rig.num_moments:
        raise ValueError(
            f"pred and target must both be [{rig.num_moments}, N, H, W], "
            f"got {tuple(pred.shape)} and {tuple(target.shape)}"
        )
    known = (target > 0) & target.isfinite()
    if not pred[known].isfinite().all():
        raise DataError("a predicted depth is not finite; check that training did not diverge")
    says = (known | pred.isfinite()) & (pred != 0)
    pred = torch.where(says, pred.float().clamp(min=MIN_DEPTH), 0.0)
    target = torch.where(known, target.float(), 0.0)
    counts = known[0] if static is None else known[0] & static
    if rig.mask is not None:
        counts = counts & rig.mask[0, 0, :, None, None]
    over_time = [torch.where(counts, pred[0], 0.0)]
    for moment in range(1, len(pred)):
        if not frame_mask[moment]:
            over_time.append(torch.zeros_like(pred[0]))
            continue
        flow = rigid_flow_between(target[:1], rig.moment(0), rig.moment(moment), stride)
        shown = visible_in_other(flow, target[moment][:, None], tolerance, same_surface=True)[:, 0]
        if rig.mask is not None:
            shown = shown & rig.mask[0, moment, :, None, None]
        moved = _in_key_camera(pred[moment], flow.correspondence, rig, moment, stride)
        over_time.append(torch.where(counts & shown, moved, 0.0))
    return torch.stack(over_time)


class TemporalDepthSums:
    """Sums per group: ``overall``, each range of true depth, each camera; they merge.

    Args:
        ranges: Of true depth, metres; points beyond the farthest are left out everywhere.
        num_pairs: Pairs drawn for a camera, a range of it and two neighbouring frames, with a seed
            of their own: the same for all models.
        min_gap: Pairs whose true depths differ by a smaller share of the nearer are left out.
    """

    def __init__(
        self,
        ranges: Sequence[tuple[float, float]] = DEFAULT_RANGES,
        num_pairs: int = 1000,
        min_gap: float = 0.1,
    ) -> None:
        self.ranges = tuple((float(near), float(far)) for near, far in ranges)
        self.farthest = max((far for _, far in self.ranges), default=np.inf)
        self.num_pairs = num_pairs
        self.min_gap = min_gap
        self.sums: dict[str, np.ndarray] = {}

    def update(
        self,
        over_time: ArrayLike,  # [S, N, H, W], metres, 0 = not shown; of depth_over_time
        target: ArrayLike,  # [N, H, W], true depth in the key frame, metres, 0 = unknown
        cameras: Sequence[str],  # [N] names
    ) -> None:
        """Add one sample.

        Raises:
            ValueError: shapes disagree.
        """
        over_time = np.asarray(over_time, dtype=np.float64)
        target = np.asarray(target, dtype=np.float64)
        if over_time.ndim != 4 or over_time.shape[1:] != target.shape:
            raise ValueError(
                "over_time must be [S, N, H, W] and target [N, H, W], "
                f"got {over_time.shape} and {target.shape}"
            )
        if len(cameras) != len(target):
            raise ValueError(f"{len(cameras)} camera names for {len(target)} depth maps")
        for index, name in enumerate(cameras):
            true = target[index]
            valid = np.isfinite(true) & (true > 0) & (true < self.farthest)
            depths, true = over_time[:, index, valid], true[valid]  # [S, P], [P]
            sums = self._sums_of(depths, true)
            self._add("overall", sums)
            self._add(f"camera/{name}", sums)
            for near, far in self.ranges:
                inside = (true >= near) & (true < far)
                sums = self._sums_of(depths[:, inside], true[inside])
                self._add(f"range/{near:g}-{far:g}", sums)

    def merge(self, other: TemporalDepthSums) -> None:
        """Add what another process or sample has summed up."""
        mine, theirs = ((s.ranges, s.num_pairs, s.min_gap) for s in (self, other))
        if mine != theirs:
            raise ValueError(f"ranges, num_pairs or min_gap differ: {mine} and {theirs}")
        for group, sums in other.sums.items():
            self._add(group, sums)

    def compute(self) -> dict[str, TemporalMetrics | dict[str, TemporalMetrics]]:
        """All metrics: ``{overall, by_range: {"0-10": ...}, by_camera: {name: ...}}``.

        Every entry has ``pairs``, ``pixels`` and ``points``, how many its means are over; where
        there is none the metric is None.
        """
        ranges = (f"{near:g}-{far:g}" for near, far in self.ranges)
        cameras = sorted(group for group in self.sums if group.startswith("camera/"))
        return {
            "overall": self._metrics("overall"),
            "by_range": {name: self._metrics(f"range/{name}") for name in ranges},
            "by_camera": {name.removeprefix("camera/"): self._metrics(name) for name in cameras},
        }

    def _sums_of(
        self,
        depths: np.ndarray,  # [S, P], 0 = not shown
        true: np.ndarray,  # [P]
    ) -> np.ndarray:
        neighbours = [
            np.concatenate([self._order(newer, older, true), _differences(newer, older, true)])
            for newer, older in pairwise(depths)
        ]
        return np.concatenate([np.sum([np.zeros(5), *neighbours], axis=0), _flicker(depths, true)])

    def _order(self, newer: np.ndarray, older: np.ndarray, true: np.ndarray) -> np.ndarray:
        """Pairs, and those in the same order in both frames, ``[2]``."""
        both = np.flatnonzero((newer > 0) & (older > 0))
        if len(both) == 0:
            return np.zeros(2)
        pairs = both[np.random.default_rng(0).integers(len(both), size=(2, self.num_pairs))]
        gap = np.abs(true[pairs[0]] - true[pairs[1]])
        first, second = pairs[:, gap > self.min_gap * true[pairs].min(axis=0)]
        # Where a frame tells no order (equal depth) it does not tell the same.
        told = (newer[first] - newer[second]) * (older[first] - older[second])
        return np.array([len(first), (told > 0).sum()], dtype=np.float64)

    def _add(self, group: str, sums: np.ndarray) -> None:
        self.sums[group] = self.sums.get(group, 0.0) + sums

    def _metrics(self, group: str) -> TemporalMetrics:
        sums = dict(zip(_SUMS, self.sums.get(group, np.zeros(len(_SUMS))), strict=True))
        counts = {name: int(sums[name]) for name in ("pairs", "pixels", "points")}
        means = {
            name: float(sums[name]) / counts[count] if counts[count] else None
            for name, count in _COUNT_OF.items()
        }
        return {name: means[name] for name in TEMPORAL_METRIC_NAMES} | counts


def _differences(newer: np.ndarray, older: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Pixels, and the sums of their differences in metres and over true depth, ``[3]``."""
    both = (newer > 0) & (older > 0)
    difference = np.abs(newer - older)[both]
    return np.array([both.sum(), difference.sum(), (difference / true[both]).sum()])


def _flicker(depths: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Points shown twice or more, and the sums of their standard deviations, ``[3]``."""
    shown = depths > 0
    count = shown.sum(axis=0)
    twice = count >= 2
    depths, shown, count, true = depths[:, twice], shown[:, twice], count[twice], true[twice]
    mean = depths.sum(axis=0) / count
    deviation = np.sqrt(np.where(shown, (depths - mean) ** 2, 0).sum(axis=0) / count)
    return np.array([len(count), deviation.sum(), (deviation / true).sum()])


def _in_key_camera(
    pred: Tensor,  # [N, H, W], metres
    correspondence: Tensor,  # [N, 2, H, W], cells of that frame
    rig: CameraRig,
    moment: int,
    stride: int,
) -> Tensor:
    """The depth a frame predicts at the correspondences, moved to the key's cameras, [N, H, W]."""
    cameras = rig.moment(moment)
    depth = sample_depth(pred[:, None], correspondence)  # [N, 1, H, W]
    points = unproject(
        correspondence.flatten(2).transpose(1, 2),
        depth.flatten(1),
        scaled_intrinsics(cameras.network_intrinsics, stride)[0],
    )
    moved = transform_points(motion_between(cameras, rig.moment(0))[0], points)  # [N, P, 3]
    moved = moved[..., 2].reshape(pred.shape)
    return torch.where(depth[:, 0] > 0, moved.clamp(min=MIN_DEPTH), 0.0)
