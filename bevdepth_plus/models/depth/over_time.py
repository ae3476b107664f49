"""Losses between the depth maps of neighbouring moments.

A pair of moments is an older frame t and the newer frame t + 1. The newer one learns; the key frame
is the newest of all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
from mmdet3d.registry import MODELS
from torch import Tensor
from torch.nn import functional

from bevdepth_plus.errors import DataError
from bevdepth_plus.geometry.cameras import Cameras
from bevdepth_plus.geometry.flow import rigid_flow_between, visible_in_other
from bevdepth_plus.models.depth.map_losses import DepthMapLoss, DepthMoment

SOURCES = ("flow", "rigid")


class DepthOverTime(DepthMapLoss):
    """Base of the losses between moments; a loss overrides :meth:`pair_loss`."""

    def forward(self, moments: Sequence[DepthMoment], inputs: Mapping[str, Tensor]) -> Tensor:
        """The mean over the pairs of neighbouring moments that have a gradient.

        Raises:
            DataError: there is no past, or the inputs lack what the loss needs.
        """
        if len(moments) < 2:
            raise DataError(
                f"{type(self).__name__} compares frames, but the model uses one: set "
                "model.temporal.num_frames and the dataset's num_frames to 2 or more"
            )
        # Without temporal.past_gradient only the key frame learns.
        losses = [
            self.pair_loss(newer, older, pair, inputs)
            for pair, (newer, older) in enumerate(pairwise(moments))
            if pair == 0 or newer.depth.requires_grad
        ]
        return torch.stack(losses).mean()

    def pair_loss(
        self, newer: DepthMoment, older: DepthMoment, pair: int, inputs: Mapping[str, Tensor]
    ) -> Tensor:
        """The loss of moments ``pair`` (newer) and ``pair + 1`` (older), a scalar."""
        raise NotImplementedError(f"{type(self).__name__} must define pair_loss")


@MODELS.register_module()
class MatchedDepthOverTime(DepthOverTime):
    """A loss of two depth maps and a correspondence: order, Pearson, ordinal, L1.

    The older frame's depth is first moved into the newer frame's camera by the poses, for what is
    static: the order along the axis truly changes where the vehicle turns.

    Args:
        loss: config of a loss that is called ``loss(depth_t, depth_t1, correspondence, valid)``,
            such as :class:`TemporalOrderLoss` and :class:`MatchedDepthLoss`. One with
            ``symmetric=True`` teaches the older frame, too, if ``temporal.past_gradient`` is set.
        source: where correspondences come from. ``"flow"``: from the loader, see
            ``LoadOpticalFlow``. ``"rigid"``: from the older frame's depth and the poses, without
            gradient; points that the newer frame's depth hides are left out.
        tolerance: of that test, share of depth.
    """

    def __init__(
        self,
        stride: int,
        loss: dict,
        maps: Sequence[str] = ("bin",),
        source: str = "flow",
        tolerance: float = 0.25,
    ) -> None:
        super().__init__(stride, maps)
        if source not in SOURCES:
            raise ValueError(f"source must be one of {', '.join(SOURCES)}, got {source!r}")
        self.loss = MODELS.build(loss)
        self.source = source
        self.tolerance = tolerance

    def pair_loss(
        self, newer: DepthMoment, older: DepthMoment, pair: int, inputs: Mapping[str, Tensor]
    ) -> Tensor:
        moved = rigid_flow_between(older.depth, older.cameras, newer.cameras, self.stride)
        depth = newer.depth.flatten(0, 1)[:, None]  # [B * N, 1, h, w]
        if self.source == "flow":
            correspondence, valid = self._from_loader(inputs, pair, newer.depth)
            valid = valid & moved.valid
        else:
            correspondence = moved.correspondence.detach()
            valid = visible_in_other(moved, depth.detach(), self.tolerance)
            valid = valid & _both_work(newer.cameras, older.cameras).flatten(0, 1)[:, None]
        return self.loss(moved.depth, depth, correspondence, valid)

    def _from_loader(
        self, inputs: Mapping[str, Tensor], pair: int, depth: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Correspondence in cells ``[B * N, 2, h, w]`` and which are kept ``[B * N, 1, h, w]``."""
        if "correspondence" not in inputs:
            raise DataError(
                f"{type(self).__name__} needs correspondences: add load_flow="
                f"dict(type='LoadOpticalFlow', stride={self.stride}) to the training pipeline, "
                "or set source='rigid'"
            )
        correspondence = inputs["correspondence"]  # [B, S - 1, N, 2, h, w], network pixels
        cells, expected = tuple(correspondence.shape[-2:]), tuple(depth.shape[-2:])
        if cells != expected:
            raise DataError(
                f"correspondences are on {cells} cells, depth on {expected}: set "
                f"LoadOpticalFlow.stride to {self.stride}, the stride of the image features"
            )
        valid = inputs["correspondence_valid"][:, pair].flatten(0, 1)[:, None]
        return correspondence[:, pair].flatten(0, 1) / self.stride, valid


