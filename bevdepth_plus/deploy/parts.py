"""The functions of a model in the vehicle, as torch modules over the detector's own parts.

    images, calibration ----ImagePart----> depth, context, depth_map   (of each camera by itself)
    depth, context, pixel_to_grid --ScatterPool or GatherPool--> bev   (float32)
    bevs of S moments --BEVPart--> maps of the heads

``OneGraph`` is all of them. The exporter traces them, and a torch backend can call them. There is
no second network: they call ``detector.perceive``, ``detector.temporal`` and the heads. Pooling is
written in standard operators here; the tests hold it against the native op.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from bevdepth_plus.errors import DataError
from bevdepth_plus.geometry.cameras import Cameras
from bevdepth_plus.models.bev.depth_refinement import lift_rows
from bevdepth_plus.models.bev.frustum import Frustum
from bevdepth_plus.models.bev.view_transform import LiftSplat
from bevdepth_plus.models.data_preprocessor import MultiViewPreprocessor
from bevdepth_plus.models.depth.estimator import Perception
from bevdepth_plus.models.depth.prior import View
from bevdepth_plus.models.detector import BEVDepth
from bevdepth_plus.models.heads.center_head import BEVCenterHead


def check_deployable(detector: BEVDepth) -> None:
    """Refuse what a graph with calibration as an input cannot express.

    Raises:
        DataError: an option of the detector has no place in it.
    """
    if not isinstance(detector.data_preprocessor, MultiViewPreprocessor):
        raise DataError(
            "only models with model.data_preprocessor of type MultiViewPreprocessor can be "
            f"exported, got {type(detector.data_preprocessor).__name__}"
        )
    if type(detector.view_transform.frustum) is not Frustum:
        raise DataError(
            f"{type(detector.view_transform.frustum).__name__} is no pinhole frustum, and the "
            "exported graph's geometry is; export with model.view_transform.frustum of type Frustum"
        )
    if detector.depth.estimate_focal:
        raise DataError(
            "model.depth.estimate_focal=True makes the calibration an output of the network, in "
            "the exported graph it is an input; set it to False and give calibrated intrinsics"
        )
    if detector.flip_average.mirrors:
        raise DataError(
            "test_time_flips run the model several times and are not exported; set "
            "model.test_time_flips=None"
        )
    boxes = [name for name, head in detector.heads.items() if isinstance(head, BEVCenterHead)]
    if len(boxes) > 1:
        raise DataError(f"one box head can be exported, model.heads has {', '.join(boxes)}")


def check_exportable(detector: BEVDepth) -> None:
    """Refuse what the detector itself can do in a vehicle, but its exported graphs cannot.

    Raises:
        DataError: see :func:`check_deployable`; or a prior looks at other images.
    """
    check_deployable(detector)
    for name, prior in detector.depth.priors.items():
        if not prior.single_image:
            raise DataError(
                f"model.depth.priors.{name} ({type(prior).__name__}) looks at other images than "
                "its own, and the exported image part runs one by one; run the config and its "
                "checkpoint instead, or set the prior to None"
            )


class ImagePart(nn.Module):
    """From uint8 images and their calibration to what is lifted.

    Normalisation is inside. Each camera is computed by itself, so any subset of a rig's cameras
    gives the same numbers for the cameras in it.

    Args:
        keep: also give what priors need that look at other images.
    """

    def __init__(self, detector: BEVDepth, keep: bool = False) -> None:
        super().__init__()
        self.detector = detector
        self.keep = keep

    def forward(
        self,
        intrinsics: Tensor,  # [N, 3, 3], pixels as loaded
        ego_T_cam: Tensor,  # [N, 4, 4]
        image_aug: Tensor,  # [N, 3, 3], pixels as loaded -> network pixels
        images: Tensor,  # [N, 3, H, W], uint8, RGB
    ) -> tuple[Tensor, ...]:
        """``depth [N, D, h, w]``, ``context [N, C, h, w]``, ``depth_map [N, h, w]`` in metres.

        With ``keep`` also the normalised images ``[N, 3, H, W]`` and their features.
        """
        cameras = one_batch(intrinsics, ego_T_cam, image_aug)
        if not self.keep:
            return lifted(self.detector, images, cameras)
        network_images = normalised(images, self.detector.data_preprocessor)[None]
        features = self.detector.image_encoder(network_images)
        alone = self.detector.depth.look_alone(View(network_images, features, cameras, cameras))
        return *_of_perception(alone, self.detector), network_images[0], features[0]


def one_batch(
    intrinsics: Tensor,  # [N, 3, 3]
    ego_T_cam: Tensor,  # [N, 4, 4]
    image_aug: Tensor,  # [N, 3, 3]
) -> Cameras:
    """Cameras of a batch of one, without BEV augmentation."""
    bev_aug = torch.eye(4, device=ego_T_cam.device)[None]
    return Cameras(intrinsics[None], ego_T_cam[None], image_aug[None], bev_aug)


def lifted(
    detector: BEVDepth,
    images: Tensor,  # [N, 3, H, W], uint8, RGB
    cameras: Cameras,
    key: Cameras | None = None,  # the key frame's, one for each camera; None: these are of it
) -> tuple[Tensor, Tensor, Tensor]:
    """What goes into the BEV map: depth, context and depth map, see :class:`ImagePart`."""
    network_images = normalised(images, detector.data_preprocessor)
    return _of_perception(detector.perceive(network_images[None], cameras, key), detector)


def _of_perception(perception: Perception, detector: BEVDepth) -> tuple[Tensor, Tensor, Tensor]:
    depth = perception.lifted
    return depth[0], perception.context[0], detector.depth.bins.expectation(depth)[0]


def normalised(
    images: Tensor,  # [..., 3, H, W], uint8, RGB
    preprocessor: Any,  # a MultiViewPreprocessor
) -> Tensor:
    """The network's input, as the detector's preprocessor makes it of BGR images."""
    in_order = images if preprocessor.to_rgb else images.flip(-3)
    return (in_order.float() - preprocessor.mean) / preprocessor.std


class ScatterPool(nn.Module):
    """Pooling whose cells are computed from ``pixel_to_grid``; one scatter with addition."""

    u: Tensor
    v: Tensor
    depths: Tensor

    def __init__(self, view_transform: LiftSplat) -> None:
        super().__init__()
        frustum = view_transform.frustum
        self.grid, self.rounding = frustum.grid, frustum.rounding
        self.refinement = view_transform.refinement
        for name in ("u", "v", "depths"):
            self.register_buffer(name, getattr(frustum, name), persistent=False)

    def cells(
        self,
        pixel_to_grid: Tensor,  # [N, 3, 4]
    ) -> Tensor:
        """Flat cells, int64 ``[N, D, h, w]``; ``Y * X`` outside the grid."""
        a, b, c, t = pixel_to_grid[..., None, None].unbind(2)  # [N, 3, 1, 1] each
        ray = a * self.u + (b * self.v[:, None] + c)  # [N, 3, h, w]
        coordinates = ray[:, :, None] * self.depths[:, None, None] + t[:, :, None]
        limits = torch.tensor(self.grid.size, device=ray.device)[:, None, None, None].float()
        above = coordinates > -1 if self.rounding == "truncate" else coordinates >= 0
        inside = (above & (coordinates < limits)).all(dim=1)  # [N, D, h, w]; False for NaN
        x, y = torch.where(inside[:, None], coordinates[:, :2], 0.0).long().unbind(1)
        rows, columns = self.grid.bev_size
        return torch.where(inside, y * columns + x, rows * columns)

    def forward(
        self,
        depth: Tensor,  # [N, D, h, w]
        context: Tensor,  # [N, C, h, w]
        pixel_to_grid: Tensor,  # [N, 3, 4]
    ) -> Tensor:
        """The BEV map ``[1, C, Y, X]``."""
        cells = self.cells(pixel_to_grid)
        if self.refinement is None:
            points = depth[..., None] * context.permute(0, 2, 3, 1)[:, None]  # [N, D, h, w, C]
        else:
            volume = self.refinement(lift_rows(depth[None], context[None]))  # [N * h, C, w, D]
            rows = volume.unflatten(0, (-1, context.shape[2]))  # [N, h, C, w, D]
            points = rows.permute(0, 4, 1, 3, 2)  # [N, D, h, w, C]
        channels = context.shape[1]
        size_y, size_x = self.grid.bev_size
        bev = torch.zeros(size_y * size_x + 1, channels, device=depth.device)
        bev = bev.index_put((cells.flatten(),), points.reshape(-1, channels), accumulate=True)
        return bev[:-1].T.reshape(1, channels, size_y, size_x)


class GatherPool(nn.Module):
    """Pooling without any scatter, for runtimes that have none with addition (TensorRT).

    The index arrays come from :func:`gather_index.gather_index`; they change with the calibration.
    """

    def __init__(self, view_transform: LiftSplat) -> None:
        super().__init__()
        if view_transform.refinement is not None:
            raise DataError(
                "the gather form pools depth times context, and model.view_transform.refinement "
                "has them convolved before; use --form parts"
            )
        self.bev_size = view_transform.bev_size

    def forward(
        self,
        depth: Tensor,  # [N, D, h, w]
        context: Tensor,  # [N, C, h, w]
        first_bin: Tensor,  # [N * w, K, h], int64: of the bins that lie in slot k's cell
        last_bin: Tensor,  # [N * w, K, h], int64: one past them
        rows_1: Tensor,  # [M1, 1], int64, column * K + slot of the runs of cells that have one
        rows_4: Tensor,  # [M4, 4], of cells that have up to four; N * w * K: none
        rows_16: Tensor,  # [M16, 16]
        rows_all: Tensor,  # [M, L], of cells that have more
        cell_rows: Tensor,  # [Y * X], where each cell's sum stands; the last row is zero
    ) -> Tensor:
        """The BEV map ``[1, C, Y, X]``."""
        channels = context.shape[1]
        # Depth below each bin: a cell's share of a pixel is the difference of two of them.
        below = torch.nn.functional.pad(depth.cumsum(dim=1), (0, 0, 0, 0, 1, 0))  # [N, D+1, h, w]
        below = below.permute(0, 3, 1, 2).flatten(0, 1)  # [N * w, D + 1, h]
        weights = below.gather(1, last_bin) - below.gather(1, first_bin)  # [N * w, K, h]
        columns = context.permute(0, 3, 2, 1).flatten(0, 1)  # [N * w, h, C]
        runs = (weights @ columns).flatten(0, 1)  # [N * w * K, C]
        runs = torch.cat([runs, runs.new_zeros(1, channels)])
        sums = [runs[rows].sum(dim=1) for rows in (rows_1, rows_4, rows_16, rows_all)]
        sums = torch.cat([*sums, runs.new_zeros(1, channels)])
        return sums[cell_rows].T.reshape(1, channels, *self.bev_size)


class BEVPart(nn.Module):
    """From the BEV maps of S moments to the heads' maps."""

    def __init__(self, detector: BEVDepth) -> None:
        super().__init__()
        self.detector = detector

    def forward(
        self,
        bevs: Tensor,  # [B, S * C, Y, X], newest moment first
    ) -> tuple[Tensor, ...]:
        """The heads' maps ``[B, C', Y, X]`` in the order of :meth:`names`."""
        return tuple(self.maps(bevs).values())

    def maps(self, bevs: Tensor) -> dict[str, Tensor]:
        """As :meth:`forward`, by name."""
        moments = bevs.chunk(self.detector.temporal.num_frames, dim=1)
        encoded = self.detector.temporal(moments)
        outputs = {name: head.outputs(encoded) for name, head in self.detector.heads.items()}
        return named_maps(outputs, self.detector)


