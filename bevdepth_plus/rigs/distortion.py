"""Lens distortion, undone by remapping: from a camera's images to those of a pinhole camera.

OpenCV counts pixel centres at integers, this project at integers + 0.5: matrices are shifted by
half a pixel on the way into OpenCV (``_for_opencv``).
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from bevdepth_plus.rigs.poses import pose_matrix
from bevdepth_plus.rigs.rig import RigCamera

# Angles between the optical axis and a ray: how far a lens of each kind is looked at for a fold.
_WIDEST = {"plumb_bob": 89.0, "rational": 89.0, "fisheye": 179.0}  # degrees


def rectified(camera: RigCamera) -> RigCamera:
    """The pinhole camera whose images :class:`Undistortion` makes.

    It has the camera's ``rectified_intrinsics`` (its ``intrinsics`` where it has none), is turned
    by its ``rectification``, and has no distortion. A pinhole camera is handed back as it is.
    """
    if camera.distortion is None and camera.rectification is None:
        return camera
    pose = camera.ego_T_cam
    if camera.rectification is not None:
        pose = pose @ pose_matrix(camera.rectification.T, np.zeros(3))
    intrinsics = camera.rectified_intrinsics
    return replace(
        camera,
        intrinsics=camera.intrinsics if intrinsics is None else intrinsics,
        ego_T_cam=pose,
        distortion=None,
        rectified_intrinsics=None,
        rectification=None,
    )


class Undistortion:
    """Remaps one camera's images to those of :func:`rectified`'s pinhole camera.

    The maps are made once, here. What the raw image does not show is black.

    Args:
        camera: with ``distortion`` or ``rectification``.
    """

    def __init__(self, camera: RigCamera) -> None:
        self.camera = rectified(camera)
        rotation = np.eye(3) if camera.rectification is None else camera.rectification
        make = cv2.initUndistortRectifyMap
        if camera.distortion is not None and camera.distortion.model == "fisheye":
            make = cv2.fisheye.initUndistortRectifyMap
        # Whole pixels and 1/32 of them: half the memory and time of float maps.
        self._maps = make(
            _for_opencv(camera.intrinsics),
            _coefficients(camera),
            rotation,
            _for_opencv(self.camera.intrinsics),
            (camera.width, camera.height),
            cv2.CV_16SC2,
        )

    def __call__(self, image: np.ndarray, nearest: bool = False) -> np.ndarray:
        """The pinhole image of a raw one, ``[H, W]`` or ``[H, W, 3]``, of the camera's size.

        Args:
            image: uint8, or float32 such as depth.
            nearest: take the nearest pixel, for what must not be mixed: depth, labels.
        """
        return cv2.remap(image, *self._maps, cv2.INTER_NEAREST if nearest else cv2.INTER_LINEAR)


def project(
    camera: RigCamera,
    points: np.ndarray,  # [P, 3], camera frame
) -> np.ndarray:
    """Where a camera sees points in its raw image, with its distortion: ``[P, 2]``, (u, v)."""
    points = np.ascontiguousarray(points, dtype=np.float64).reshape(-1, 1, 3)
    fisheye = camera.distortion is not None and camera.distortion.model == "fisheye"
    still = np.zeros((3, 1))
    matrix, coefficients = _for_opencv(camera.intrinsics), _coefficients(camera)
    if fisheye:
        pixels, _ = cv2.fisheye.projectPoints(points, still, still, matrix, coefficients)
    else:
        pixels, _ = cv2.projectPoints(points, still, still, matrix, coefficients)
    return pixels.reshape(-1, 2) + 0.5


def fold(camera: RigCamera) -> float | None:
    """How far from the principal point the distortion turns back, pixels; None if it is outside.

    Beyond this distance two directions share a pixel, which no lens does: the coefficients do not
    hold for the whole image.
    """
    if camera.distortion is None:
        return None
    angles = np.radians(np.linspace(0, _WIDEST[camera.distortion.model], 4000))
    reached = _radius(camera.distortion.model, np.array(camera.distortion.coefficients), angles)
    turns = np.flatnonzero(~(np.diff(reached) > 0))
    if not len(turns):
        return None
    turn = reached[turns[0]]
    focal, centre = camera.intrinsics[[0, 1], [0, 1]], camera.intrinsics[:2, 2]
    size = np.array([camera.width, camera.height])
    corner = np.linalg.norm(np.maximum(centre, size - centre) / focal)
    return float(turn * focal.mean()) if turn < corner else None


def _radius(model: str, coefficients: np.ndarray, angles: np.ndarray) -> np.ndarray:
    """Distance from the principal point over the focal length, of rays at these angles."""
    if model == "fisheye":
        powers = angles[:, None] ** np.array([3, 5, 7, 9])
        return angles + powers @ coefficients
    radius = np.tan(angles)
    k = np.zeros(8)
    k[: min(8, len(coefficients))] = coefficients[:8]
    powers = (radius**2)[:, None] ** np.array([1, 2, 3])
    return radius * (1 + powers @ k[[0, 1, 4]]) / (1 + powers @ k[5:8])


def _coefficients(camera: RigCamera) -> np.ndarray:
    if camera.distortion is None:
        return np.zeros(4)
    return np.array(camera.distortion.coefficients, dtype=np.float64)


def _for_opencv(intrinsics: np.ndarray) -> np.ndarray:
    shifted = np.array(intrinsics)
    shifted[:2, 2] -= 0.5
    return shifted
