"""Matches between cameras of known motion, and how far they lie beside their epipolar lines.

Source: the Sampson distance, Hartley and Zisserman, Multiple View Geometry (2003), Sec. 11.4.3.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial.transform import Rotation

_STEP = 1e-6  # radians or metres, of the difference quotients
_SINGULAR = 1e-12  # of the two rays' normal equations


@dataclass(frozen=True)
class ImagePair:
    """P matches between image a and image b.

    Attributes:
        camera_a, camera_b: numbers of the cameras; the same one over time, or two.
        a_T_b: camera b in camera a by the ego motion and the extrinsics in doubt, ``[4, 4]``.
        intrinsics_a, intrinsics_b: of the pixels given here, ``[3, 3]``.
        pixels_a, pixels_b: (column, row), centres at integers + 0.5, ``[P, 2]``.
        confidence: above 0, ``[P]``; below the median of all matches, a match counts less.
    """

    camera_a: int
    camera_b: int
    a_T_b: np.ndarray
    intrinsics_a: np.ndarray
    intrinsics_b: np.ndarray
    pixels_a: np.ndarray
    pixels_b: np.ndarray
    confidence: np.ndarray


def plausible(pair: ImagePair, nearest: float = 1.5, farthest: float = 150.0) -> ImagePair:
    """The matches whose two rays, by the stated pose, come closest within that range of depth.

    The epipolar line is blind to where along it a match lies. A wrong match on the line, or a far
    one, whose place says nothing about the motion, would count as much as a right one.

    Args:
        nearest, farthest: depth in both cameras, metres. Wide: the pose is in doubt.
    """
    rays_a = _rays(pair.pixels_a, pair.intrinsics_a)
    rays_b = _rays(pair.pixels_b, pair.intrinsics_b) @ pair.a_T_b[:3, :3].T
    # The depths z_a, z_b that make |z_a rays_a - z_b rays_b - baseline| least.
    baseline = pair.a_T_b[:3, 3]
    a, b, c = ((x * y).sum(1) for x, y in ((rays_a, rays_a), (rays_a, rays_b), (rays_b, rays_b)))
    p, q = rays_a @ baseline, rays_b @ baseline
    determinant = np.maximum(a * c - b * b, _SINGULAR)
    depths = np.stack([c * p - b * q, b * p - a * q]) / determinant
    kept = ((depths > nearest) & (depths < farthest)).all(0)
    return replace(
        pair,
        pixels_a=pair.pixels_a[kept],
        pixels_b=pair.pixels_b[kept],
        confidence=pair.confidence[kept],
    )


class MatchProblem:
    """Sampson distances of all matches, and their derivatives, over [roll .. up] a camera."""

    def __init__(self, pairs: Sequence[ImagePair], ego_R_cam: np.ndarray) -> None:
        self.cameras, self.ego_R_cam = len(ego_R_cam), ego_R_cam
        pairs = [pair for pair in pairs if len(pair.pixels_a)]
        self.first = np.array([pair.camera_a for pair in pairs])
        self.second = np.array([pair.camera_b for pair in pairs])
        self.a_T_b = np.stack([pair.a_T_b for pair in pairs]).astype(float)
        self.inverse_a, self.inverse_b = (
            np.linalg.inv(np.stack([getattr(pair, name) for pair in pairs]).astype(float))
            for name in ("intrinsics_a", "intrinsics_b")
        )
        self.pair = np.repeat(np.arange(len(pairs)), [len(pair.pixels_a) for pair in pairs])
        self.pixels_a, self.pixels_b = (
            np.pad(
                np.concatenate([getattr(pair, name) for pair in pairs]).astype(float),
                ((0, 0), (0, 1)),
                constant_values=1.0,
            )
            for name in ("pixels_a", "pixels_b")
        )
        confidence = np.concatenate([pair.confidence for pair in pairs]).astype(float)
        self.weight = np.sqrt(np.minimum(confidence / np.median(confidence), 1.0))
        # Which matches each camera takes part in, [N, P].
        self.sees = np.stack(
            [((self.first == n) | (self.second == n))[self.pair] for n in range(self.cameras)]
        )

    def without(self, far: np.ndarray) -> MatchProblem:
        """The same problem with some matches left out."""
        fewer = copy(self)
        for name in ("pair", "pixels_a", "pixels_b", "weight"):
            setattr(fewer, name, getattr(self, name)[~far])
        fewer.sees = self.sees[:, ~far]
        return fewer

    def residuals(self, found: np.ndarray) -> np.ndarray:
        """Signed distances in pixels, times the weight."""
        fundamental = self._fundamental(found)[self.pair]
        return self._distances(fundamental)[0] * self.weight

    def jacobian(self, found: np.ndarray) -> np.ndarray:
        """Derivatives of the residuals, ``[P, 6 N]``.

        Those by the fundamental matrix in closed form, those of that matrix as differences.
        """
        fundamental = self._fundamental(found)[self.pair]
        distance, length, line_a, line_b = self._distances(fundamental)
        ahead, share = (self.weight / length)[:, None], (distance / length)[:, None]
        inside_a, inside_b = line_a * (1, 1, 0), line_b * (1, 1, 0)
        a, b = self.pixels_a, self.pixels_b
        by_matrix = a[:, :, None] * (ahead * (b - share * inside_b))[:, None]  # [P, 3, 3]
        by_matrix -= (ahead * share * inside_a)[:, :, None] * b[:, None]
        steps = _STEP * np.eye(len(found))
        slopes = np.stack(  # [6 N, Q, 9]
            [self._fundamental(found + step) - self._fundamental(found - step) for step in steps]
        ).reshape(len(found), -1, 9) / (2 * _STEP)
        parts = np.split(
            by_matrix.reshape(-1, 9), self.pair.searchsorted(range(1, len(self.first)))
        )
        return np.concatenate([part @ slopes[:, q].T for q, part in enumerate(parts)])

    def _distances(self, fundamental: np.ndarray) -> tuple[np.ndarray, ...]:  # [P, 3, 3]
        """Distance and gradient's length ``[P]``, lines in image a and in image b ``[P, 3]``."""
        line_a = (fundamental @ self.pixels_b[:, :, None])[..., 0]
        line_b = (self.pixels_a[:, None] @ fundamental)[:, 0]
        square = (line_a[:, :2] ** 2).sum(1) + (line_b[:, :2] ** 2).sum(1)
        length = np.sqrt(np.maximum(square, 1e-30))  # both pixels at the epipoles: 0
        return (self.pixels_a * line_a).sum(1) / length, length, line_a, line_b

    def _fundamental(self, found: np.ndarray) -> np.ndarray:  # [6 N] -> [Q, 3, 3]
        found = found.reshape(-1, 6)
        # Ego's axes -> each camera's: true camera -> stated camera.
        to_cam = self.ego_R_cam.transpose(0, 2, 1)
        turn = to_cam @ Rotation.from_rotvec(found[:, :3]).as_matrix() @ self.ego_R_cam
        shift = np.einsum("nij,nj->ni", to_cam, found[:, 3:])
        stated_R, stated_t = self.a_T_b[:, :3, :3], self.a_T_b[:, :3, 3]
        back = turn[self.first].transpose(0, 2, 1)
        rotation = back @ stated_R @ turn[self.second]
        moved = np.einsum("qij,qj->qi", stated_R, shift[self.second]) + stated_t
        translation = np.einsum("qij,qj->qi", back, moved - shift[self.first])
        x, y, z = translation.T
        zero = np.zeros_like(x)
        cross = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], axis=1).reshape(-1, 3, 3)
        return self.inverse_a.transpose(0, 2, 1) @ cross @ rotation @ self.inverse_b


def _rays(pixels: np.ndarray, intrinsics: np.ndarray) -> np.ndarray:  # [P, 3]
    return np.pad(pixels, ((0, 0), (0, 1)), constant_values=1.0) @ np.linalg.inv(intrinsics).T
