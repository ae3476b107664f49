"""Depth from motion as a model that ``tools/train.py`` trains and ``tools/test.py`` scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

from mmdet3d.registry import MODELS
from mmengine.model import BaseModel
from torch import Tensor

from bevdepth_plus.geometry.rigid import invert_rigid
from bevdepth_plus.models.data_preprocessor import MultiViewPreprocessor
from bevdepth_plus.triangulation.network import MotionDepth, build_network
from bevdepth_plus.triangulation.points import Views

MODES = ("tensor", "loss", "predict")


@MODELS.register_module()
class DepthFromMotion(BaseModel):
    """:class:`TriangulationNetwork` over the samples of :class:`SequenceDataset`.

    Args:
        network: options of :func:`build_network`.
        criterion: config of :class:`TriangulationCriterion`.
        data_preprocessor: config, default :class:`SequencePreprocessor`.
        init_cfg: mmengine's.
    """

    def __init__(
        self,
        network: Mapping,
        criterion: Mapping | None = None,
        data_preprocessor: Mapping | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(data_preprocessor or dict(type="SequencePreprocessor"), init_cfg)
        self.network = build_network(**network)
        self.criterion = MODELS.build(criterion or dict(type="TriangulationCriterion"))

    def forward(
        self,
        images: Tensor,  # [B, 1 + V, 3, H, W], normalised, the anchor first
        intrinsics: Tensor,  # [B, 1 + V, 3, 3]
        anchor_T_source: Tensor,  # [B, V, 4, 4]
        depth: Tensor | None = None,  # [B, H, W], metres, 0 = unknown
        interest_points: Tensor | None = None,  # [B, H, W], a teacher's probabilities
        source_depths: Tensor | None = None,  # [B, V, H, W], metres, 0 = unknown
        token: Sequence[str] = (),
        mode: str = "tensor",
        **_,
    ) -> MotionDepth | dict[str, Tensor] | list[dict]:
        """What the network says, its losses, or a dict a sample for the metric.

        A prediction has ``token``, ``gt_depth`` and ``pred_depths`` with ``dense`` and ``points``
        (0 where no point is), ``[H, W]`` metres; and ``baseline``: the way to the farthest source,
        metres.

        Raises:
            ValueError: the mode is unknown, or a side of the images is no multiple of 32.
        """
        if mode not in MODES:
            raise ValueError(f"mode must be one of {MODES}, got {mode!r}")
        views = Views(images, intrinsics, invert_rigid(anchor_T_source))
        found = self.network(views)
        if mode == "tensor":
            return found
        if mode == "loss":
            return self.criterion(found, views, depth[:, None], interest_points, source_depths)
        baseline = anchor_T_source[..., :3, 3].norm(dim=-1).amax(1)  # [B]
        return [
            {
                "token": token[index],
                "pred_depths": {
                    "dense": found.depths[0][index, 0],
                    "points": found.sparse.depth[index, 0],
                },
                "gt_depth": depth[index],
                "baseline": baseline[index],
            }
            for index in range(len(images))
        ]


@MODELS.register_module()
class SequencePreprocessor(MultiViewPreprocessor):
    """The same for batches of :class:`SequenceDataset`, which are flat; default: ImageNet's mean.

    Args:
        mean, std, kwargs: see :class:`MultiViewPreprocessor`.
    """

    def __init__(
        self,
        mean: Sequence[float] = (123.675, 116.28, 103.53),
        std: Sequence[float] = (58.395, 57.12, 57.375),
        **kwargs,
    ) -> None:
        super().__init__(mean, std, **kwargs)

    def forward(self, data: dict, training: bool = False) -> dict:
        """uint8 BGR ``images [B, 1 + V, 3, H, W]`` become float RGB of mean 0; the rest stays."""
        data = cast(dict, self.cast_data(data))
        return {**data, "images": self.normalised(data["images"])}
