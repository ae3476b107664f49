"""Which part of an image the network gets: the resize factor and the crop of the test pipeline.

Training draws around it, see ``datasets/transforms/image_augmentation.py``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bevdepth_plus.rigs.horizon import horizon_row
from bevdepth_plus.rigs.image_crop import ImageAugmentationParams

# Where the horizon may lie in the network's image, as shares of its height from the top. BEVDepth's
# crop has it at 0.27 to 0.30 in nuScenes' six cameras.
HORIZON_BAND = (0.2, 0.4)


@dataclass(frozen=True)
class CropRule:
    """How an image is resized and cropped.

    Attributes:
        final_size: height and width of the network's input, pixels.
        bottom_cut: share of the resized image that is cut off at the bottom.
        keep_horizon: the bottom rows stay, unless the horizon would lie outside ``HORIZON_BAND``;
            then the crop moves by what is missing. False: always the bottom rows.
        canonical_focal: images are resized to this focal length in pixels instead of to fit, and
            cropped about the principal point; what is missing is black.
        principal_point: where that lies then, as shares of the final width and height.
    """

    final_size: tuple[int, int]
    bottom_cut: float = 0.0
    keep_horizon: bool = True
    canonical_focal: float | None = None
    principal_point: tuple[float, float] = (0.5, 0.3)

    def params(
        self,
        width: int,
        height: int,
        intrinsics: np.ndarray,  # [3, 3], pixels of this image
        horizon: float = np.nan,  # its row in the image's middle, pixels; NaN: not known
    ) -> ImageAugmentationParams:
        """What the test pipeline does to an image: no rotation, no mirror, centred."""
        factor = self.factor(width, height, intrinsics)
        resized = resized_size(width, height, factor)
        left, top = self.corner(
            resized,
            max(0, resized[0] - self.final_size[1]) // 2,
            self.bottom_cut,
            intrinsics,
            factor,
        )
        top -= round(self.rise(width, height, intrinsics, horizon) * factor)
        return ImageAugmentationParams(resized, (left, top))

    def factor(self, width: int, height: int, intrinsics: np.ndarray) -> float:
        """The resize factor of the test image."""
        if self.canonical_focal is not None:
            return self.canonical_focal / ((intrinsics[0, 0] + intrinsics[1, 1]) / 2)
        return max(self.final_size[0] / height, self.final_size[1] / width)

    def corner(
        self,
        resized: tuple[int, int],  # width, height
        left: int,  # of a crop that is not about the principal point
        bottom_cut: float,
        intrinsics: np.ndarray,  # [3, 3], pixels as loaded
        factor: float,
    ) -> tuple[int, int]:
        """Left and top of the crop in the resized image, before the horizon is looked at."""
        if self.canonical_focal is None:
            return left, int((1 - bottom_cut) * resized[1]) - self.final_size[0]
        return self._about(intrinsics[:2, 2] * factor)

    def rise(self, width: int, height: int, intrinsics: np.ndarray, horizon: float) -> float:
        """How far the crop moves up so that the test image shows the horizon, pixels as loaded."""
        if not self.keep_horizon or np.isnan(horizon):
            return 0.0
        factor = self.factor(width, height, intrinsics)
        _, top = self.corner(
            resized_size(width, height, factor), 0, self.bottom_cut, intrinsics, factor
        )
        # The crop stays within the image, unless it has black borders anyway.
        least, most = (0, max(0, top)) if self.canonical_focal is None else (-np.inf, np.inf)
        row = horizon * factor - top
        wanted = np.clip(row, *np.multiply(HORIZON_BAND, self.final_size[0]))
        return float(np.clip(wanted - row, least, most)) / factor

    def horizon(
        self,
        width: int,
        intrinsics: np.ndarray,  # [..., 3, 3]
        ego_T_cam: np.ndarray,  # [..., 4, 4]
    ) -> np.ndarray:
        """The horizon's row in the image's middle, pixels; NaN where the rule needs none."""
        if not self.keep_horizon:
            return np.full(np.shape(intrinsics)[:-2], np.nan)
        return horizon_row(intrinsics, ego_T_cam, width / 2)

    def _about(self, principal_point: np.ndarray) -> tuple[int, int]:
        wanted = np.multiply(self.principal_point, self.final_size[::-1])
        left, top = np.round(principal_point - wanted).astype(int).tolist()
        return left, top


def resized_size(width: int, height: int, factor: float) -> tuple[int, int]:
    """Width and height after resizing, at least a pixel each."""
    return max(1, round(width * factor)), max(1, round(height * factor))
