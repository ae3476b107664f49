"""Losses of depth maps beside those of labels: what a config names in ``depth.map_losses``.

A new one is one class and one line in a config; see :class:`TeacherDepth` for an example.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, cast

from mmdet3d.registry import MODELS
from torch import Tensor, nn

from bevdepth_plus.errors import DataError
from bevdepth_plus.geometry.cameras import Cameras
from bevdepth_plus.geometry.z_buffer import nearest_depth


class DepthMoment(NamedTuple):
    """The depth of one moment.

    Attributes:
        depth: a depth map on the feature cells, metres, ``[B, N, h, w]``.
        cameras: posed in the key frame's ego.
    """

    depth: Tensor
    cameras: Cameras


class DepthMapLoss(nn.Module):
    """Base of these losses; a loss overrides ``forward``.

    Args:
        stride: of the depth maps, network pixels; the estimator fills it in.
        maps: names of the depth maps that learn: ``bin``, a prior's name, ``fused``.

    Raises:
        ValueError: no map is named.
    """

    def __init__(self, stride: int, maps: Sequence[str] = ("bin",)) -> None:
        super().__init__()
        if isinstance(maps, str) or not maps:
            raise ValueError(f"maps must be a list of names such as ['bin'], got {maps!r}")
        self.stride = stride
        self.maps = tuple(maps)

    def forward(self, moments: Sequence[DepthMoment], inputs: Mapping[str, Tensor]) -> Tensor:
        """The loss of one depth map, a scalar.

        Args:
            moments: S of them, key frame first; without ``temporal.past_gradient`` only the key
                frame has a gradient.
            inputs: of the batch, see ``PackBEVInputs``.

        Raises:
            DataError: the inputs lack what the loss needs.
        """
        raise NotImplementedError(f"{type(self).__name__} must define forward(moments, inputs)")


@MODELS.register_module()
class TeacherDepth(DepthMapLoss):
    """The key frame learns from a teacher's depth, of which only the order or the shape is right.

    Args:
        loss: config of a loss called ``loss(pred, target, mask)`` that needs no true scale:
            ``OrdinalDepthLoss``, ``PearsonDepthLoss``.
    """

    def __init__(self, stride: int, loss: dict, maps: Sequence[str] = ("bin",)) -> None:
        super().__init__(stride, maps)
        self.loss = MODELS.build(loss)

    def forward(self, moments: Sequence[DepthMoment], inputs: Mapping[str, Tensor]) -> Tensor:
        if "teacher_depth" not in inputs:
            raise DataError(
                "TeacherDepth needs a teacher's depth: add load_teacher="
                "dict(type='LoadTeacherDepth') to the training pipeline"
            )
        teacher = nearest_depth(inputs["teacher_depth"], self.stride).flatten(0, 1)[:, None]
        return self.loss(moments[0].depth.flatten(0, 1)[:, None], teacher, teacher > 0)


class DepthMapLosses(nn.Module):
    """All of an estimator.

    Args:
        losses: name -> config of a :class:`DepthMapLoss`.
        stride: of the feature cells, network pixels.
        known: names of the depth maps that there may be.

    Raises:
        ValueError: a loss names another depth map, or has the name of one.
    """

    losses: Mapping[str, DepthMapLoss]  # torch's ModuleDict does not tell the type of its values

    def __init__(self, losses: Mapping[str, dict], stride: int, known: Sequence[str]) -> None:
        super().__init__()
        built = {
            name: MODELS.build(config, default_args=dict(stride=stride))
            for name, config in losses.items()
        }
        for name, loss in built.items():
            unknown = [depth for depth in loss.maps if depth not in known]
            if unknown or name in known:
                problem = f"no depth map {unknown[0]!r}" if unknown else "the name of a depth map"
                raise ValueError(f"depth.map_losses.{name}: {problem}; maps: {', '.join(known)}")
        self.losses = cast(Mapping[str, DepthMapLoss], nn.ModuleDict(built))

    def forward(
        self,
        maps: Sequence[Mapping[str, Tensor]],  # S x {name: [B, N, h, w]}, metres, key frame first
        cameras: Sequence[Cameras],  # S
        inputs: Mapping[str, Tensor],
    ) -> dict[str, Tensor]:
        """``loss_{name}_{map}`` of each loss and each of its depth maps.

        Raises:
            DataError: a depth map, the past or an input is missing.
        """
        results = {}
        for name, loss in self.losses.items():
            for depth in loss.maps:
                if depth not in maps[0]:
                    raise DataError(
                        f"depth.map_losses.{name}: the model gives no {depth!r} depth, it gives "
                        f"{', '.join(maps[0])}"
                    )
                depths = [moment[depth] for moment in maps]
                moments = [DepthMoment(*pair) for pair in zip(depths, cameras, strict=True)]
                results[f"loss_{name}_{depth}"] = loss(moments, inputs)
        return results