@MODELS.register_module()
class PhotometricOverTime(DepthOverTime):
    """The older image, warped by the newer frame's depth, must look like the newer image.

    Args:
        image_stride: resolution of the comparison, network pixels; depth is interpolated to it and
            images are averaged. It must divide the feature stride.
        loss: config of a loss called ``loss(image_t, image_t1, correspondence, valid)``.
        mean, std: those of the data preprocessor, 0..255, to get colours back.
    """

    mean: Tensor  # [3, 1, 1]
    std: Tensor  # [3, 1, 1]

    def __init__(
        self,
        stride: int,
        maps: Sequence[str] = ("bin",),
        image_stride: int = 4,
        loss: Mapping | None = None,
        mean: Sequence[float] = (123.675, 116.28, 103.53),
        std: Sequence[float] = (58.395, 57.12, 57.375),
    ) -> None:
        super().__init__(stride, maps)
        if image_stride < 1 or stride % image_stride:
            raise ValueError(
                f"image_stride must divide the feature stride {stride}, got {image_stride}"
            )
        self.image_stride = image_stride
        self.loss = MODELS.build(dict(loss or dict(type="PhotometricLoss")))
        # Buffers: numbers turned into a tensor in each step would make a GPU wait.
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)

    def pair_loss(
        self, newer: DepthMoment, older: DepthMoment, pair: int, inputs: Mapping[str, Tensor]
    ) -> Tensor:
        cameras = newer.depth.shape[1]
        scale = self.stride // self.image_stride
        depth = functional.interpolate(newer.depth, scale_factor=scale, mode="bilinear")
        flow = rigid_flow_between(depth, newer.cameras, older.cameras, self.image_stride)
        # [B, S, N, 3, H, W]
        images = inputs["img"].unflatten(1, (-1, cameras))
        newest, past = (self._colours(images[:, moment]) for moment in (pair, pair + 1))
        works = _both_work(newer.cameras, older.cameras).flatten(0, 1)[:, None]
        return self.loss(newest, past, flow.correspondence, flow.valid & works)

    def _colours(
        self,
        images: Tensor,  # [B, N, 3, H, W], normalised
    ) -> Tensor:
        """Small images from 0 to 1, ``[B * N, 3, H / image_stride, W / image_stride]``."""
        small = functional.avg_pool2d(images.flatten(0, 1).float(), self.image_stride)
        return (small * self.std + self.mean) / 255


def _both_work(newer: Cameras, older: Cameras) -> Tensor:
    """Cameras that give an image at both moments, bool ``[B, N, 1, 1]``."""
    works = torch.ones(newer.intrinsics.shape[:2], dtype=torch.bool, device=newer.intrinsics.device)
    for cameras in (newer, older):
        if cameras.mask is not None:
            works = works & cameras.mask
    return works[..., None, None]
