"""Test-time augmentation: the head's outputs averaged over mirrored inputs, decoded once.

Mirrors need no second loading of images: the pixels are mirrored on the device and the matrices of
the rig say so, as in training. Averaging maps instead of boxes follows CenterPoint (CVPR 2021).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import product

import torch
from torch import Tensor

from bevdepth_plus.geometry.bev_grid import BEVGrid
from bevdepth_plus.geometry.camera import CameraRig

TaskMaps = dict[str, Tensor]  # heatmap, reg, height, dim, rot, vel: [B, C, Y, X] each
HeadOutputs = tuple[list[TaskMaps], ...]  # of mmdet3d's CenterHead: a list of one for each task


def every_flip(grid: Mapping) -> dict[str, bool]:
    """The options of :class:`FlipAverage` with every mirror that a grid allows.

    Args:
        grid: x, y, z of the :class:`BEVGrid`, each ``(lower, upper, cell)``.
    """
    return dict(image=True, x=_is_symmetric(grid["x"]), y=_is_symmetric(grid["y"]))


class FlipAverage:
    """Averages head outputs over all combinations of mirrors; k mirrors cost 2^k passes.

    A model should have seen in training what it is shown here.

    Args:
        grid: the :class:`BEVGrid`'s x, y, z.
        image: mirror every image left to right.
        x: mirror the BEV frame's x axis (front and rear change places).
        y: mirror the BEV frame's y axis (left and right change places).

    Raises:
        ValueError: the grid is not symmetric about the vehicle along a mirrored axis.
    """

    def __init__(
        self, grid: Mapping, image: bool = False, x: bool = False, y: bool = False
    ) -> None:
        axes = BEVGrid(**grid)
        for name, flipped in (("x", x), ("y", y)):
            if flipped and not _is_symmetric(getattr(axes, name)):
                raise ValueError(
                    f"mirroring {name} needs a BEV grid with the vehicle in its middle, got "
                    f"{name} from {getattr(axes, name)[0]} to {getattr(axes, name)[1]} m"
                )
        choices = ((False, True) if chosen else (False,) for chosen in (image, x, y))
        self.mirrors = [flips for flips in product(*choices) if any(flips)]

    def __call__(
        self,
        plain: HeadOutputs,  # of the inputs as they are
        run: Callable[[Tensor, CameraRig], HeadOutputs],
        images: Tensor,  # [B, S, N, 3, H, W]
        rig: CameraRig,
    ) -> HeadOutputs:
        """Head outputs in the place of ``plain``."""
        if not self.mirrors:
            return plain
        variants = [plain]
        for image, x, y in self.mirrors:
            inputs = mirror_images(images, rig) if image else (images, rig)
            outputs = run(inputs[0], mirror_bev(inputs[1], x, y))
            variants.append(tuple([undo_mirror(maps, x, y) for maps in task] for task in outputs))
        return tuple(
            [_mean(same) for same in zip(*task, strict=True)]
            for task in zip(*variants, strict=True)
        )


def mirror_images(
    images: Tensor,  # [B, S, N, 3, H, W]
    rig: CameraRig,
) -> tuple[Tensor, CameraRig]:
    """All images mirrored left to right, and the rig that knows it."""
    mirror = rig.image_aug.new_tensor([[-1.0, 0, images.shape[-1]], [0, 1, 0], [0, 0, 1]])
    return images.flip(-1), replace(rig, image_aug=mirror @ rig.image_aug)


def mirror_bev(rig: CameraRig, x: bool, y: bool) -> CameraRig:
    """The rig with the BEV frame's axes mirrored."""
    mirror = torch.diag(rig.bev_aug.new_tensor([-1.0 if x else 1.0, -1.0 if y else 1.0, 1.0, 1.0]))
    return replace(rig, bev_aug=mirror @ rig.bev_aug)


def undo_mirror(maps: TaskMaps, x: bool, y: bool) -> TaskMaps:
    """What one task's head says in a mirrored BEV frame, told in the unmirrored one."""
    rows_and_columns = [axis for axis, flipped in ((-1, x), (-2, y)) if flipped]
    maps = {name: values.flip(rows_and_columns) for name, values in maps.items()}
    offset = maps["reg"]
    flipped = offset.new_tensor([x, y]).view(2, 1, 1)
    sign = 1 - 2 * flipped  # of (x, y)
    undone = {
        **maps,
        "reg": flipped + sign * offset,  # of the centre in its cell, 0 to 1
        "rot": sign.flip(0) * maps["rot"],  # (sin, cos): along y, along x
    }
    return {**undone, "vel": sign * maps["vel"]} if "vel" in maps else undone


def _mean(variants: tuple[TaskMaps, ...]) -> TaskMaps:
    means = {
        name: torch.stack([maps[name].float() for maps in variants]).mean(dim=0)
        for name in variants[0]
        if name != "heatmap"
    }
    scores = torch.stack([maps["heatmap"].float().sigmoid() for maps in variants]).mean(dim=0)
    return {**means, "heatmap": scores.logit(eps=1e-7)}  # as logits, which the decoder expects


def _is_symmetric(axis: Sequence[float]) -> bool:
    lower, upper, _ = axis
    return lower == -upper
