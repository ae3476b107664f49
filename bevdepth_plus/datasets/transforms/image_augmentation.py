"""Draws how images are resized, cropped, flipped and rotated; the 3x3 matrix goes along."""

from __future__ import annotations

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmdet3d.registry import TRANSFORMS

from bevdepth_plus.deploy.image_crop import ImageAugmentationParams, augment_image
from bevdepth_plus.geometry.horizon import horizon_row

# Where the horizon may lie in the network's image, as shares of its height from the top. BEVDepth's
# crop has it at 0.27 to 0.30 in nuScenes' six cameras.
HORIZON_BAND = (0.2, 0.4)


@TRANSFORMS.register_module()
class ImageAugmentation(BaseTransform):
    """Brings every image to the network's size, in training at random, as BEVDepth's recipe.

    The resize factor is relative to the one at which the image just covers the final size, so one
    config serves cameras of any size. BEVDepth's absolute 0.386 to 0.55 for 1600 x 900 images and
    a final size of 256 x 704 (fit 0.44) is the default ``scale``. All frames of one camera are
    augmented alike. Boxes do not move; ``image_aug`` tells the geometry what happened.

    Args:
        final_dim: Height and width of the network's input, pixels.
        scale: Range of the resize factor relative to the fitting one.
        rot: Range of the rotation, degrees.
        flip: Mirror left and right with probability 1/2.
        bot_pct: Range of the share of the resized image cut off at the bottom.
        crop: Which rows stay. ``"horizon"``: the bottom ones, unless the horizon would lie outside
            ``HORIZON_BAND`` of the test image; then the crop moves up by what is missing, and by as
            much of the street in training. nuScenes' own cameras have it inside, so for them the
            crop is the public recipe's to the pixel. ``"bottom"``: always the bottom rows, as in
            the public code; a portrait or 4:3 camera then sees the road right before the car alone.
        canonical_focal: Every camera is resized to this focal length in pixels instead of to fit,
            and cropped about its principal point (Metric3D's canonical camera by images; ``scale``
            is relative to it, ``bot_pct`` does not apply), moved up or down as far as ``crop``
            asks. What is missing is black.
        principal_point: Where the principal point of a canonical image lies, as shares of the final
            width and height. The default keeps the horizon where BEVDepth's crop of nuScenes
            images has it.
        training: False: scale 1, no rotation, no flip, centred crop, mean ``bot_pct``.
    """

    def __init__(
        self,
        final_dim: tuple[int, int],
        scale: tuple[float, float] = (0.386 / 0.44, 0.55 / 0.44),
        rot: tuple[float, float] = (-5.4, 5.4),
        flip: bool = True,
        bot_pct: tuple[float, float] = (0.0, 0.0),
        crop: str = "horizon",
        canonical_focal: float | None = None,
        principal_point: tuple[float, float] = (0.5, 0.3),
        training: bool = True,
    ) -> None:
        if len(final_dim) != 2 or min(final_dim) < 1:
            raise ValueError(f"final_dim must be (height, width) in pixels, got {final_dim}")
        if not 0 < scale[0] <= scale[1]:
            raise ValueError(f"scale must be a range of positive factors, got {scale}")
        if crop not in ("horizon", "bottom"):
            raise ValueError(f"crop must be 'horizon' or 'bottom', got {crop!r}")
        self.final_dim = tuple(final_dim)
        self.scale = tuple(scale)
        self.rot = tuple(rot)
        self.flip = flip
        self.bot_pct = tuple(bot_pct)
        self.crop = crop
        self.canonical_focal = canonical_focal
        self.principal_point = tuple(principal_point)
        self.training = training

    def transform(self, results: dict) -> dict:
        num_cameras = results["image_aug"].shape[1]
        final_size = (self.final_dim[1], self.final_dim[0])
        sizes = _raw_sizes(results)
        params = [
            self.draw(*sizes[camera], results["intrinsics"][0, camera], horizon)
            for camera, horizon in enumerate(self._horizons(results))
        ]
        augmented = [
            augment_image(image, params[index % num_cameras], final_size, sizes[index])
            for index, image in enumerate(results["img"])
        ]
        matrices = np.stack([matrix for _, matrix in augmented])
        return {
            **results,
            "img": [image for image, _ in augmented],
            "image_aug": matrices.reshape(results["image_aug"].shape) @ results["image_aug"],
        }

    def draw(
        self,
        width: int,
        height: int,
        intrinsics: np.ndarray,  # [3, 3]
        horizon: float = np.nan,  # its row in the image's middle, pixels; NaN: not known
    ) -> ImageAugmentationParams:
        """Parameters for one camera; random in training."""
        scale, cut, rotation, flip = 1.0, sum(self.bot_pct) / 2, 0.0, False
        if self.training:
            scale = np.random.uniform(*self.scale)
            cut = np.random.uniform(*self.bot_pct)
            rotation = np.deg2rad(np.random.uniform(*self.rot))
            flip = self.flip and bool(np.random.randint(2))
        fit = self._resize(width, height, intrinsics)
        scale *= fit
        resized = (max(1, round(width * scale)), max(1, round(height * scale)))
        if self.canonical_focal is None:
            left, top = self._left(resized[0]), self._bottom_top(resized[1], cut)
        else:
            left, top = self._about(intrinsics[:2, 2] * scale)
        top -= round(self._raise(height, intrinsics, horizon, fit) * scale)
        return ImageAugmentationParams(resized, (left, top), flip, float(rotation))

    def _resize(self, width: int, height: int, intrinsics: np.ndarray) -> float:
        if self.canonical_focal is not None:
            return self.canonical_focal / ((intrinsics[0, 0] + intrinsics[1, 1]) / 2)
        return max(self.final_dim[0] / height, self.final_dim[1] / width)

    def _left(self, resized_width: int) -> int:
        spare = max(0, resized_width - self.final_dim[1])
        return int(np.random.uniform(0, spare)) if self.training else spare // 2

    def _bottom_top(self, resized_height: int, cut: float) -> int:
        return int((1 - cut) * resized_height) - self.final_dim[0]

    def _raise(self, height: int, intrinsics: np.ndarray, horizon: float, fit: float) -> float:
        """How far the crop moves up so that the test image shows the horizon, raw pixels."""
        if self.crop == "bottom" or np.isnan(horizon):
            return 0.0
        if self.canonical_focal is None:
            top = self._bottom_top(max(1, round(height * fit)), sum(self.bot_pct) / 2)
            least, most = 0, max(0, top)  # the crop stays within the image
        else:
            top = self._about(intrinsics[:2, 2] * fit)[1]
            least, most = -np.inf, np.inf
        row = horizon * fit - top
        wanted = np.clip(row, *np.multiply(HORIZON_BAND, self.final_dim[0]))
        return float(np.clip(wanted - row, least, most)) / fit

    def _horizons(self, results: dict) -> list[float]:
        """The horizon's row in each camera's image of the key frame, raw pixels."""
        num_cameras = results["image_aug"].shape[1]
        if self.crop == "bottom":
            return [np.nan] * num_cameras
        widths = [width for width, _ in _raw_sizes(results)[:num_cameras]]
        rows = horizon_row(
            torch.from_numpy(results["intrinsics"][0]),
            torch.from_numpy(results["ego_T_cam"][0]),
            torch.tensor(widths, dtype=torch.float64) / 2,
        )
        return rows.tolist()

    def _about(self, principal_point: np.ndarray) -> tuple[int, int]:
        place = np.multiply(self.principal_point, self.final_dim[::-1])
        left, top = np.round(principal_point - place).astype(int).tolist()
        return left, top

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(final_dim={self.final_dim}, scale={self.scale}, "
            f"rot={self.rot}, flip={self.flip}, bot_pct={self.bot_pct}, crop={self.crop!r}, "
            f"canonical_focal={self.canonical_focal}, principal_point={self.principal_point}, "
            f"training={self.training})"
        )


def _raw_sizes(results: dict) -> list[tuple[int, int]]:
    """Width and height of the image files; images decoded in the fast way are smaller."""
    shapes = results.get("raw_shape") or [image.shape[:2] for image in results["img"]]
    return [(shape[1], shape[0]) for shape in shapes]
