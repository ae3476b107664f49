"""What the parts of an inferencer hand to each other: features of images, and who computes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from bevdepth_plus.deploy.description import ModelDescription


@dataclass(frozen=True, eq=False)
class ImageFeatures:
    """What the network makes of one image.

    Attributes:
        depth: distribution over the depth bins; the backend's own.
        context: features to lift; the backend's own.
        depth_map: metres on the feature cells, float32 ``[h, w]``.
    """

    depth: Any
    context: Any
    depth_map: np.ndarray


@dataclass(frozen=True, eq=False)
class PerceivedCamera:
    """One camera's image after the image part, with the calibration it was taken with.

    Attributes:
        name: of the camera.
        features: of its image.
        intrinsics: of the undistorted image, pixels, ``[3, 3]``.
        image_aug: pixels of the undistorted image -> network pixels, ``[3, 3]``.
        ego_T_cam: camera -> ego at the moment of the shot, ``[4, 4]``.
        stamp: seconds; None: not known.
    """

    name: str
    features: ImageFeatures
    intrinsics: np.ndarray
    image_aug: np.ndarray
    ego_T_cam: np.ndarray
    stamp: float | None = None


class Backend(Protocol):
    """What runs the network. Depth, context and BEV maps are its own and go back to it alone."""

    description: ModelDescription

    def perceive(
        self,
        images: np.ndarray,  # uint8 [N, 3, H, W], RGB
        intrinsics: np.ndarray,  # [N, 3, 3], pixels of the undistorted images
        ego_T_cam: np.ndarray,  # [N, 4, 4]
        image_aug: np.ndarray,  # [N, 3, 3], pixels of the undistorted images -> network pixels
    ) -> list[ImageFeatures]:
        """Depth and context of each camera."""
        ...

    def splat(
        self,
        features: Sequence[ImageFeatures],
        intrinsics: np.ndarray,  # [N, 3, 3]
        ego_T_cam: np.ndarray,  # [N, 4, 4], into the key frame's ego
        image_aug: np.ndarray,  # [N, 3, 3]
    ) -> Any:
        """One moment's BEV map."""
        ...

    def head_maps(self, bevs: Sequence[Any]) -> Mapping[str, np.ndarray]:
        """The heads' maps by name, ``[C, Y, X]`` each, from S moments, newest first."""
        ...
