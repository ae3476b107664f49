"""Extrinsic errors from exact matches of a rig that drives: noise, outliers, moving points."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from bevdepth_plus.errors import DataError
from bevdepth_plus.pointmaps.extrinsic_error import ExtrinsicErrors, estimate_extrinsic_errors
from bevdepth_plus.pointmaps.extrinsic_problem import ImagePair, plausible

WIDTH, HEIGHT = 1600, 900
# Yaw in degrees, position in ego, focal length in pixels: as on the vehicles of nuScenes.
RIG = [
    (0, (1.7, 0.0, 1.5), 1266),
    (-55, (1.5, -0.5, 1.5), 1266),
    (-110, (1.0, -0.5, 1.56), 1266),
    (180, (0.0, 0.0, 1.55), 800),
    (110, (1.0, 0.5, 1.56), 1266),
    (55, (1.5, 0.5, 1.5), 1266),
]
NEIGHBOURS = [(n, (n + 1) % 6) for n in range(6)]
EGO_R_FRONT = np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])
MOST_POINTS = 150  # of a pair


def pose(rotation: np.ndarray, translation) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = rotation, translation
    return matrix


def about_z(radians: float) -> np.ndarray:
    return Rotation.from_euler("z", radians).as_matrix()


EGO_T_CAM = np.stack([pose(about_z(np.deg2rad(yaw)) @ EGO_R_FRONT, t) for yaw, t, _ in RIG])
INTRINSICS = [np.array([[f, 0, WIDTH / 2], [0, f, HEIGHT / 2], [0, 0, 1.0]]) for _, _, f in RIG]


def drive(turns: bool, num_moments: int = 41) -> list[np.ndarray]:
    """Ego poses every 2.5 m: straight, or left and right at up to 15 degrees a moment."""
    poses, place, heading = [], np.zeros(3), 0.0
    for moment in range(num_moments):
        poses.append(pose(about_z(heading), place))
        heading += np.deg2rad(15 * np.sin(2 * np.pi * moment / num_moments)) if turns else 0.0
        place = place + 2.5 * np.array([np.cos(heading), np.sin(heading), 0])
    return poses


def wrong(true: np.ndarray, rotation: np.ndarray, translation: np.ndarray) -> np.ndarray:
    """The stated extrinsics from which the true ones are off by degrees and metres in ego axes."""
    turn = Rotation.from_rotvec(np.deg2rad(rotation)).as_matrix()
    return pose(turn.T @ true[:3, :3], true[:3, 3] - translation)


def project(points: np.ndarray, camera: int, global_T_ego: np.ndarray):
    inside = np.linalg.inv(global_T_ego @ EGO_T_CAM[camera])
    here = points @ inside[:3, :3].T + inside[:3, 3]
    homogeneous = here @ INTRINSICS[camera].T
    pixels = homogeneous[:, :2] / np.where(here[:, 2:] > 0.5, homogeneous[:, 2:], np.nan)
    return pixels, ((pixels > 0) & (pixels < (WIDTH, HEIGHT))).all(1)


def matches(
    poses: list[np.ndarray],
    stated: np.ndarray,
    neighbours=NEIGHBOURS,
    noise: float = 0.5,
    seed: int = 0,
) -> list[ImagePair]:
    """All pairs of a drive; 10 % of the matches are anywhere, 5 % are of points that move."""
    random = np.random.default_rng(seed)
    points = np.stack([pose_[:3, 3] for pose_ in poses])[random.integers(len(poses), size=20000)]
    points = points + random.uniform((-60, -60, -1.5), (60, 60, 12), points.shape)
    pairs = []

    def add(a: int, b: int, at_a: np.ndarray, at_b: np.ndarray) -> None:
        moving = random.random(len(points)) < 0.05
        shift = np.where(moving[:, None], random.normal(0, 1.0, points.shape) * (1, 1, 0), 0)
        pixels_a, seen_a = project(points, a, at_a)
        pixels_b, seen_b = project(points + shift, b, at_b)
        both = (seen_a & seen_b).nonzero()[0]
        both = random.permutation(both)[:MOST_POINTS]
        pixels_a, pixels_b = (
            p[both] + random.normal(0, noise, (len(both), 2)) for p in (pixels_a, pixels_b)
        )
        outlier = random.random(len(both)) < 0.1
        pixels_b[outlier] = random.uniform((0, 0), (WIDTH, HEIGHT), (outlier.sum(), 2))
        a_T_b = np.linalg.inv(at_a @ stated[a]) @ at_b @ stated[b]
        pairs.append(
            ImagePair(
                a, b, a_T_b, INTRINSICS[a], INTRINSICS[b], pixels_a, pixels_b, np.ones(len(both))
            )
        )

    for before, after in pairwise(poses):
        for camera in range(len(RIG)):
            add(camera, camera, before, after)
    for now in poses[::2]:
        for a, b in neighbours:
            add(a, b, now, now)
    return pairs


def estimate(pairs: list[ImagePair], stated: np.ndarray) -> ExtrinsicErrors:
    return estimate_extrinsic_errors(pairs, stated[:, :3, :3])


@pytest.fixture(scope="module")
def one_wrong() -> tuple[ExtrinsicErrors, np.ndarray, np.ndarray]:
    """The right front camera is off by 1 degree and 5 cm; what is found, and the truth."""
    rotation, translation = np.zeros((6, 3)), np.zeros((6, 3))
    rotation[1] = np.array([0.5, -0.5, 0.7071])
    translation[1] = np.array([0.03, -0.04, 0.0])
    stated = EGO_T_CAM.copy()
    stated[1] = wrong(EGO_T_CAM[1], rotation[1], translation[1])
    return estimate(matches(drive(True), stated, seed=11), stated), rotation, translation


def test_an_error_of_one_degree_and_five_centimetres_is_found(one_wrong):
    found, rotation, translation = one_wrong
    for camera, error in enumerate(found.cameras):
        assert np.linalg.norm(error.rotation - rotation[camera]) < 0.2
        assert np.linalg.norm((error.translation - translation[camera])[:2]) < 0.03
        assert error.observable.tolist() == [True] * 5 + [False], "height needs slopes"


def test_only_the_wrong_camera_is_named(one_wrong):
    found, _, _ = one_wrong
    named = [error.wrong_axes(degrees=0.3, metres=0.05).any() for error in found.cameras]
    assert named == [False, True, False, False, False, False]


def test_the_standard_deviations_are_those_of_the_errors(one_wrong):
    found, rotation, translation = one_wrong
    for camera, error in enumerate(found.cameras):
        assert (np.abs(error.rotation - rotation[camera]) < 4 * error.rotation_sd).all()
        assert (np.abs(error.translation - translation[camera]) < 4 * error.translation_sd).all()


def test_straight_ahead_a_camera_alone_shows_two_angles():
    found = estimate(matches(drive(False, 11), EGO_T_CAM, neighbours=[], seed=12), EGO_T_CAM)
    front = found.cameras[0]
    assert front.observable.tolist() == [False, True, True, False, False, False]
    assert abs(front.rotation[0]) < 0.1, "what nothing shows stays at zero"
    assert front.rotation_sd[0] > 1.0


def test_matches_at_impossible_depths_do_not_count():
    (pair, *_) = matches(drive(False, 2), EGO_T_CAM, noise=0.0, seed=13)
    behind = replace(pair, a_T_b=np.linalg.inv(pair.a_T_b))
    assert len(plausible(pair).pixels_a) > 0.7 * len(pair.pixels_a)
    assert len(plausible(behind).pixels_a) < 0.3 * len(pair.pixels_a)
    with pytest.raises(DataError, match="too few"):
        estimate([behind], EGO_T_CAM)


def test_no_match_at_all_is_one_clear_line():
    with pytest.raises(DataError, match="0 plausible matches in 0 image pairs are too few"):
        estimate([], EGO_T_CAM)


def test_pairs_whose_matches_are_all_wrong_decide_nothing():
    """A bus beside the camera: by chance some of its matches agree on a pose."""
    random = np.random.default_rng(14)
    pairs = matches(drive(True, 11), EGO_T_CAM, noise=0.1, seed=15)
    blind = [
        replace(pair, pixels_b=random.uniform((0, 0), (WIDTH, HEIGHT), pair.pixels_b.shape))
        if 2 in (pair.camera_a, pair.camera_b)
        else pair
        for pair in pairs
    ]
    found = estimate(blind, EGO_T_CAM).cameras
    assert not found[2].observable.any() and found[2].num_matches == 0
    assert found[0].observable[:3].all() and np.abs(found[0].rotation).max() < 0.1
