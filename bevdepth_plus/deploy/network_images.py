"""From a camera's image, in any form, to the network's pixels and the matrices that go along."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bevdepth_plus.deploy.description import ModelDescription
from bevdepth_plus.rigs.camera_images import CameraImages
from bevdepth_plus.rigs.image_crop import augment_image
from bevdepth_plus.rigs.images import Source, decode
from bevdepth_plus.rigs.rig import RigCamera


@dataclass(frozen=True, eq=False)
class NetworkImage:
    """An image as the network takes it.

    Attributes:
        pixels: uint8 ``[3, H, W]``, RGB.
        intrinsics: of the pinhole image that was resized and cropped, pixels, ``[3, 3]`` float64.
        image_aug: that image's pixels -> network pixels, ``[3, 3]`` float64.
    """

    pixels: np.ndarray
    intrinsics: np.ndarray
    image_aug: np.ndarray


class NetworkImages:
    """Decodes, undistorts, resizes and crops; the same numbers as the test pipeline.

    What belongs to a camera (maps, masks) is made at its first image and kept until another camera
    of its name comes.

    Args:
        model: whose images they become.
        fast: decode JPEGs at the fraction of their size that covers the network's input. Cameras
            with distortion or a body mask are decoded whole all the same.
    """

    def __init__(self, model: ModelDescription, fast: bool = False) -> None:
        self.model, self.fast = model, fast
        self._of: dict[str, tuple[RigCamera, CameraImages]] = {}  # the newest camera of a name

    def __call__(self, source: Source, camera: RigCamera) -> NetworkImage:
        """The network's image of one camera.

        Raises:
            DataError: the image cannot be decoded, or has another aspect ratio than the rig says.
        """
        rule = self.model.crop
        height, width = rule.final_size
        plain = camera.distortion is None and camera.rectification is None and not camera.body_mask
        cover = (width, height) if self.fast and plain else None
        raw, raw_size = decode(source, camera.name, cover)
        images = self._images(camera)
        if cover is None:
            pinhole = images(raw)
            raw, described = pinhole.image, pinhole.camera
        else:
            described = images.camera_for(*raw_size)
        horizon = rule.horizon(described.width, described.intrinsics, described.ego_T_cam)
        params = rule.params(
            described.width, described.height, described.intrinsics, float(horizon)
        )
        image, matrix = augment_image(raw, params, (width, height), raw_size)
        pixels = np.ascontiguousarray(image.transpose(2, 0, 1))
        return NetworkImage(pixels, described.intrinsics, matrix)

    def _images(self, camera: RigCamera) -> CameraImages:
        kept = self._of.get(camera.name)
        if kept is None or kept[0] is not camera:
            red, green, blue = self.model.mean
            kept = self._of[camera.name] = camera, CameraImages(camera, (red, green, blue))
        return kept[1]