class OneGraph(nn.Module):
    """The whole detector."""

    def __init__(self, detector: BEVDepth) -> None:
        super().__init__()
        self.detector = detector
        self.pool = ScatterPool(detector.view_transform)
        self.bev_part = BEVPart(detector)

    def forward(
        self,
        intrinsics: Tensor,  # [S, N, 3, 3]
        ego_T_cam: Tensor,  # [S, N, 4, 4], into the key frame's ego
        image_aug: Tensor,  # [S, N, 3, 3]
        pixel_to_grid: Tensor,  # [S, N, 3, 4]
        images: Tensor,  # [S, N, 3, H, W], uint8, RGB; key frame first
    ) -> tuple[Tensor, ...]:
        """The heads' maps, and the key frame's ``depth_map [N, h, w]``."""
        num_cameras = images.shape[1]
        matrices = (intrinsics, ego_T_cam, image_aug)
        cameras = one_batch(*(matrix.flatten(0, 1) for matrix in matrices))
        key = one_batch(*(matrix[:1].expand_as(matrix).flatten(0, 1) for matrix in matrices))
        # The cameras of all moments pass through the network together.
        depth, context, depth_map = lifted(self.detector, images.flatten(0, 1), cameras, key)
        bevs = []
        for moment, matrix in enumerate(pixel_to_grid.unbind(0)):
            part = slice(moment * num_cameras, (moment + 1) * num_cameras)
            bevs.append(self.pool(depth[part], context[part], matrix))  # [1, C, Y, X]
        return *self.bev_part(torch.cat(bevs, dim=1)), depth_map[:num_cameras]


