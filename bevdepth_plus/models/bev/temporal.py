"""Temporal fusion: the BEV maps of several moments, all in the key frame's ego, become one."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from mmdet3d.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn


@MODELS.register_module()
class TemporalEncoder(BaseModule):
    """Fuse the BEV maps of ``num_frames`` moments and encode them, in either order.

    The past is context and gets no gradient, as in BEVDepth (AAAI 2023), Sec. 4.1, unless
    ``past_gradient`` is set.

    Args:
        in_channels: of one moment's BEV map.
        encoder: config of a :class:`BEVEncoder`; ``in_channels`` is filled in.
        num_frames: S moments, the key frame among them.
        fusion: config of a module that joins the maps, such as :class:`ConcatFusion`; needed for
            more than one frame.
        fuse_encoded: encode each moment's map by itself, then fuse the results; otherwise the
            encoder gets the fused maps.
        past_gradient: past frames train too. Costs their memory and their backward pass.

    Raises:
        ValueError: several frames have no fusion, or a fusion has one frame.
    """

    def __init__(
        self,
        in_channels: int,
        encoder: dict,
        num_frames: int = 1,
        fusion: dict | None = None,
        fuse_encoded: bool = False,
        past_gradient: bool = False,
    ) -> None:
        super().__init__()
        if (num_frames > 1) != (fusion is not None):
            raise ValueError(
                f"temporal: num_frames={num_frames} and fusion={fusion} contradict each other; "
                "several frames need a fusion such as dict(type='ConcatFusion'), one frame none"
            )
        self.num_frames = num_frames
        self.fuse_encoded = fuse_encoded
        self.past_gradient = past_gradient
        self.fusion = MODELS.build(fusion) if fusion else None
        encoder_channels = in_channels if fuse_encoded else in_channels * num_frames
        self.encoder = MODELS.build(encoder, default_args=dict(in_channels=encoder_channels))
        self.out_channels = self.encoder.out_channels

    def forward(
        self,
        bevs: Sequence[Tensor],  # S x [B, C, Y, X], newest first
    ) -> Tensor:
        """The BEV map for the heads, ``[B, C', Y, X]``.

        Raises:
            ValueError: there are not ``num_frames`` maps.
        """
        if len(bevs) != self.num_frames:
            raise ValueError(f"expected {self.num_frames} BEV maps, newest first, got {len(bevs)}")
        if self.fusion is None:
            return self.encoder(bevs[0])
        if not self.fuse_encoded:
            return self.encoder(self.fusion(bevs))
        key = self.encoder(bevs[0])  # [B, C', Y, X]
        with self.in_the_past():
            past = [self.encoder(bev) for bev in bevs[1:]]
        return self.fusion([key, *past])

    def in_the_past(self) -> AbstractContextManager:
        """The context that past frames are computed in: no gradient unless ``past_gradient``."""
        return nullcontext() if self.past_gradient else torch.no_grad()


@MODELS.register_module()
class ConcatFusion(nn.Module):
    """Concatenate channels, newest first, as in BEVDepth and BEVDet4D."""

    def forward(self, bevs: Sequence[Tensor]) -> Tensor:  # S x [B, C, Y, X]
        return torch.cat(list(bevs), dim=1)
