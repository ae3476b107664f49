"""Trains the velocities of a motion head from shared maps, and brings the head back."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from mmdet3d.registry import MODELS
from mmdet3d.structures import Det3DDataSample
from mmengine.model import BaseModel, ModuleDict
from torch import Tensor, nn

# The config of a training imports this module: its data come from there.
import experiments.two_frames.shared_maps  # noqa: F401
from bevdepth_plus.errors import DataError


@MODELS.register_module()
class VelocityFromSharedMaps(BaseModel):
    """The heads of a detector, whose :class:`MotionCenterHead` ``boxes`` learns velocities.

    Weights have the names that they have in the whole detector, and what is frozen there is frozen
    here. The rest of the detector is not kept.

    Args:
        start: checkpoint of the whole detector, from which the heads start.
        detector: options of a :class:`BEVDepth`.
    """

    def __init__(self, start: str | None = None, **detector) -> None:
        super().__init__()
        whole = MODELS.build(dict(type="BEVDepth", **detector))
        weights = dict(type="Pretrained", checkpoint=start, prefix="heads") if start else None
        self.heads = ModuleDict(dict(whole.heads.items()), init_cfg=weights)
        self.frozen = [name for name in whole.frozen if name.startswith("heads.")]

    def forward(
        self,
        inputs: dict[str, list[Tensor]],  # img: of each sample [1, S * C, Y, X]
        data_samples: list[Det3DDataSample],
        mode: str = "loss",
    ) -> dict[str, Tensor]:
        """Loss of the velocities; there is no other mode."""
        if mode != "loss":
            raise ValueError(f"mode must be 'loss', got {mode!r}: test the whole detector instead")
        gt = [sample.gt_instances_3d for sample in data_samples]
        velocities = self.velocities(torch.cat(inputs["img"]).float())
        return dict(loss_velocity=self.heads["boxes"].velocity_loss(velocities, gt))

    def velocities(
        self,
        maps: Tensor,  # [B, S * C, Y, X], newest first
    ) -> list[Tensor]:
        """Velocities of each task, ``[B, 2, Y, X]``, from as many moments as the head compares."""
        head = self.heads["boxes"]
        moments = maps.split(head.shared_conv.out_channels, dim=1)  # S x [B, C, Y, X]
        return head.velocities(moments[: head.num_frames])

    def train(self, mode: bool = True) -> VelocityFromSharedMaps:
        """Training or not; what is frozen never is."""
        super().train(mode)
        for name in self.frozen:
            self.get_submodule(name).eval()
        return self


def load_one_frame_detector(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Give a model a one-frame detector's weights; the motion layers keep their own.

    Raises:
        DataError: another weight is missing or left over.
    """
    missing, unknown = model.load_state_dict(weights, strict=False)
    missing = [name for name in missing if not name.startswith("heads.boxes.motion.")]
    if missing or unknown:
        raise DataError(f"the detector's weights do not fit: {(missing + unknown)[0]}")


def whole_detector(trained: Path, start: Path) -> Path:
    """Trained heads in the detector that they started from, as a checkpoint beside theirs."""
    weights, heads = (
        torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
        for path in (start, trained)
    )
    path = trained.with_name(f"whole_{trained.name}")
    torch.save(dict(state_dict={**weights, **heads}, meta={}), path)
    return path
