"""The same encoder and decoder without motion: what a single image can tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from mmdet3d.registry import MODELS
from mmengine.model import BaseModel
from torch import Tensor

from bevdepth_plus.losses.multi_scale_depth import EdgeAwareSmoothnessLoss, MultiScaleDepthLoss
from bevdepth_plus.triangulation.densify import SparseDepth
from bevdepth_plus.triangulation.network import build_network


@MODELS.register_module()
class MonocularDepth(BaseModel):
    """The anchor's image alone through the parts of a :class:`TriangulationNetwork`.

    Args:
        network: as of ``DepthFromMotion``.
        smoothness: weight.
        depth: options of :class:`MultiScaleDepthLoss`.
        data_preprocessor: config.
    """

    def __init__(
        self,
        network: Mapping,
        smoothness: float = 1.0,
        depth: Mapping | None = None,
        data_preprocessor: Mapping | None = None,
    ) -> None:
        super().__init__(data_preprocessor or dict(type="SequencePreprocessor"))
        whole = build_network(**network)
        self.encoder, self.densifier = whole.interest_points.encoder, whole.densifier
        self.smoothness_loss = EdgeAwareSmoothnessLoss(smoothness)
        self.depth_loss = MultiScaleDepthLoss(**(depth or {}))

    def forward(
        self,
        images: Tensor,  # [B, 1 + V, 3, H, W]
        anchor_T_source: Tensor,
        depth: Tensor,  # [B, H, W], metres, 0 = unknown
        token: Sequence[str] = (),
        mode: str = "loss",
        **_,
    ) -> dict[str, Tensor] | list[dict]:
        """Losses, or predictions as of ``DepthFromMotion``."""
        anchor = images[:, 0]
        nothing = torch.zeros_like(depth)[:, None]
        depths = self.densifier(self.encoder(anchor), SparseDepth(nothing, nothing))
        if mode == "loss":
            return {
                "loss_smoothness": self.smoothness_loss(depths[0], anchor),
                "loss_depth": self.depth_loss(depths, depth[:, None]),
            }
        baseline = anchor_T_source[..., :3, 3].norm(dim=-1).amax(1)
        return [
            {
                "token": token[index],
                "pred_depths": {"dense": depths[0][index, 0]},
                "gt_depth": depth[index],
                "baseline": baseline[index],
            }
            for index in range(len(images))
        ]
