"""Test-time augmentation: the heads' outputs averaged over mirrored inputs, decoded once.

Images are not loaded again: the pixels are mirrored on the device and so are the matrices of the
rig, as in training. Averaging maps instead of boxes follows CenterPoint (CVPR 2021).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import torch
from torch import Tensor

from bevdepth_plus.geometry.bev_grid import BEVGrid
from bevdepth_plus.geometry.cameras import CameraRig
from bevdepth_plus.models.heads.head import BEVHead


def every_flip(grid: Mapping) -> dict[str, bool]:
    """The options of :class:`FlipAverage` with every mirror that a grid allows.

    Args:
        grid: x, y, z of the :class:`BEVGrid`, each ``(lower, upper, cell)``.
    """
    return dict(image=True, x=_is_symmetric(grid["x"]), y=_is_symmetric(grid["y"]))


class FlipAverage:
    """Averages head outputs over all combinations of mirrors; k mirrors cost 2^k passes.

    The model should be trained with the same mirrors.

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
        plain: Mapping[str, Any],  # outputs of each head, of the inputs as they are
        heads: Mapping[str, BEVHead],
        run: Callable[[Tensor, CameraRig], Mapping[str, Any]],
        images: Tensor,  # [B, S, N, 3, H, W]
        rig: CameraRig,
    ) -> Mapping[str, Any]:
        """Averaged outputs of each head."""
        if not self.mirrors:
            return plain
        variants = [plain]
        for image, x, y in self.mirrors:
            inputs = mirror_images(images, rig) if image else (images, rig)
            outputs = run(inputs[0], mirror_bev(inputs[1], x, y))
            variants.append(
                {name: heads[name].undo_mirror(value, x, y) for name, value in outputs.items()}
            )
        return {name: heads[name].mean([variant[name] for variant in variants]) for name in plain}


def mirror_images(
    images: Tensor,  # [B, S, N, 3, H, W]
    rig: CameraRig,
) -> tuple[Tensor, CameraRig]:
    """All images mirrored left to right, and the rig that fits them."""
    mirror = rig.image_aug.new_tensor([[-1.0, 0, images.shape[-1]], [0, 1, 0], [0, 0, 1]])
    return images.flip(-1), replace(rig, image_aug=mirror @ rig.image_aug)


def mirror_bev(rig: CameraRig, x: bool, y: bool) -> CameraRig:
    """The rig with the BEV frame's axes mirrored."""
    mirror = torch.diag(rig.bev_aug.new_tensor([-1.0 if x else 1.0, -1.0 if y else 1.0, 1.0, 1.0]))
    return replace(rig, bev_aug=mirror @ rig.bev_aug)


def _is_symmetric(axis: Sequence[float]) -> bool:
    lower, upper, _ = axis
    return lower == -upper
