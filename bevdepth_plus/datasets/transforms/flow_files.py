"""Optical flow between two images by OpenCV's DIS, kept in files beside the data.

Source of the method: Kroeger et al., "Fast optical flow using dense inverse search" (ECCV 2016).
"""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import cv2
import numpy as np

from bevdepth_plus.errors import DataError
from bevdepth_plus.files import atomic_write
from bevdepth_plus.rigs.image_files import read_bytes, read_image

GENERATION = 1  # raise it when the same images and settings would give other numbers
PRESETS = {
    "ultrafast": cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST,
    "fast": cv2.DISOPTICAL_FLOW_PRESET_FAST,
    "medium": cv2.DISOPTICAL_FLOW_PRESET_MEDIUM,
}
CELL = 4  # pixels of the resized image that share one entry of a file
STEP = 1 / 32  # pixels of the resized image; files hold 16-bit multiples of it
MIN_SIDE = 64  # pixels of the resized image; OpenCV's DIS crashes on narrow ones


@dataclass(frozen=True)
class FlowSettings:
    """How flow is computed.

    Attributes:
        preset: DIS' own: "ultrafast", "fast" or "medium".
        max_width: pixels; wider images are made smaller first.
    """

    preset: str = "medium"
    max_width: int = 800

    def __post_init__(self) -> None:
        if self.preset not in PRESETS:
            raise ValueError(f"preset must be one of {', '.join(PRESETS)}, got {self.preset!r}")
        if self.max_width < MIN_SIDE:
            raise ValueError(f"max_width must be {MIN_SIDE} pixels or more, got {self.max_width}")


@dataclass(frozen=True)
class ImageFlow:
    """How far the things in one image are displaced in another, and the way back.

    Attributes:
        forward: pixels of the image as loaded, float32 ``[2, h, w]``, of cells that tile the first
            image.
        backward: of cells that tile the second image.
    """

    forward: np.ndarray
    backward: np.ndarray


def load_flow(
    first: str,
    second: str,
    folder: str,
    settings: FlowSettings,
) -> ImageFlow:
    """The flow between two image files, out of ``folder`` or computed and put there.

    The file's name holds a hash of both images' bytes and of the settings: other images or settings
    have files of their own. A file that cannot be read is made anew.

    Raises:
        DataError: an image is missing, broken, narrower than 64 pixels at the flow's scale, not of
            the other's size, or the folder cannot be written to.
    """
    path = os.path.join(folder, _file_name(first, second, settings))
    stored = _read(path)
    if stored is None:
        images = [cv2.cvtColor(read_image(name), cv2.COLOR_BGR2GRAY) for name in (first, second)]
        if images[0].shape != images[1].shape:
            raise DataError(
                f"images {first} and {second} are {images[0].shape} and {images[1].shape} pixels "
                "high and wide; one camera's images must have one size for optical flow"
            )
        stored = _compute(*images, settings, where=first)
        _write(path, stored)
    forward, backward, cell = stored
    scale = (cell * STEP)[:, None, None]
    return ImageFlow(forward * scale, backward * scale)


def dense_flow(
    first: np.ndarray,  # [H, W] uint8
    second: np.ndarray,  # [H, W] uint8
    preset: str = "medium",
) -> np.ndarray:
    """Displacement of each pixel of the first image, float32 ``[H, W, 2]``, pixels."""
    with _one_thread():
        return cv2.DISOpticalFlow_create(PRESETS[preset]).calc(first, second, None)


def _compute(
    first: np.ndarray, second: np.ndarray, settings: FlowSettings, where: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """int16 ``[2, h, w]`` both ways, and pixels as loaded for one of the resized image ``[2]``."""
    height, width = first.shape
    shrink = min(1.0, settings.max_width / width)
    # Whole cells, so that they tile the image as loaded, too.
    size = [max(1, round(side * shrink / CELL)) * CELL for side in (width, height)]
    if min(size) < MIN_SIDE:
        raise DataError(
            f"image {where} is {width} x {height} pixels, {size[0]} x {size[1]} for the optical "
            f"flow, which needs {MIN_SIDE} or more; leave LoadOpticalFlow out for this camera's "
            "data or raise max_width"
        )
    first, second = (
        cv2.resize(image, size, interpolation=cv2.INTER_AREA) for image in (first, second)
    )
    ways = [dense_flow(a, b, settings.preset) for a, b in ((first, second), (second, first))]
    scale = np.array([width / size[0], height / size[1]], dtype=np.float32)
    return _to_steps(ways[0]), _to_steps(ways[1]), scale


def _to_steps(flow: np.ndarray) -> np.ndarray:
    """The flow at each cell's centre, where its four middle pixels meet, int16 ``[2, h, w]``."""
    near, far = CELL // 2 - 1, CELL // 2
    centre = (
        flow[near::CELL, near::CELL]
        + flow[near::CELL, far::CELL]
        + flow[far::CELL, near::CELL]
        + flow[far::CELL, far::CELL]
    ) / 4
    limits = np.iinfo(np.int16)
    steps = np.clip(np.rint(centre / STEP), limits.min, limits.max)
    return np.ascontiguousarray(steps.astype(np.int16).transpose(2, 0, 1))


def _file_name(first: str, second: str, settings: FlowSettings) -> str:
    digest = hashlib.blake2b(digest_size=12)
    digest.update(repr((GENERATION, cv2.__version__, CELL, STEP, settings)).encode())
    for path in (first, second):
        content = read_bytes(path, "image")
        digest.update(f"{content.size} ".encode())
        digest.update(content)
    stem = os.path.splitext(os.path.basename(second))[0]
    return f"{stem}.{digest.hexdigest()}.npz"


def _read(path: str) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    try:
        with np.load(path) as content:
            return content["forward"], content["backward"], content["scale"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None  # absent, or not written by us


def _write(path: str, stored: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    forward, backward, scale = stored
    try:
        with atomic_write(path) as file:
            np.savez_compressed(file, forward=forward, backward=backward, scale=scale)
    except OSError as error:
        raise DataError(
            f"optical flow cannot be written to {path} ({error.strerror}); give LoadOpticalFlow a "
            "folder= that can be written to"
        ) from None


@contextmanager
def _one_thread() -> Iterator[None]:
    """OpenCV may split an image into as many stripes as it has threads; one gives one result."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(threads)
