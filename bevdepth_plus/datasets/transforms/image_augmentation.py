"""Resize, crop, flip and rotate images; the 3x3 matrix of it goes along with the image.

Pixel coordinates are (column, row) with centres at integer + 0.5, so resizing scales them and
mirroring maps u to W - u.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmdet3d.registry import TRANSFORMS


@dataclass(frozen=True)
class ImageAugmentationParams:
    """What happens to one camera's images, in this order.

    Attributes:
        resized: Width and height in pixels after resizing.
        crop: Left and top corner of the crop, pixels of the resized image; the crop may reach
            over the image's border, where it is black.
        flip: Mirror left and right.
        rotation: Radians, counter-clockwise as seen on the screen, about the crop's centre.
    """

    resized: tuple[int, int]
    crop: tuple[int, int]
    flip: bool = False
    rotation: float = 0.0


def augmentation_matrix(
    params: ImageAugmentationParams,
    raw_size: tuple[int, int],  # width, height
    final_size: tuple[int, int],  # width, height
) -> np.ndarray:
    """The map of pixel coordinates, raw image -> augmented image, [3, 3] float64."""
    width, height = final_size
    resize = np.diag([params.resized[0] / raw_size[0], params.resized[1] / raw_size[1], 1.0])
    flip = np.array([[-1.0, 0, width], [0, 1, 0], [0, 0, 1]]) if params.flip else np.eye(3)
    cos, sin = np.cos(params.rotation), np.sin(params.rotation)
    # Rows grow downwards, so this is counter-clockwise on the screen.
    rotate = np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]])
    rotate = _translation(width / 2, height / 2) @ rotate @ _translation(-width / 2, -height / 2)
    return rotate @ flip @ _translation(-params.crop[0], -params.crop[1]) @ resize


def augment_image(
    image: np.ndarray,  # [H, W, C] uint8
    params: ImageAugmentationParams,
    final_size: tuple[int, int],  # width, height
) -> tuple[np.ndarray, np.ndarray]:
    """Applies the augmentation.

    The image is resized first, averaging over areas when it shrinks (no aliasing), and then warped
    once, so that crop, flip and rotation cost one interpolation.

    Returns:
        The augmented image, [final height, final width, C], and the matrix raw pixels -> its
        pixels, [3, 3] float64.
    """
    raw_size = (image.shape[1], image.shape[0])
    matrix = augmentation_matrix(params, raw_size, final_size)
    shrinks = params.resized[0] < raw_size[0]
    resized = cv2.resize(
        image, params.resized, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    )
    to_raw = np.diag([raw_size[0] / params.resized[0], raw_size[1] / params.resized[1], 1.0])
    # cv2 counts pixel centres at integers.
    warp = _translation(-0.5, -0.5) @ matrix @ to_raw @ _translation(0.5, 0.5)
    return cv2.warpAffine(resized, warp[:2], final_size, flags=cv2.INTER_LINEAR), matrix


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
        canonical_focal: Every camera is resized to this focal length in pixels instead of to fit,
            and cropped about its principal point (Metric3D's canonical camera by images; ``scale``
            is relative to it, ``bot_pct`` does not apply). What is missing is black.
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
        canonical_focal: float | None = None,
        principal_point: tuple[float, float] = (0.5, 0.3),
        training: bool = True,
    ) -> None:
        if len(final_dim) != 2 or min(final_dim) < 1:
            raise ValueError(f"final_dim must be (height, width) in pixels, got {final_dim}")
        if not 0 < scale[0] <= scale[1]:
            raise ValueError(f"scale must be a range of positive factors, got {scale}")
        self.final_dim = tuple(final_dim)
        self.scale = tuple(scale)
        self.rot = tuple(rot)
        self.flip = flip
        self.bot_pct = tuple(bot_pct)
        self.canonical_focal = canonical_focal
        self.principal_point = tuple(principal_point)
        self.training = training

    def transform(self, results: dict) -> dict:
        num_cameras = results["image_aug"].shape[1]
        final_size = (self.final_dim[1], self.final_dim[0])
        params = [
            self.draw(key.shape[1], key.shape[0], results["intrinsics"][0, camera])
            for camera, key in enumerate(results["img"][:num_cameras])
        ]
        augmented = [
            augment_image(image, params[index % num_cameras], final_size)
            for index, image in enumerate(results["img"])
        ]
        matrices = np.stack([matrix for _, matrix in augmented])
        return {
            **results,
            "img": [image for image, _ in augmented],
            "image_aug": matrices.reshape(results["image_aug"].shape) @ results["image_aug"],
        }

    def draw(self, width: int, height: int, intrinsics: np.ndarray) -> ImageAugmentationParams:
        """Parameters for one camera by its image size and ``[3, 3]`` matrix; random in training."""
        scale, cut, rotation, flip = 1.0, sum(self.bot_pct) / 2, 0.0, False
        if self.training:
            scale = np.random.uniform(*self.scale)
            cut = np.random.uniform(*self.bot_pct)
            rotation = np.deg2rad(np.random.uniform(*self.rot))
            flip = self.flip and bool(np.random.randint(2))
        scale *= self._resize(width, height, intrinsics)
        resized = (max(1, round(width * scale)), max(1, round(height * scale)))
        if self.canonical_focal is None:
            crop = self._crop(resized, cut)
        else:
            crop = self._crop_about(intrinsics[:2, 2] * scale)
        return ImageAugmentationParams(resized, crop, flip, float(rotation))

    def _resize(self, width: int, height: int, intrinsics: np.ndarray) -> float:
        if self.canonical_focal is not None:
            return self.canonical_focal / ((intrinsics[0, 0] + intrinsics[1, 1]) / 2)
        return max(self.final_dim[0] / height, self.final_dim[1] / width)

    def _crop(self, resized: tuple[int, int], cut: float) -> tuple[int, int]:
        spare = max(0, resized[0] - self.final_dim[1])
        left = int(np.random.uniform(0, spare)) if self.training else spare // 2
        return left, int((1 - cut) * resized[1]) - self.final_dim[0]

    def _crop_about(self, principal_point: np.ndarray) -> tuple[int, int]:
        place = np.multiply(self.principal_point, self.final_dim[::-1])
        left, top = np.round(principal_point - place).astype(int).tolist()
        return left, top

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(final_dim={self.final_dim}, scale={self.scale}, "
            f"rot={self.rot}, flip={self.flip}, bot_pct={self.bot_pct}, "
            f"canonical_focal={self.canonical_focal}, principal_point={self.principal_point}, "
            f"training={self.training})"
        )


def _translation(x: float, y: float) -> np.ndarray:
    return np.array([[1.0, 0, x], [0, 1, y], [0, 0, 1]])
