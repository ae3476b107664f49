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

Source: robust estimation, Hartley and Zisserman, Multiple View Geometry (2003), A6.8; the sandwich
covariance of M-estimators, Huber (1981), Sec. 6.6.

Axes are those of ego: x forward, y left, z up. Everything is float64.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import least_squares

from bevdepth_plus.errors import DataError
from bevdepth_plus.pointmaps.extrinsic_problem import ImagePair, MatchProblem, plausible

ANGLES = ("roll", "pitch", "yaw")
AXES = ("forward", "left", "up")
_CAUCHY = 2.385  # in standard deviations: 95 % of the efficiency of least squares
_TO_SIGMA = 1.4826  # median absolute value -> standard deviation, for a normal distribution
_LEAST_SIGMA = 0.01  # pixels: exact matches must not divide by 0
_MAX_ROUNDS = 10
_NEAR_LINE = 3.0  # pixels; and the share of a pair's matches that must be so near
_LEAST_SHARE = 0.4
_TRIM = 3.5  # standard deviations
_TRIMS = 3
_NOT_OBSERVABLE = 1 / 3  # of the prior: the common height of 6 cameras would have 1 / sqrt(6)


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

    def wrong_axes(self, degrees: float, metres: float, sds: float = 3.0) -> np.ndarray:
        """Which observable axes are off by more than a limit and by so many sd, bool ``[6]``."""
        value = np.abs(np.concatenate([self.rotation, self.translation]))
        sd = np.concatenate([self.rotation_sd, self.translation_sd])
        limit = np.repeat([degrees, metres], 3)
        return self.observable & (value > limit) & (value > sds * sd)


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

    Matches at impossible depths are left out first, see :func:`plausible`. The standard deviation
    is the larger one of two: matches count as independent, or all matches of a pair share an error
    (as when the ego motion of that pair is wrong).

    Raises:
        DataError: there are fewer than ``least_matches`` matches in all.
    """
    prior = prior or Prior()
    prior_sd = np.tile(np.repeat([np.deg2rad(prior.degrees), prior.metres], 3), len(ego_R_cam))
    nothing = np.zeros_like(prior_sd)
    ego_R_cam = np.asarray(ego_R_cam, dtype=float)
    everything = [pair for pair in pairs if len(pair.pixels_a)]
    problem = _problem(everything, ego_R_cam, least_matches)
    found = _solve(problem, nothing, _robust_sigma(problem.residuals(nothing)), prior_sd)
    # Where a bus fills an image all matches are wrong, and some agree on a pose by chance: such
    # pairs go first, while the fit is still coarse enough to keep those of a wrong camera.
    near = _share_near(MatchProblem(everything, ego_R_cam), found)
    usable = [pair for pair, share in zip(everything, near, strict=True) if share >= _LEAST_SHARE]
    problem = _problem(usable, ego_R_cam, least_matches)
    found = nothing
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


def _solve(
    problem: MatchProblem, start: np.ndarray, sigma: float, prior_sd: np.ndarray
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


def _problem(pairs: Sequence[ImagePair], ego_R_cam: np.ndarray, least_matches: int) -> MatchProblem:
    pairs = [plausible(pair) for pair in pairs]
    count = sum(len(pair.pixels_a) for pair in pairs)
    if count < least_matches:
        raise DataError(
            f"{count} plausible matches in {len(pairs)} image pairs are too few, at least "
            f"{least_matches} are needed: take a drive that moves and sees texture"
        )
    return MatchProblem(pairs, ego_R_cam)


def _share_near(problem: MatchProblem, found: np.ndarray) -> np.ndarray:
    """The share of each pair's matches that lie near their epipolar lines, ``[Q]``."""
    near = np.abs(problem.residuals(found)) < _NEAR_LINE * problem.weight
    count = len(problem.first)
    return np.bincount(problem.pair, near, count) / np.bincount(problem.pair, minlength=count)


def _robust_sigma(residuals: np.ndarray) -> float:
    return max(_LEAST_SIGMA, float(_TO_SIGMA * np.median(np.abs(residuals))))


def _standard_deviations(
    problem: MatchProblem, found: np.ndarray, sigma: float, prior_sd: np.ndarray
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