def named_maps(outputs: Mapping[str, Any], detector: BEVDepth) -> dict[str, Tensor]:
    """The maps of all heads by the names that they have as outputs of a graph.

    Raises:
        DataError: a head's outputs are of a kind that has no names here.
    """
    maps: dict[str, Tensor] = {}
    for name, head in detector.heads.items():
        output = outputs[name]
        if isinstance(head, BEVCenterHead):
            for index, (task,) in enumerate(output):
                maps |= {f"task{index}.{part}": values for part, values in task.items()}
        elif isinstance(output, Tensor):
            maps[name] = output
        else:
            raise DataError(
                f"model.heads.{name} ({type(head).__name__}) gives {type(output).__name__}, only "
                "heads that give one tensor and box heads can be exported"
            )
    return maps


def head_outputs(maps: Mapping[str, Tensor], detector: BEVDepth) -> dict[str, Any]:
    """The inverse of :func:`named_maps`: what the heads decode."""
    outputs: dict[str, Any] = {}
    for name, head in detector.heads.items():
        if not isinstance(head, BEVCenterHead):
            outputs[name] = maps[name]
            continue
        tasks = []
        for index in range(len(head.task_heads)):
            prefix = f"task{index}."
            parts = {n.removeprefix(prefix): m for n, m in maps.items() if n.startswith(prefix)}
            tasks.append([parts])
        outputs[name] = tuple(tasks)
    return outputs
