"""Load an image and its mask as the two-view network wants them, and remember what was done.

Nothing is cropped but the rest beyond a multiple of 16: a tighter crop would move the principal
point unseen. The mask goes through every step of its image, with the nearest pixel.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from bevdepth_plus.errors import DataError
from bevdepth_plus.pointmaps.encoder import PATCH


@dataclass(frozen=True)
class LoadedImage:
    """One image in the network's pixels.

    Attributes:
        name: of the file.
        pixels: RGB in [-1, 1], ``[3, H, W]``.
        mask: True is valid, ``[H, W]``.
        image_aug: pixels of the upright file -> network pixels, ``[3, 3]``.
        original_size: height and width of the upright file.
    """

    name: str
    pixels: Tensor
    mask: Tensor
    image_aug: Tensor
    original_size: tuple[int, int]

    @property
    def size(self) -> tuple[int, int]:
        return tuple(self.pixels.shape[1:])

    @property
    def colours(self) -> Tensor:
        """RGB, uint8 ``[H, W, 3]``."""
        return ((self.pixels.movedim(0, -1) + 1) * 127.5).round().to(torch.uint8)


def load_image(
    path: Path,
    long_side: int = 512,
    mask_path: Path | None = None,
    upright: bool = True,
    empty_mask_ok: bool = False,
) -> LoadedImage:
    """Turn upright, resize so that the longer side is ``long_side``, cut to multiples of 16.

    Args:
        mask_path: an image of the same size; anything above 0 is valid.
        upright: False leaves the pixels as stored, whatever EXIF says: as a rig was calibrated.
        empty_mask_ok: a mask may leave no pixel, as where a bus fills an image of a drive.

    Raises:
        DataError: a file is missing or no image, the mask has another size or is empty
            (``empty_mask_ok`` apart), or the image is too narrow to leave 16 pixels.
    """
    image = _open(path, upright).convert("RGB")
    mask = Image.new("L", image.size, 255)
    if mask_path is not None:
        mask = open_mask(mask_path, path.name, image.size, upright)
    original = (image.height, image.width)
    scale = long_side / max(image.size)
    size = tuple(round(side * scale) for side in image.size)  # width, height
    box = _crop_box(size)
    if box is None:
        raise DataError(
            f"{path}: at {size[0]} x {size[1]} no {PATCH} pixels are left on the shorter side; "
            "give a larger long side"
        )
    smooth = Image.Resampling.LANCZOS if max(original) > long_side else Image.Resampling.BICUBIC
    image = image.resize(size, smooth).crop(box)
    mask = mask.resize(size, Image.Resampling.NEAREST).crop(box)
    valid = torch.from_numpy(np.array(mask) > 0)
    if not valid.any() and not empty_mask_ok:
        raise DataError(f"{mask_path}: the mask leaves no pixel of {path.name} at {size}")
    aug = torch.eye(3)
    aug[0, 0], aug[1, 1] = size[0] / original[1], size[1] / original[0]
    aug[0, 2], aug[1, 2] = -box[0], -box[1]
    pixels = torch.from_numpy(np.array(image)).movedim(-1, 0) / 255
    return LoadedImage(path.name, (pixels - 0.5) / 0.5, valid, aug, original)


def open_mask(path: Path, image: str, size: tuple[int, int], upright: bool = True) -> Image.Image:
    """A grey picture, 255 where the mask is valid, 0 elsewhere.

    Args:
        image: name of its image, for errors.
        size: width and height of its image.

    Raises:
        DataError: the file is missing, damaged or of another size.
    """
    mask = _open(path, upright).convert("L").point(lambda value: 255 if value else 0)
    if mask.size != size:
        raise DataError(
            f"{path}: the mask is {mask.width} x {mask.height} and its image "
            f"{image} {size[0]} x {size[1]}; give it at the image's size"
        )
    return mask


def _crop_box(size: tuple[int, int]) -> tuple[int, int, int, int] | None:
    """Left, top, right, bottom of the largest multiple of 16 about the centre."""
    (cx, cy) = (side // 2 for side in size)
    half_width, half_height = ((2 * c) // PATCH * PATCH // 2 for c in (cx, cy))
    if not half_width or not half_height:
        return None
    return cx - half_width, cy - half_height, cx + half_width, cy + half_height


def _open(path: Path, upright: bool) -> Image.Image:
    try:
        with Image.open(path) as image:
            image.load()
            return ImageOps.exif_transpose(image) if upright else image.copy()
    except FileNotFoundError:
        raise DataError(f"{path} does not exist") from None
    except (UnidentifiedImageError, OSError) as error:
        raise DataError(f"{path} is damaged or no image ({error})") from None
