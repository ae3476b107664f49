"""The two-view network as a model that ``tools/train.py`` trains and ``tools/test.py`` scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from mmdet3d.registry import MODELS
from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import Tensor

from bevdepth_plus.errors import DataError
from bevdepth_plus.losses.pointmap import (
    confident_pointmap_loss,
    pointmap_errors,
    pointmap_loss,
)
from bevdepth_plus.pointmaps.checkpoints import save_weights
from bevdepth_plus.pointmaps.heads import Pointmap
from bevdepth_plus.pointmaps.match_training import MatchingOptions, match_errors
from bevdepth_plus.pointmaps.pair_targets import PosedPair, target_pointmaps
from bevdepth_plus.pointmaps.two_view import TwoViewConfig, TwoViewModel

MODES = ("tensor", "loss", "predict")
# RGB 0..255 -> [-1, 1].
_PREPROCESSOR = dict(type="SequencePreprocessor", mean=(127.5,) * 3, std=(127.5,) * 3)
_PREFIX = "network."


@MODELS.register_module()
class PointmapTraining(BaseModel):
    """:class:`TwoViewModel` over pairs of :class:`SequenceDataset` with ``source_depth=True``.

    Each pair teaches both ways: (a, b) and (b, a).

    Source: DUSt3R (CVPR 2024), MASt3R (ECCV 2024) for metric points and descriptors.

    Args:
        network: attributes of :class:`TwoViewConfig`.
        metric: the network's points are metres: a wrong scale costs. False: prediction and target
            are divided by their own mean distance each, as in DUSt3R.
        compress: "both" compares points after their distance d, divided by the mean, has become
            log(1 + d): far points count less. None: as they are.
        max_distance: target points farther away do not count, metres.
        alpha: what a low confidence costs, see :func:`confident_pointmap_loss`.
        matching: options of the descriptors' loss, see :class:`MatchingOptions`; for networks
            with descriptors alone.
        data_preprocessor: config; the network wants RGB in [-1, 1].
        init_cfg: mmengine's.

    Raises:
        ValueError: an option is unknown or out of range, or ``matching`` has no descriptors.
    """

    def __init__(
        self,
        network: Mapping,
        metric: bool = True,
        compress: str | None = None,
        max_distance: float = torch.inf,
        alpha: float = 0.2,
        matching: Mapping | None = None,
        data_preprocessor: Mapping | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(data_preprocessor or dict(_PREPROCESSOR), init_cfg)
        settings = {n: tuple(v) if isinstance(v, list) else v for n, v in network.items()}
        self.network = TwoViewModel(TwoViewConfig(**settings))
        if matching is not None and not self.network.config.descriptor_dim:
            raise ValueError("matching needs a network with descriptors, got descriptor_dim=0")
        self.metric, self.compress = metric, compress
        self.max_distance, self.alpha = max_distance, alpha
        self.matching = None if matching is None else MatchingOptions(**matching)

    def forward(
        self,
        images: Tensor,  # [B, 2, 3, H, W], RGB in [-1, 1], the anchor first
        intrinsics: Tensor,  # [B, 2, 3, 3]
        anchor_T_source: Tensor,  # [B, 1, 4, 4]
        depth: Tensor | None = None,  # [B, H, W], metres, 0 = unknown
        source_depths: Tensor | None = None,  # [B, 1, H, W], metres, 0 = unknown
        token: Sequence[str] = (),
        mode: str = "tensor",
        **_,
    ) -> tuple[Pointmap, Pointmap] | dict[str, Tensor] | list[dict]:
        """Both pointmaps, the losses, or a dict a sample for :class:`PointmapMetric`.

        Raises:
            DataError: the samples are no pairs, or the depth of the sources is missing.
            ValueError: the mode is unknown, or a side of the images is no multiple of 16.
        """
        if mode not in MODES:
            raise ValueError(f"mode must be one of {MODES}, got {mode!r}")
        if images.shape[1] != 2:
            raise DataError(
                f"pointmaps are trained on pairs, got {images.shape[1]} views; set the data set's "
                "num_views=2"
            )
        first, second = images.unbind(1)
        if mode == "tensor":
            return self.network(first, second)
        if depth is None or source_depths is None:
            raise DataError(
                "pointmaps need the depth of both views; set the data set's source_depth=True"
            )
        pair = PosedPair((depth, source_depths[:, 0]), intrinsics.unbind(1), anchor_T_source[:, 0])
        if mode == "loss":
            return self.losses(first, second, pair)
        return self.predictions(self.network(first, second), pair, token)

    def losses(self, first: Tensor, second: Tensor, pair: PosedPair) -> dict[str, Tensor]:
        """``loss_points``, ``loss_matching`` with descriptors, and ``point_error``, which is not
        trained on: the mean error of both views, in mean distances."""
        maps = self.network.symmetric(first, second)  # 1 in 1, 2 in 1, 2 in 2, 1 in 2
        own, other = _joined(maps[0], maps[2]), _joined(maps[1], maps[3])
        pair = pair.both_ways()
        target, valid = target_pointmaps(pair)
        errors = pointmap_errors(
            (own.points, other.points),
            target,
            valid,
            metric=torch.ones_like(pair.first_T_second[:, 0, 0]) if self.metric else None,
            max_distance=self.max_distance,
            compress=self.compress,
        )
        losses = {
            "loss_points": confident_pointmap_loss(
                errors, (own.confidence, other.confidence), self.alpha
            ),
            "point_error": pointmap_loss(errors).detach() / 2,
        }
        if self.matching is not None:
            losses["loss_matching"] = self.matching.loss(own, other, pair)
        return losses

    def predictions(
        self, maps: tuple[Pointmap, Pointmap], pair: PosedPair, tokens: Sequence[str]
    ) -> list[dict]:
        """A dict a sample: ``token``, ``baseline`` (metres), ``gt_depth`` and ``pred_depths`` of
        view 1 ``[H, W]``, ``gt_points`` and ``pred_points`` of both ``[2, H, W, 3]``, and where
        the true points are known, ``valid [2, H, W]``.

        Predictions have two names: ``first`` as the network gives them, and ``first_aligned`` with
        the one scale that makes the median depth of view 1 right. Points: ``raw`` and ``aligned``.
        Networks with descriptors add ``match_errors``, see :func:`match_errors`.
        """
        target, valid = (torch.stack(each, dim=1) for each in target_pointmaps(pair))
        points = torch.stack([one.points for one in maps], dim=1)  # [B, 2, H, W, 3]
        depth = points[:, 0, ..., 2]
        scale = median_scale(depth, pair.depths[0], valid[:, 0])
        baseline = pair.first_T_second[:, :3, 3].norm(dim=-1)
        has_descriptors = self.network.config.descriptor_dim > 0
        errors = match_errors(maps, pair) if has_descriptors else None
        return [
            {
                "token": token,
                "baseline": baseline[index],
                "gt_depth": pair.depths[0][index],
                "pred_depths": {
                    "first": depth[index],
                    "first_aligned": depth[index] * scale[index],
                },
                "gt_points": target[index],
                "pred_points": {"raw": points[index], "aligned": points[index] * scale[index]},
                "valid": valid[index],
                **({} if errors is None else {"match_errors": errors[index]}),
            }
            for index, token in enumerate(tokens)
        ]


@HOOKS.register_module()
class PointmapNetworkHook(Hook):
    """Write the network of each checkpoint, the newest alone, as ``--weights`` of the tools.

    Args:
        name: of the file in the work dir, ``.pth`` or ``.safetensors``.
    """

    # After mmengine's EMAHook, which puts the averaged weights into the checkpoint.
    priority = "VERY_LOW"

    def __init__(self, name: str = "pointmaps.pth") -> None:
        self.name = name

    @master_only
    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        weights = {
            name.removeprefix(_PREFIX): tensor
            for name, tensor in checkpoint["state_dict"].items()
            if name.startswith(_PREFIX)
        }
        model = getattr(runner.model, "module", runner.model)
        save_weights(weights, model.network.config, Path(runner.work_dir) / self.name)


def median_scale(
    pred: Tensor,  # [B, H, W], depth
    target: Tensor,  # [B, H, W], metres
    valid: Tensor,  # [B, H, W], bool
) -> Tensor:
    """What makes the median of the predicted depths right, ``[B]``.

    1 where nothing is valid, or most of it is predicted behind the camera.
    """
    medians = [
        torch.where(valid, depth, torch.nan).flatten(1).nanmedian(dim=1).values
        for depth in (target, pred)
    ]
    exists = valid.flatten(1).any(1) & (medians[1] > 1e-6)
    return torch.where(exists, medians[0] / medians[1], 1.0)


def _joined(first: Pointmap, second: Pointmap) -> Pointmap:
    """Both as one batch."""
    parts = zip(
        (first.points, first.confidence, first.descriptors, first.descriptor_confidence),
        (second.points, second.confidence, second.descriptors, second.descriptor_confidence),
        strict=True,
    )
    return Pointmap(*(None if a is None else torch.cat([a, b]) for a, b in parts))
