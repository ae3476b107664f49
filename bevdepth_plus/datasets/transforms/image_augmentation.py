"""Draws how images are resized, cropped, flipped and rotated; the 3x3 matrix goes along."""

from __future__ import annotations

import numpy as np
from mmcv.transforms import BaseTransform
from mmdet3d.registry import TRANSFORMS

from bevdepth_plus.rigs.crop_rule import CropRule, resized_size
from bevdepth_plus.rigs.image_crop import ImageAugmentationParams, augment_image


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
        self.rule = CropRule(
            self.final_dim,
            bottom_cut=sum(self.bot_pct) / 2,
            keep_horizon=crop == "horizon",
            canonical_focal=canonical_focal,
            principal_point=self.principal_point,
        )

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
        if not self.training:
            return self.rule.params(width, height, intrinsics, horizon)
        scale = np.random.uniform(*self.scale)
        cut = np.random.uniform(*self.bot_pct)
        rotation = np.deg2rad(np.random.uniform(*self.rot))
        flip = self.flip and bool(np.random.randint(2))
        factor = scale * self.rule.factor(width, height, intrinsics)
        resized = resized_size(width, height, factor)
        left = 0
        if self.canonical_focal is None:
            left = int(np.random.uniform(0, max(0, resized[0] - self.final_dim[1])))
        left, top = self.rule.corner(resized, left, cut, intrinsics, factor)
        top -= round(self.rule.rise(width, height, intrinsics, horizon) * factor)
        return ImageAugmentationParams(resized, (left, top), flip, float(rotation))

    def _horizons(self, results: dict) -> list[float]:
        """The horizon's row in each camera's image of the key frame, raw pixels."""
        num_cameras = results["image_aug"].shape[1]
        widths = [width for width, _ in _raw_sizes(results)[:num_cameras]]
        return [
            float(self.rule.horizon(width, intrinsics, pose))
            for width, intrinsics, pose in zip(
                widths, results["intrinsics"][0], results["ego_T_cam"][0], strict=True
            )
        ]

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
