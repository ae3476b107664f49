"""Depth and confidence as pictures at the size of the image, in the form ``LoadDenseDepth`` reads.

``ROOT/FOLDER/CAMERA/NAME.png`` is depth along the optical axis, ``ROOT/FOLDER_confidence/CAMERA/
NAME.png`` the network's confidence. Both are grey PNGs of 16 bits in steps of 0.01 (metres; no
unit), and 0 is unknown in both.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import max_pool2d

from bevdepth_plus.datasets.transforms.dense_depth import depth_picture_path
from bevdepth_plus.errors import DataError
from bevdepth_plus.files import atomic_write, write_json
from bevdepth_plus.geometry.pinhole import pixel_centres, transform_pixels
from bevdepth_plus.geometry.warping import sample_bilinear, sample_nearest

UNIT = 0.01  # a step of both pictures
_MOST = np.iinfo(np.uint16).max
_ONE_SURFACE = 1.2  # farthest / nearest of 3 x 3 pixels that are interpolated
SETTINGS = "labels.json"


class LabelFolder:
    """A folder of depth pictures and one of confidence, all made with the same settings.

    Raises:
        DataError: the name is no plain folder name, or the folder holds pictures of another origin
            or of other settings.
    """

    def __init__(self, root: Path, name: str, settings: Mapping[str, object]) -> None:
        if Path(name).name != name or name in ("", ".", ".."):
            raise DataError(f"--out must be the name of a folder below the root, got {name!r}")
        self.root, self.name = root, name
        _claim(root / name, {**settings, "unit": UNIT})

    def paths(self, image: Path) -> tuple[Path, Path]:
        """Of the depth and of the confidence of an image."""
        depth, confidence = self.name, f"{self.name}_confidence"
        return Path(depth_picture_path(str(image), depth)), Path(
            depth_picture_path(str(image), confidence)
        )

    def has(self, image: Path) -> bool:
        return all(path.is_file() for path in self.paths(image))

    def write(self, image: Path, depth: Tensor, confidence: Tensor) -> None:
        """Write both pictures, ``[H, W]`` each; depth beyond 655 m becomes unknown."""
        steps = (depth / UNIT).round()
        known = (steps >= 1) & (steps <= _MOST)
        trust = (confidence / UNIT).round().clamp(1, _MOST)
        depth_path, confidence_path = self.paths(image)
        _write_picture(confidence_path, torch.where(known, trust, 0.0))
        _write_picture(depth_path, torch.where(known, steps, 0.0))


def at_image_size(
    depth: Tensor,  # [h, w], network pixels, 0 = unknown
    confidence: Tensor,  # [h, w]
    image_aug: Tensor,  # [3, 3], pixels of the image -> network pixels
    size: tuple[int, int],  # height, width of the image
) -> tuple[Tensor, Tensor]:
    """Depth and confidence of each pixel of the image, ``[H, W]``; 0 where the network saw nothing.

    On one surface inverse depth is interpolated, which is exact on planes. At edges and beside
    unknown pixels the nearest pixel's depth is taken: between a car and the wall there is nothing.
    """
    pixels = transform_pixels(image_aug, pixel_centres(size).flatten(0, 1))
    where = pixels.T.reshape(1, 2, *size)
    maps = torch.stack([depth, confidence])[None]  # [1, 2, h, w]
    nearest, _ = sample_nearest(maps, where)
    inverse = torch.where(depth > 0, 1 / depth.clamp(min=1e-6), 0.0)[None, None]
    farthest = max_pool2d(maps[:, :1], 3, stride=1, padding=1)
    closest = -max_pool2d(-maps[:, :1], 3, stride=1, padding=1)
    smooth = (closest > 0) & (farthest <= _ONE_SURFACE * closest)
    smooth = sample_nearest(smooth.float(), where)[0][0, 0] > 0
    between = 1 / sample_bilinear(inverse, where)[0][0, 0].clamp(min=1e-6)
    return torch.where(smooth, between, nearest[0, 0]), nearest[0, 1]


def _claim(folder: Path, settings: dict[str, object]) -> None:
    """Mark a new folder with its settings; refuse one of others."""
    note = folder / SETTINGS
    if note.is_file():
        try:
            earlier = json.loads(note.read_text())
            differing = [key for key in settings if earlier.get(key) != settings[key]]
        except (ValueError, AttributeError):
            raise DataError(f"{note} is damaged; delete {folder} or choose another --out") from None
        if differing:
            raise DataError(
                f"{folder} holds labels made with other settings ({', '.join(differing)}); choose "
                "another --out or delete the folder"
            )
    elif folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(f"{folder} holds other files, no labels of this tool; choose another --out")
    else:
        try:
            write_json(note, settings, indent=1)
        except OSError as error:
            raise DataError(
                f"cannot write into {folder} ({error.strerror}); labels must lie in the data "
                "root: make it writable, or link its files into a folder that is"
            ) from None


def _write_picture(path: Path, steps: Tensor) -> None:
    picture = steps.cpu().numpy().astype(np.uint16)
    encoded = cv2.imencode(".png", picture, [cv2.IMWRITE_PNG_COMPRESSION, 3])[1]
    with atomic_write(path) as file:
        file.write(encoded.tobytes())
