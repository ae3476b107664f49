"""Depth of a two-view network, made metric by the ego motion, as a prior of the detector."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from mmdet3d.registry import MODELS
from torch import Tensor
from torch.nn.functional import max_pool2d, pad

from bevdepth_plus.geometry.cameras import compose_pixels
from bevdepth_plus.geometry.depth_bins import DepthBins
from bevdepth_plus.geometry.rigid import invert_rigid
from bevdepth_plus.models.depth.prior import DepthPrior, View
from bevdepth_plus.pointmaps.checkpoints import load_model
from bevdepth_plus.pointmaps.encoder import PATCH
from bevdepth_plus.pointmaps.metric_depth import ScaleRules, pair_depth

# The confidence loss of the two-view training, c * error - 0.2 log c, is least at error = 0.2 / c.
_ERROR_TIMES_CONFIDENCE = 0.2


class CellDepth(NamedTuple):
    """What the pair of a camera says about each feature cell.

    Attributes:
        depth: the nearest in the cell, metres, 0 where unknown, ``[B, N, H, W]``.
        width: standard deviation of its logarithm, ``[B, N, H, W]``.
    """

    depth: Tensor
    width: Tensor


@MODELS.register_module()
class PointmapPrior(DepthPrior):
    """Pointmaps of each camera's image and its own past image, in metres by the ego motion.

    The past image is the newest one that lies ``min_baseline`` away. Cameras without one say
    nothing: the vehicle stands, there is no past, the camera is out. Neither do pixels of low
    confidence, nor pairs whose pixels do not agree on a scale. Moving objects are not masked.

    The network's images are the detector's, its normalisation undone. Sides that are no multiple
    of 16 are cropped about the centre; the cells of the border then say nothing.

    A frozen network is no part of the detector's checkpoints: it is read from ``weights`` whenever
    the detector is built.

    Args:
        in_channels, stride: see :class:`DepthPrior`.
        weights: file of ``tools/convert_pointmap_checkpoint.py`` or :func:`checkpoints.save_model`.
        mean, std, to_rgb: those of the detector's ``MultiViewPreprocessor``.
        frozen: False trains the network by the detector's losses, and saves it.
        trust: probability that a depth that is said is right; the rest is uniform.
        min_width: least relative error of a depth.
        min_baseline: metres.
        min_confidence: of a pixel, as the network gives it (above 1).
        max_spread: of the scale, see :class:`ScaleRules`.
        pairs_at_once: in one run of the network.

    Raises:
        DataError: the weights are missing, damaged or of another network.
        ValueError: an option is out of range.
    """

    single_image = False

    def __init__(
        self,
        in_channels: int,
        stride: int,
        weights: str,
        mean: Sequence[float] = (123.675, 116.28, 103.53),
        std: Sequence[float] = (58.395, 57.12, 57.375),
        to_rgb: bool = True,
        frozen: bool = True,
        trust: float = 0.9,
        min_width: float = 0.05,
        min_baseline: float = 0.2,
        min_confidence: float = 1.5,
        max_spread: float = 0.3,
        pairs_at_once: int = 6,
    ) -> None:
        super().__init__()
        if not 0 < trust < 1 or min_width <= 0 or min_baseline <= 0 or pairs_at_once < 1:
            raise ValueError(
                "0 < trust < 1, min_width > 0, min_baseline > 0 and pairs_at_once >= 1 are needed, "
                f"got {trust}, {min_width}, {min_baseline} and {pairs_at_once}"
            )
        self.stride = stride
        self.to_rgb = to_rgb
        self.frozen = frozen
        self.trust = trust
        self.min_width = min_width
        self.rules = ScaleRules(min_baseline, min_confidence, max_spread)
        self.pairs_at_once = pairs_at_once
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)
        self.network = load_model(Path(weights))
        self.network.requires_grad_(not frozen)
        self._register_state_dict_hook(_without_frozen_network)

    def forward(self, view: View) -> CellDepth | None:
        """None where there is no past frame at all."""
        if not view.past:
            return None
        shape = view.images.shape[:2]  # B, N
        first_T_past, usable, moment = self._past_of_each(view)
        rows = usable.flatten().nonzero()[:, 0]  # cameras of all samples
        maps = []
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            for part in rows.split(self.pairs_at_once) if len(rows) else ():
                maps.append(self._pairs(view, part, moment.flatten()[part], first_T_past))
        size = view.images.shape[-2:]
        depth = first_T_past.new_zeros(usable.numel(), *size)
        width = torch.ones_like(depth)
        if maps:
            depths, widths = (torch.cat(parts) for parts in zip(*maps, strict=True))
            depth = depth.index_put((rows,), depths)
            width = width.index_put((rows,), widths)
        cells = _nearest_in_cells(depth, width, self.stride)
        return CellDepth(*(values.unflatten(0, shape) for values in cells))

    def log_bins(
        self, prediction: CellDepth | None, bins: DepthBins, cells: tuple[int, int]
    ) -> Tensor | None:
        """A Gaussian in log depth over a uniform floor; 0 in all bins where nothing is said."""
        if prediction is None:
            return None
        depth, width = prediction.depth[:, :, None], prediction.width[:, :, None]
        known = depth > 0
        depth = torch.where(known, depth, 1.0)
        # A bin stands for all depths in it: their spread is step / sqrt(12).
        variance = width.square() + (bins.step / depth).square() / 12
        centres = bins.centres(depth.device)[:, None, None]  # [D, 1, 1]
        distance = (centres.log() - depth.log()).square() / variance
        log = torch.log(self.trust * (-0.5 * distance).exp() + (1 - self.trust))
        return torch.where(known, log, 0.0)  # [B, N, D, H, W]

    def maps(self, prediction: CellDepth | None, cells: tuple[int, int]) -> Tensor | None:
        """The nearest depth in each feature cell, metres, 0 where nothing is said."""
        return None if prediction is None else prediction.depth

    def train(self, mode: bool = True) -> PointmapPrior:
        """Set the training mode; a frozen network stays in evaluation mode."""
        super().train(mode)
        if self.frozen:
            self.network.eval()
        return self

    def _past_of_each(self, view: View) -> tuple[Tensor, Tensor, Tensor]:
        """The newest past frame with a baseline, for each camera.

        Returns:
            Poses of the past cameras in the camera's frame ``[B, S, N, 4, 4]``, whether there is a
            usable one ``[B, N]``, and which ``[B, N]``.
        """
        with torch.autocast(view.images.device.type, enabled=False):
            own = invert_rigid(view.cameras.ego_T_cam.float())  # [B, N, 4, 4]
            poses = [own @ past.cameras.ego_T_cam.float() for past in view.past]
        poses = torch.stack(poses, dim=1)
        far = poses[..., :3, 3].norm(dim=-1) >= self.rules.min_baseline  # [B, S, N]; False for NaN
        for index, past in enumerate(view.past):
            for mask in (view.cameras.mask, past.cameras.mask):
                if mask is not None:
                    far[:, index] &= mask
        return poses, far.any(1), far.int().argmax(1)

    def _pairs(
        self, view: View, rows: Tensor, moment: Tensor, first_T_past: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Depth and relative error of K cameras, ``[K, H, W]`` each."""
        sample, camera = rows // view.images.shape[1], rows % view.images.shape[1]

        def of_past(values: Sequence[Tensor]) -> Tensor:
            """Each camera's value at its own past moment, of ``[B, N, ...]`` at all moments."""
            there = torch.stack([each[sample, camera] for each in values])  # [S, K, ...]
            return there[moment, torch.arange(len(rows), device=rows.device)]

        size = view.images.shape[-2:]
        height, width = (side // PATCH * PATCH for side in size)
        top, left = (size[0] - height) // 2, (size[1] - width) // 2
        # Pixels of the image -> of the cropped one.
        crop = torch.eye(3, device=rows.device)
        crop[0, 2], crop[1, 2] = -left, -top
        images = [
            self._network_colours(each[..., top : top + height, left : left + width])
            for each in (
                view.images[sample, camera],
                of_past([past.images for past in view.past]),
            )
        ]
        matrices = (
            compose_pixels(crop, view.cameras.network_intrinsics[sample, camera].float()),
            compose_pixels(
                crop, of_past([past.cameras.network_intrinsics for past in view.past]).float()
            ),
        )
        first, second = self.network(*images)
        found = pair_depth(
            first, second, matrices, first_T_past[sample, moment, camera], rules=self.rules
        )
        borders = (left, size[1] - width - left, top, size[0] - height - top)
        # No infinity, whose gradient would be NaN where nothing is said.
        spread = torch.where(found.spread.isfinite(), found.spread, 1.0)[:, None, None]
        error = _ERROR_TIMES_CONFIDENCE / found.confidence.clamp(min=1.0)
        error = (error.square() + spread.square()).sqrt().clamp(min=self.min_width)
        return pad(found.depth, borders), pad(error, borders, value=1.0)

    def _network_colours(self, images: Tensor) -> Tensor:
        """Normalised for the detector -> RGB in [-1, 1], ``[K, 3, H, W]``."""
        colours = images * self.std + self.mean
        colours = colours if self.to_rgb else colours.flip(1)
        return colours / 127.5 - 1

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args, **kwargs) -> None:
        """A checkpoint without the frozen network leaves it as it is."""
        if self.frozen:
            own = self.network.state_dict(prefix=f"{prefix}network.")
            state_dict.update(own)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


def _without_frozen_network(
    prior: PointmapPrior, state_dict: dict, prefix: str, metadata: Mapping
) -> None:
    if prior.frozen:
        for name in [name for name in state_dict if name.startswith(f"{prefix}network.")]:
            del state_dict[name]


def _nearest_in_cells(depth: Tensor, width: Tensor, stride: int) -> tuple[Tensor, Tensor]:
    """The nearest depth of each cell (as of the labels), 0 where none, and that pixel's width."""
    far = torch.where(depth > 0, depth, torch.inf)
    nearest, index = max_pool2d(-far[:, None], stride, return_indices=True)
    nearest = -nearest[:, 0]
    known = nearest.isfinite()
    picked = width.flatten(1).gather(1, index[:, 0].flatten(1)).view_as(nearest)
    return torch.where(known, nearest, 0.0), torch.where(known, picked, 1.0)
