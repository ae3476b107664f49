"""BEV segmentation: which layers of the map (drivable area, lane marks) each cell holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from mmcv.cnn import ConvModule
from mmdet3d.registry import MODELS
from mmdet3d.structures import Det3DDataSample
from mmengine.model import BaseModule
from torch import Tensor, nn

from bevdepth_plus.errors import DataError
from bevdepth_plus.models.heads.head import BEVHead


@MODELS.register_module()
class BEVSegmentationHead(BaseModule, BEVHead):
    """Two convolutions over the encoded BEV map, and a probability for each layer of each cell.

    Ground truth is ``gt_map`` of the samples, ``[L, Y, X]``: 1, 0, or 255 for unknown, see
    :class:`LoadMapLayers`. Predictions are ``pred_map``, ``[L, Y, X]``, 0 to 1.

    Args:
        in_channels: of the encoded map.
        grid: the :class:`BEVGrid`'s x, y, z; cells are those of the map, so it is not needed here.
        layers: names, in the order of the ground truth.
        mid_channels: hidden channels.
        loss: config of a loss called ``loss(logits, target)``.
    """

    def __init__(
        self,
        in_channels: int,
        layers: Sequence[str],
        grid: Mapping | None = None,
        mid_channels: int = 64,
        loss: dict | None = None,
    ) -> None:
        super().__init__()
        self.layers = tuple(layers)
        self.layers_of_map = nn.Sequential(
            ConvModule(in_channels, mid_channels, 3, padding=1, norm_cfg=dict(type="BN")),
            nn.Conv2d(mid_channels, len(self.layers), 1),
        )
        self.map_loss = MODELS.build(loss or dict(type="BEVSegmentationLoss"))

    def outputs(self, bev: Tensor) -> Tensor:
        """Logits ``[B, L, Y, X]``."""
        return self.layers_of_map(bev)

    def losses(self, outputs: Tensor, samples: Sequence[Det3DDataSample]) -> dict[str, Tensor]:
        """``loss_map``.

        Raises:
            DataError: a sample has no ground truth, or for other layers.
        """
        target = torch.stack([self._target(sample) for sample in samples])
        return dict(loss_map=self.map_loss(outputs, target))

    def add_predictions(self, outputs: Tensor, samples: Sequence[Det3DDataSample]) -> None:
        """Write probabilities and the names of their layers into the samples."""
        for sample, logits in zip(samples, outputs, strict=True):
            sample.pred_map = logits.float().sigmoid()
            sample.set_metainfo(dict(map_layers=self.layers))

    def undo_mirror(self, outputs: Tensor, x: bool, y: bool) -> Tensor:
        return outputs.flip([axis for axis, flipped in ((-1, x), (-2, y)) if flipped])

    def mean(self, variants: Sequence[Tensor]) -> Tensor:
        probabilities = torch.stack([logits.float().sigmoid() for logits in variants]).mean(dim=0)
        return probabilities.logit(eps=1e-7)

    def _target(self, sample: Det3DDataSample) -> Tensor:
        target = sample.get("gt_map")
        if target is None or len(target) != len(self.layers):
            received = "none" if target is None else f"{len(target)} layers"
            raise DataError(
                f"sample {sample.get('token')}: the map head needs ground truth of the layers "
                f"{', '.join(self.layers)}, got {received}; add LoadMapLayers with these layers to "
                "the pipeline"
            )
        return target
