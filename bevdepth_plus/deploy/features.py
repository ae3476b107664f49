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
        kept: what other images need of this one, see :meth:`Backend.look_around`; the backend's
            own, None where the model looks at each image by itself.
    """

    depth: Any
    context: Any
    depth_map: np.ndarray
    kept: Any = None


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


# The cameras of one moment, each with its pose [4, 4] in the key frame's ego.
Moment = Sequence[tuple[PerceivedCamera, np.ndarray]]


class Backend(Protocol):
    """What runs the network. Depth, context and BEV maps are its own and go back to it alone."""

    description: ModelDescription
    looks_around: bool  # the model has priors that look at other images; see look_around

    def perceive(
        self,
        images: np.ndarray,  # uint8 [N, 3, H, W], RGB
        intrinsics: np.ndarray,  # [N, 3, 3], pixels of the undistorted images
        ego_T_cam: np.ndarray,  # [N, 4, 4]
        image_aug: np.ndarray,  # [N, 3, 3], pixels of the undistorted images -> network pixels
    ) -> list[ImageFeatures]:
        """Depth and context of each camera, as its image alone shows them."""
        ...

    def look_around(self, moments: Sequence[Moment]) -> list[Moment]:
        """S moments, newest first, with what past frames and neighbouring cameras say on depth."""
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
