"""The depth axis of the frustum: ``[start, stop)`` cut into equal bins."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class DepthBins:
    """Equal depth bins; bin ``i`` holds depths in ``[start + i*step, start + (i+1)*step)``, metres.

    ``plane`` says where in its bin a frustum plane lies: ``"centre"``, or ``"left"`` as in the
    public BEVDepth code, whose planes lie on the left edges while its labels use whole bins.
    """

    start: float
    stop: float
    step: float
    plane: str = "centre"

    def __post_init__(self) -> None:
        if not 0 < self.start < self.stop or self.step <= 0:
            raise ValueError(f"depth bins need 0 < start < stop and step > 0, got {self}")
        if self.plane not in ("centre", "left"):
            raise ValueError(f"plane must be 'centre' or 'left', got {self.plane!r}")

    @property
    def num_bins(self) -> int:
        return round((self.stop - self.start) / self.step)

    def centres(self, device: torch.device | None = None) -> Tensor:
        """Depth in the middle of each bin, metres, float32 ``[D]``."""
        return self._at(0.5, device)

    def edges(self, device: torch.device | None = None) -> Tensor:
        """Left edge of each bin, and the last one's right edge, metres, float32 ``[D + 1]``."""
        index = torch.arange(self.num_bins + 1, dtype=torch.float64, device=device)
        return (self.start + index * self.step).float()

    def planes(self, device: torch.device | None = None) -> Tensor:
        """Depth of each bin's frustum plane, metres, float32 ``[D]``."""
        return self._at(0.5 if self.plane == "centre" else 0.0, device)

    def index(self, depth: Tensor) -> Tensor:
        """Bin of each depth, int64, -1 where the depth lies in no bin (0 is never valid)."""
        index = torch.floor((depth - self.start) / self.step)
        inside = (index >= 0) & (index < self.num_bins) & (depth > 0)
        return torch.where(inside, index, torch.full_like(index, -1)).long()

    def expectation(
        self,
        probabilities: Tensor,  # [..., D, H, W]
    ) -> Tensor:
        """Expected depth, by the bins' centres, metres, ``[..., H, W]``."""
        centres = self.centres(probabilities.device).to(probabilities.dtype)
        mass = probabilities.sum(dim=-3).clamp(min=1e-6)  # canonical bins may leave less than 1
        return torch.einsum("...dhw,d->...hw", probabilities, centres) / mass

    def _at(self, offset: float, device: torch.device | None) -> Tensor:
        index = torch.arange(self.num_bins, dtype=torch.float64, device=device)
        return (self.start + (index + offset) * self.step).float()


def mass_below(
    probabilities: Tensor,  # [B, N, K, H, W], of K bins of any spacing
    bin_coordinate: Tensor,  # [B or 1, N or 1, M, H or 1, W or 1]; k is the left edge of bin k
) -> Tensor:
    """Probability below each coordinate, mass spread evenly in a bin, ``[B, N, M, H, W]``."""
    num_bins = probabilities.shape[2]
    coordinate = bin_coordinate.clamp(0, num_bins)
    coordinate = coordinate.expand(*probabilities.shape[:2], -1, *probabilities.shape[-2:])
    # All mass of the bins below, and the share of the bin that the coordinate lies in.
    index = coordinate.long().clamp(max=num_bins - 1)
    before = (probabilities.cumsum(dim=2) - probabilities).gather(2, index)
    return before + (coordinate - index) * probabilities.gather(2, index)
