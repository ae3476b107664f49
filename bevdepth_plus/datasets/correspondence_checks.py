"""Which correspondences between two images of a camera to trust, and why not the others."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import cv2
import numpy as np
import torch
from torch import Tensor

from bevdepth_plus.geometry.flow import came_back, fit_static_point, is_far
from bevdepth_plus.geometry.pinhole import in_image
from bevdepth_plus.geometry.warping import sample_nearest

WINDOW = 15  # pixels; side of the window in which contrast and sharpness are measured


class Reason(IntEnum):
    """Why a correspondence is left out; the first that applies."""

    KEPT = 0
    NO_PAST = 1  # the scene's first frame
    OUTSIDE = 2  # shown by one of the two images only
    BORDER = 3
    TEXTURELESS = 4
    BLURRED = 5
    INCONSISTENT = 6  # the flow back leads elsewhere: hidden, or wrong
    MOVING = 7
    FAR = 8


@dataclass(frozen=True)
class MatchedImages:
    """Two network images of one camera and the correspondences between them.

    Attributes:
        grey_t, grey_t1: float32 ``[H, W]``, 0 to 255.
        pixels: cells' centres in the first image, ``[1, 2, h, w]``; all are network pixels.
        there: where they are seen in the second image.
        back: where those are seen in the first image again.
        shown: both ends lie in the images as loaded, bool ``[1, 1, h, w]``.
        intrinsics_t, intrinsics_t1: of the network's images, ``[1, 3, 3]``.
        t1_T_t: camera at the first image -> camera at the second, ``[1, 4, 4]``.
    """

    grey_t: np.ndarray
    grey_t1: np.ndarray
    pixels: Tensor
    there: Tensor
    back: Tensor
    shown: Tensor
    intrinsics_t: Tensor
    intrinsics_t1: Tensor
    t1_T_t: Tensor


@dataclass(frozen=True)
class CorrespondenceChecks:
    """What a correspondence must be to be kept; lengths are network pixels.

    Attributes:
        border: pixels from the image's border within which none is kept.
        min_contrast: grey levels of 255, the least standard deviation about a pixel.
        min_sharpness: the least ratio of curvature (root mean square of the smoothed Laplacian) to
            that deviation. A sharp edge has 0.18, one blurred by 2 pixels 0.07. Of sharp street
            images of 704 pixels about 1 % lie below 0.1, of the same images blurred by 2.5 pixels
            about half. Blur along one direction alone hardly shows.
        static_only: leave out what no point that stands still explains.
        max_residual: pixels that a static point may be off.
        max_depth: metres; farther points, told by their parallax, are left out. 0 keeps them.
    """

    border: int = 8
    min_contrast: float = 3.0
    min_sharpness: float = 0.1
    static_only: bool = True
    max_residual: float = 2.0
    max_depth: float = 60.0

    def reasons(self, pair: MatchedImages) -> np.ndarray:
        """A :class:`Reason` for each correspondence, uint8 ``[h, w]``."""
        fit = fit_static_point(
            pair.pixels, pair.there, pair.intrinsics_t, pair.intrinsics_t1, pair.t1_T_t
        )
        contrast_t, sharpness_t = _texture(pair.grey_t)
        contrast_t1, sharpness_t1 = _texture(pair.grey_t1)
        size = pair.grey_t.shape
        inside = pair.shown & _within(pair.there, size, 0)
        clear = _within(pair.pixels, size, self.border) & _within(pair.there, size, self.border)
        contrast = _at_both(contrast_t, contrast_t1, pair)
        sharpness = _at_both(sharpness_t, sharpness_t1, pair)
        faults = {
            Reason.OUTSIDE: ~inside,
            Reason.BORDER: ~clear,
            Reason.TEXTURELESS: contrast < self.min_contrast,
            Reason.BLURRED: sharpness < self.min_sharpness,
            Reason.INCONSISTENT: ~came_back(pair.pixels, pair.there, pair.back),
        }
        stands = fit.residual <= self.max_residual
        if self.static_only:
            faults[Reason.MOVING] = ~stands
        if self.max_depth > 0:
            # The parallax of what moves tells no depth.
            faults[Reason.FAR] = stands & is_far(fit, self.max_depth)
        reasons = torch.full_like(inside, int(Reason.KEPT), dtype=torch.uint8)
        for reason, fault in reversed(faults.items()):  # the first that applies is written last
            reasons[fault] = int(reason)
        return reasons[0, 0].numpy()


def _texture(grey: np.ndarray) -> tuple[Tensor, Tensor]:
    """Standard deviation about each pixel and sharpness, ``[1, 1, H, W]`` each."""
    size = (WINDOW, WINDOW)
    # Squares of float32 grey levels lose the last digits of a small variance.
    grey = grey.astype(np.float64)
    mean = cv2.blur(grey, size)
    variance = np.maximum(cv2.blur(grey * grey, size) - mean * mean, 0)
    # Smoothed a little: the noise of a blurred image is as sharp as that of any other.
    curvature = cv2.Laplacian(cv2.GaussianBlur(grey, (0, 0), 1.0), cv2.CV_64F, ksize=1)
    curvature = np.maximum(cv2.blur(curvature * curvature, size), 0)
    sharpness = np.sqrt(curvature / np.maximum(variance, 1e-6))
    return tuple(
        torch.from_numpy(values.astype(np.float32))[None, None]
        for values in (np.sqrt(variance), sharpness)
    )


def _at_both(values_t: Tensor, values_t1: Tensor, pair: MatchedImages) -> Tensor:
    """The lesser of the values at both ends, ``[1, 1, h, w]``."""
    here, _ = sample_nearest(values_t, pair.pixels)
    there, _ = sample_nearest(values_t1, pair.there)
    return torch.minimum(here, there)


def _within(pixels: Tensor, size: tuple[int, ...], border: int) -> Tensor:
    height, width = size
    inner = (height - 2 * border, width - 2 * border)
    return in_image(pixels.movedim(1, -1) - border, inner)[:, None]
