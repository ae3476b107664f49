"""From a camera's raw image to the image that its pinhole model describes."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from bevdepth_plus.errors import DataError
from bevdepth_plus.rigs.distortion import Undistortion
from bevdepth_plus.rigs.rig import RigCamera

# ImageNet's mean, RGB: what the networks of this project subtract. A body of this colour is 0 after
# normalisation, to the rounding of a grey level (below 0.01).
MEAN_COLOUR = (123.675, 116.28, 103.53)


@dataclass(frozen=True, eq=False)
class PinholeImage:
    """An image and the pinhole camera that describes it.

    Attributes:
        image: uint8 ``[H, W, 3]``, RGB.
        camera: its size is the image's; no distortion.
    """

    image: np.ndarray
    camera: RigCamera


class CameraImages:
    """One camera's images: size checked, own body filled, lens distortion undone.

    An image of another size than the rig file says is taken as the whole image resized, if it has
    the same aspect ratio; the intrinsics are scaled by the same factors, pixels are not. What
    belongs to a size (maps, mask) is made once.

    The body's pixels get the mean colour, so that they are 0 after normalisation, before the lens
    is undone. The network is not told; it sees a flat area where it would see the own car.

    Args:
        camera: of a rig.
        mean_colour: RGB, 0..255, that the network subtracts.

    Raises:
        DataError: the body mask cannot be read or has another aspect ratio.
    """

    def __init__(
        self, camera: RigCamera, mean_colour: tuple[float, float, float] = MEAN_COLOUR
    ) -> None:
        self._camera = camera
        self._colour = np.round(mean_colour).astype(np.uint8)
        self._mask = None if camera.body_mask is None else _read_mask(camera)
        self._prepared: dict[tuple[int, int], _Prepared] = {}

    def camera_for(self, width: int, height: int) -> RigCamera:
        """The pinhole camera of images that come with this size, pixels.

        Raises:
            DataError: the size has another aspect ratio than the rig's.
        """
        return self._prepare(width, height).camera

    def __call__(self, image: np.ndarray) -> PinholeImage:
        """The pinhole image of a raw one, uint8 ``[H, W, 3]`` RGB; the raw one is not changed.

        Raises:
            DataError: its size has another aspect ratio than the rig's.
        """
        prepared = self._prepare(image.shape[1], image.shape[0])
        if prepared.body is not None:
            image = image.copy()
            image[prepared.body] = self._colour
        if prepared.undistortion is not None:
            image = prepared.undistortion(image)
        return PinholeImage(image, prepared.camera)

    def _prepare(self, width: int, height: int) -> _Prepared:
        if (width, height) not in self._prepared:
            self._prepared[width, height] = self._made(width, height)
        return self._prepared[width, height]

    def _made(self, width: int, height: int) -> _Prepared:
        require_size(self._camera, width, height)
        camera = self._camera.resized(width, height)
        body = None
        if self._mask is not None:
            body = cv2.resize(self._mask, (width, height), interpolation=cv2.INTER_NEAREST) > 0
        if camera.distortion is None and camera.rectification is None:
            return _Prepared(camera, body, None)
        undistortion = Undistortion(camera)
        return _Prepared(undistortion.camera, body, undistortion)


@dataclass(frozen=True, eq=False)
class _Prepared:
    """What is made once for a size of images."""

    camera: RigCamera
    body: np.ndarray | None  # bool [H, W]
    undistortion: Undistortion | None


def require_size(camera: RigCamera, width: int, height: int, what: str = "image") -> None:
    """Refuses a size that is not the camera's, resized.

    Raises:
        DataError: the aspect ratio differs by more than a pixel's rounding.
    """
    scale = width / camera.width
    if abs(height - scale * camera.height) <= max(1.0, scale) * 0.5 + 1e-9:
        return
    remedy = "images may be resized, not cropped"
    if (height > width) != (camera.height > camera.width):
        remedy = "are width and height swapped, or the images turned?"
    raise DataError(
        f"camera {camera.name}: {what} has {width} x {height} pixels, the rig file says "
        f"{camera.width} x {camera.height}, another aspect ratio; {remedy}"
    )


def _read_mask(camera: RigCamera) -> np.ndarray:
    mask = cv2.imread(str(camera.body_mask), cv2.IMREAD_GRAYSCALE)
    if mask is None:
        raise DataError(
            f"camera {camera.name}: body_mask {camera.body_mask} cannot be read as a picture; "
            "its path is relative to the rig file"
        )
    require_size(camera, mask.shape[1], mask.shape[0], "body_mask")
    return mask
