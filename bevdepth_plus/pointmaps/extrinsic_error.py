"""How wrong are the extrinsics? From pixel matches between cameras whose motion is known.

Two images of a static scene must obey the epipolar constraint of their relative pose. That pose
follows from the ego motion and from both cameras' extrinsics, so wrong extrinsics leave the matches
beside their epipolar lines. The correction of each camera is what brings them back.

What a drive can show, and what it cannot:

- One camera over time, straight ahead: the two angles that turn the direction of motion in the
  image (a front camera's pitch and yaw). The angle about the direction of motion (roll) and the
  position stay unknown: neither changes the relative pose.
- One camera over time, in turns: the roll, and the position across the axis of the turn. On a flat
  road that axis points up, so the height stays unknown.
- Neighbours with a common view at one moment: their pose relative to each other, but for the length
  of the line between them. What all cameras share against the vehicle needs motion.

A weak prior about zero keeps what nothing shows at zero, and the result says so.

Source: Sampson distance and Huber-type estimation, Hartley and Zisserman, Multiple View Geometry
(2003), Sec. 11.4.3 and A6.8; the sandwich covariance of M-estimators, Huber (1981), Sec. 6.6.

Axes are those of ego: x forward, y left, z up. Everything is float64.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass

import numpy as np
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation

from bevdepth_plus.errors import DataError

ANGLES = ("roll", "pitch", "yaw")
AXES = ("forward", "left", "up")
_CAUCHY = 2.385  # in standard deviations: 95 % of the efficiency of least squares
_TO_SIGMA = 1.4826  # median absolute value -> standard deviation, for a normal distribution
_LEAST_SIGMA = 0.01  # pixels: exact matches must not divide by 0
_MAX_ROUNDS = 10
_TRIM = 3.5  # standard deviations
_TRIMS = 3
_STEP = 1e-6  # radians or metres, of the difference quotients
_NOT_OBSERVABLE = 1 / 3  # of the prior: the common height of 6 cameras would have 1 / sqrt(6)


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


@dataclass(frozen=True)
class Prior:
    """How far extrinsics may be off, standard deviations; weak on purpose."""

    degrees: float = 3.0
    metres: float = 0.2


@dataclass(frozen=True)
class CameraError:
    """How far the stated extrinsics of a camera are from the true ones: true minus stated.

    Attributes:
        rotation, rotation_sd: roll, pitch, yaw about ego's x, y, z, degrees, ``[3]``. The true
            rotation is that of this vector times the stated one.
        translation, translation_sd: forward, left, up, metres, ``[3]``.
        observable: bool ``[6]``, rotation first; False where the prior decides.
        num_matches: that took part.
    """

    rotation: np.ndarray
    rotation_sd: np.ndarray
    translation: np.ndarray
    translation_sd: np.ndarray
    observable: np.ndarray
    num_matches: int

    def exceeds(self, degrees: float, metres: float, sds: float = 3.0) -> bool:
        """Whether an observable axis is off by more than a threshold and by so many sd."""
        value = np.abs(np.concatenate([self.rotation, self.translation]))
        sd = np.concatenate([self.rotation_sd, self.translation_sd])
        limit = np.repeat([degrees, metres], 3)
        return bool((self.observable & (value > limit) & (value > sds * sd)).any())


@dataclass(frozen=True)
class ExtrinsicErrors:
    """Of all cameras, and how well the matches then fit.

    Attributes:
        cameras: one result a camera.
        sigma: robust standard deviation of the Sampson distances, pixels.
    """

    cameras: tuple[CameraError, ...]
    sigma: float


def estimate_extrinsic_errors(
    pairs: Sequence[ImagePair],
    ego_R_cam: np.ndarray,  # [N, 3, 3], of the extrinsics in doubt
    prior: Prior | None = None,
    least_matches: int = 100,
) -> ExtrinsicErrors:
    """The error of each camera's extrinsics with its uncertainty.

    The standard deviation is the larger one of two: matches count as independent, or all matches
    of a pair share an error (as when the ego motion of that pair is wrong).

    Raises:
        DataError: there are fewer than ``least_matches`` matches in all.
    """
    count = sum(len(pair.pixels_a) for pair in pairs)
    if count < least_matches:
        raise DataError(
            f"{count} matches in {len(pairs)} image pairs are too few, {least_matches} are needed: "
            "take a drive that moves and sees texture"
        )
    problem = _Problem(pairs, np.asarray(ego_R_cam, dtype=float))
    prior = prior or Prior()
    prior_sd = np.tile(np.repeat([np.deg2rad(prior.degrees), prior.metres], 3), problem.cameras)
    found = np.zeros_like(prior_sd)
    sigma = _robust_sigma(problem.residuals(found))
    # The scale of the residuals decides what an outlier is: from coarse to fine until it stays.
    for _ in range(_MAX_ROUNDS):
        found = _solve(problem, found, sigma, prior_sd)
        before, sigma = sigma, _robust_sigma(problem.residuals(found))
        if abs(sigma - before) < 0.01 * before:
            break
    # A match far from its line says nothing, yet Cauchy's loss still listens to it a little.
    for _ in range(_TRIMS):
        far = np.abs(problem.residuals(found)) > _TRIM * sigma
        problem = problem.without(far)
        found = _solve(problem, found, sigma, prior_sd)
    sd = _standard_deviations(problem, found, sigma, prior_sd)
    observable = sd < _NOT_OBSERVABLE * prior_sd
    results = []
    for camera in range(problem.cameras):
        at = slice(6 * camera, 6 * camera + 3), slice(6 * camera + 3, 6 * camera + 6)
        results.append(
            CameraError(
                np.rad2deg(found[at[0]]),
                np.rad2deg(sd[at[0]]),
                found[at[1]],
                sd[at[1]],
                observable[6 * camera : 6 * camera + 6],
                int(problem.sees[camera].sum()),
            )
        )
    return ExtrinsicErrors(tuple(results), sigma)


class _Problem:
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

    def without(self, far: np.ndarray) -> _Problem:
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
        parts = np.split(by_matrix.reshape(-1, 9), self.pair.searchsorted(range(1, len(self.first))))
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


def _solve(
    problem: _Problem, start: np.ndarray, sigma: float, prior_sd: np.ndarray
) -> np.ndarray:
    def rho(square: np.ndarray) -> np.ndarray:  # Cauchy for matches, squares for the prior
        inner = 1 + square / _CAUCHY**2
        values = np.stack([_CAUCHY**2 * np.log(inner), 1 / inner, -1 / (_CAUCHY * inner) ** 2])
        rows = slice(len(square) - len(start), None)
        values[0, rows], values[1, rows], values[2, rows] = square[rows], 1, 0
        return values

    return least_squares(
        lambda x: np.concatenate([problem.residuals(x) / sigma, x / prior_sd]),
        start,
        lambda x: np.concatenate([problem.jacobian(x) / sigma, np.diag(1 / prior_sd)]),
        loss=rho,
        x_scale=prior_sd,
        ftol=1e-6,
    ).x


def _robust_sigma(residuals: np.ndarray) -> float:
    return max(_LEAST_SIGMA, float(_TO_SIGMA * np.median(np.abs(residuals))))


def _standard_deviations(
    problem: _Problem, found: np.ndarray, sigma: float, prior_sd: np.ndarray
) -> np.ndarray:
    """Sandwich covariance, matches and then pairs independent; the larger one, ``[6 N]``."""
    residuals = problem.residuals(found) / sigma
    jacobian = problem.jacobian(found) * (prior_sd / sigma)  # in units of the prior
    inner = 1 + (residuals / _CAUCHY) ** 2
    weight = 1 / inner
    slope = (2 - inner) / inner**2  # of the influence; its mean corrects for the loss's curvature
    curvature = (jacobian.T * weight) @ jacobian * max(slope.mean() / weight.mean(), 0.1)
    bread = np.linalg.inv(curvature + np.eye(len(found)))
    score = jacobian * (residuals * weight)[:, None]  # [P, 6 N]
    of_pair = np.zeros((len(problem.first), len(found)))
    np.add.at(of_pair, problem.pair, score)
    variances = [
        np.diag(bread @ (scores.T @ scores + np.eye(len(found))) @ bread)
        for scores in (score, of_pair)
    ]
    return np.sqrt(np.maximum(*variances)) * prior_sd
