"""Depth priors without a detector around them: they are trained and scored by themselves."""

from __future__ import annotations

import torch
from mmdet3d.registry import MODELS
from mmdet3d.structures import Det3DDataSample, LiDARInstance3DBoxes
from mmengine.model import BaseModel, ModuleDict
from mmengine.structures import InstanceData
from torch import Tensor

from bevdepth_plus.geometry.cameras import CameraRig
from bevdepth_plus.geometry.z_buffer import nearest_depth
from bevdepth_plus.models.depth.prior import View


@MODELS.register_module()
class DepthPriorsAlone(BaseModel):
    """The image encoder and the depth priors of a detector; the rest of it is not kept.

    Weights have the names that they have in the whole detector.

    Args:
        data_preprocessor: as in :class:`BEVDepth`.
        init_cfg: as in :class:`BEVDepth`.
        detector: all other options of a :class:`BEVDepth`.
    """

    def __init__(
        self, data_preprocessor: dict | None = None, init_cfg: dict | None = None, **detector
    ) -> None:
        super().__init__(data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        whole = MODELS.build(dict(type="BEVDepth", **detector))
        self.image_encoder = whole.image_encoder
        self.depth = ModuleDict(dict(priors=whole.depth.priors))

    def forward(
        self,
        inputs: dict[str, Tensor],  # img [B, S * N, 3, H, W]; depth [B, N, H, W], metres, 0 = none
        data_samples: list[Det3DDataSample],
        mode: str,
    ) -> dict[str, Tensor] | list[Det3DDataSample]:
        """Losses by name (mode ``loss``), or samples with predicted depth (mode ``predict``)."""
        metas = [sample.metainfo for sample in data_samples]
        rig = CameraRig.from_metainfo(metas, inputs["img"].device)
        images = inputs["img"].unflatten(1, (rig.num_moments, rig.num_cameras))
        key_images, cameras = images[:, 0], rig.moment(0)  # [B, N, 3, H, W]
        features = self.image_encoder(key_images)  # [B, N, C, H / stride, W / stride]
        view = View(key_images, features, cameras, key=cameras)
        if mode == "loss":
            return self._losses(view, inputs["depth"])
        if mode == "predict":
            return self._predictions(view, inputs["depth"], data_samples)
        raise ValueError(f"mode must be 'loss' or 'predict', got {mode!r}")

    def _losses(self, view: View, labels: Tensor) -> dict[str, Tensor]:
        return {
            f"loss_{name}_{part}": value
            for name, prior in self.depth["priors"].items()
            for part, value in prior.loss(prior(view), labels, view.cameras).items()
        }

    def _predictions(
        self, view: View, labels: Tensor, samples: list[Det3DDataSample]
    ) -> list[Det3DDataSample]:
        """Depth of each feature cell, predicted and true, and no boxes, as the metric expects."""
        cells = tuple(view.features.shape[-2:])
        maps = {
            name: prior.maps(prior(view), cells) for name, prior in self.depth["priors"].items()
        }
        targets = nearest_depth(labels, self.image_encoder.stride)  # [B, N, H, W]
        for index, sample in enumerate(samples):
            sample.pred_depths = {name: depth[index] for name, depth in maps.items()}
            sample.gt_depth = targets[index]
            sample.pred_instances_3d = InstanceData(
                bboxes_3d=LiDARInstance3DBoxes(torch.zeros(0, 9), box_dim=9),
                scores_3d=torch.zeros(0),
                labels_3d=torch.zeros(0, dtype=torch.long),
            )
        return samples
