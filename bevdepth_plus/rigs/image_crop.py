"""Resize, crop, flip and rotate an image; the 3x3 matrix of it goes along with the image.

Pixel coordinates are (column, row) with centres at integer + 0.5, so resizing scales them and
mirroring maps u to W - u.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np


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
    raw_size: tuple[int, int] | None = None,  # width, height
) -> tuple[np.ndarray, np.ndarray]:
    """Applies the augmentation.

    A whole image is resized first, averaging over areas when it shrinks (no aliasing), and then
    warped once, so that crop, flip and rotation cost one interpolation. Only the part that is kept
    is resized, where its borders fall on pixel borders: the same bits in less time.

    An image that was decoded at a half, a quarter or an eighth (``images.decode``, the fast way) is
    interpolated once, straight to its place.

    Args:
        image: whole, or decoded at 1/2, 1/4 or 1/8.
        params: in pixels of the raw image.
        final_size: of the result.
        raw_size: of the image file; None: the image's own.

    Returns:
        The augmented image, [final height, final width, C], and the matrix raw pixels -> its
        pixels, [3, 3] float64.
    """
    size = (image.shape[1], image.shape[0])
    raw_size = raw_size or size
    matrix = augmentation_matrix(params, raw_size, final_size)
    if size != raw_size:
        # A pixel decoded at 1/2 covers two raw pixels each way, also where the size is odd.
        factor = round(raw_size[0] / size[0])
        divides = (size[0] * factor, size[1] * factor) == raw_size
        if params.rotation or not divides:
            to_raw = np.diag([factor, factor, 1.0])
            return _warped(image, matrix @ to_raw, final_size), matrix
        kept = (*params.crop, *final_size)
        resized, corner = _part_resized(image, params.resized, kept, cv2.INTER_LINEAR)
        crop = (params.crop[0] - corner[0], params.crop[1] - corner[1])
        return _moved(resized, crop, params.flip, final_size), matrix
    if params.rotation:
        resized, _ = _resized(image, params.resized, None)
        to_raw = np.diag([raw_size[0] / params.resized[0], raw_size[1] / params.resized[1], 1.0])
        return _warped(resized, matrix @ to_raw, final_size), matrix
    resized, corner = _resized(image, params.resized, (*params.crop, *final_size))
    crop = (params.crop[0] - corner[0], params.crop[1] - corner[1])
    return _moved(resized, crop, params.flip, final_size), matrix


def _warped(image: np.ndarray, matrix: np.ndarray, final_size: tuple[int, int]) -> np.ndarray:
    # cv2 counts pixel centres at integers.
    warp = _translation(-0.5, -0.5) @ matrix @ _translation(0.5, 0.5)
    return cv2.warpAffine(image, warp[:2], final_size, flags=cv2.INTER_LINEAR)


def _moved(
    image: np.ndarray, crop: tuple[int, int], flip: bool, final_size: tuple[int, int]
) -> np.ndarray:
    """Crops at whole pixels, black outside, and mirrors."""
    width, height = final_size
    left, top = crop
    kept = image[max(0, top) : max(0, top + height), max(0, left) : max(0, left + width)]
    out = np.zeros((height, width, image.shape[2]), image.dtype)
    row, column = max(0, -top), max(0, -left)
    out[row : row + kept.shape[0], column : column + kept.shape[1]] = kept
    return np.ascontiguousarray(out[:, ::-1]) if flip else out


def _resized(
    image: np.ndarray,
    size: tuple[int, int],  # width, height
    kept: tuple[int, int, int, int] | None,  # left, top, width, height in the resized image
) -> tuple[np.ndarray, tuple[int, int]]:
    """At least the kept part of the image resized to ``size``, and where its corner lies in it."""
    if size[0] >= image.shape[1]:
        return cv2.resize(image, size, interpolation=cv2.INTER_LINEAR), (0, 0)
    if kept is None or size[1] >= image.shape[0]:
        return cv2.resize(image, size, interpolation=cv2.INTER_AREA), (0, 0)
    return _part_resized(image, size, kept, cv2.INTER_AREA)


def _part_resized(
    image: np.ndarray, size: tuple[int, int], kept: tuple[int, int, int, int], way: int
) -> tuple[np.ndarray, tuple[int, int]]:
    """The same bits as resizing the whole image, for a part that has the kept one inside."""
    first_column, first_row, width, height = kept
    edge = 1 if way == cv2.INTER_LINEAR else 0  # interpolation looks beyond a part's border
    left, right, from_left, to_right = _span(
        image.shape[1], size[0], first_column - edge, first_column + width + edge
    )
    top, bottom, from_top, to_bottom = _span(
        image.shape[0], size[1], first_row - edge, first_row + height + edge
    )
    part = image[from_top:to_bottom, from_left:to_right]
    return cv2.resize(part, (right - left, bottom - top), interpolation=way), (left, top)


def _span(raw: int, resized: int, first: int, last: int) -> tuple[int, int, int, int]:
    """The shortest stretch around first..last whose ends are pixel borders of both images.

    Returns:
        Its ends in the resized image, and in the raw one.
    """
    common = math.gcd(raw, resized)
    period, raw_period = resized // common, raw // common
    begin = min(max(0, first), resized - 1) // period
    end = -(-min(max(1, last), resized) // period)
    end = max(end, begin + 1)
    return begin * period, end * period, begin * raw_period, end * raw_period


def _translation(x: float, y: float) -> np.ndarray:
    return np.array([[1.0, 0, x], [0, 1, y], [0, 0, 1]])
