"""Metres from one pair with known cameras."""

from __future__ import annotations

import math

import pytest
import torch

from bevdepth_plus.geometry.pinhole import pixel_centres, rays
from bevdepth_plus.geometry.rigid import invert_rigid, transform_points
from bevdepth_plus.pointmaps.heads import Pointmap
from bevdepth_plus.pointmaps.metric_depth import (
    ScaleRules,
    image_axes,
    pair_depth,
    weighted_median,
)
from tests.pointmaps import scenes

SCALE = 0.37  # network units a metre


def wall_pair():
    """Exact pointmaps of the wavy wall from two places, the pose, and the true depth."""
    poses = scenes.camera_poses(2)
    first_T_second = invert_rigid(poses[:1]) @ poses[1:]
    own = scenes.pointmaps(poses)
    other = transform_points(first_T_second[0], own[1].flatten(0, 1)).view_as(own[1])
    confidence = torch.full((1, *scenes.SIZE), 3.0)
    first, second = (Pointmap(SCALE * points[None], confidence) for points in (own[0], other))
    return first, second, first_T_second, own[:1, ..., 2]


def matrices() -> tuple[torch.Tensor, torch.Tensor]:
    matrix = scenes.intrinsics()[None]
    return matrix, matrix


def test_exact_points_of_any_unit_give_exact_metres():
    first, second, pose, true = wall_pair()
    found = pair_depth(first, second, matrices(), pose)
    torch.testing.assert_close(found.depth, true, rtol=1e-3, atol=0)
    assert (found.confidence == 3).all()
    assert found.spread.item() < 1e-3


def test_a_third_of_wrong_points_does_not_move_the_scale():
    first, second, pose, true = wall_pair()
    points = second.points.clone()
    points[:, :16] *= 2.5
    found = pair_depth(first, Pointmap(points, second.confidence), matrices(), pose)
    torch.testing.assert_close(found.depth, true, rtol=0.02, atol=0)


def test_points_of_low_confidence_count_nowhere():
    first, second, pose, true = wall_pair()
    low = first.confidence.clone()
    low[:, :30] = 1.2
    wrong = torch.where(low[..., None] < 1.5, -second.points, second.points)
    found = pair_depth(Pointmap(first.points, low), Pointmap(wrong, low), matrices(), pose)
    assert (found.depth[:, :30] == 0).all() and (found.confidence[:, :30] == 0).all()
    torch.testing.assert_close(found.depth[:, 30:], true[:, 30:], rtol=1e-3, atol=0)


def test_masked_pixels_are_unknown():
    first, second, pose, true = wall_pair()
    mask = torch.ones(1, *scenes.SIZE, dtype=torch.bool)
    mask[:, :, :20] = False
    found = pair_depth(first, second, matrices(), pose, (mask, mask))
    assert (found.depth[~mask] == 0).all()
    torch.testing.assert_close(found.depth[mask], true[mask], rtol=1e-3, atol=0)


def test_two_cameras_at_one_place_say_nothing():
    first, second, pose, _ = wall_pair()
    for moved in (0.0, 0.1):
        near = pose.clone()
        near[:, :3, 3] *= moved / near[:, :3, 3].norm()
        found = pair_depth(first, second, matrices(), near)
        assert (found.depth == 0).all() and found.spread.isinf().all()


@pytest.mark.parametrize("value", [0.0, math.nan, math.inf])
def test_points_without_meaning_say_nothing_and_stay_finite(value):
    first, second, pose, _ = wall_pair()
    broken = Pointmap(torch.full_like(second.points, value), second.confidence)
    for pair in ((first, broken), (broken, second)):
        found = pair_depth(*pair, matrices(), pose)
        assert (found.depth == 0).all() and (found.confidence == 0).all()


def test_pixels_that_do_not_agree_on_a_scale_give_none():
    first, second, pose, _ = wall_pair()
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(second.points.shape, generator=generator)
    found = pair_depth(first, Pointmap(noise, second.confidence), matrices(), pose)
    assert (found.depth == 0).all() and found.spread.isinf().all()
    strict = ScaleRules(max_spread=1e-9)
    assert (pair_depth(first, second, matrices(), pose, rules=strict).depth == 0).all()


def test_a_network_that_knows_metres_needs_no_motion():
    first, second, pose, true = wall_pair()
    still = pose.clone()
    still[:, :3, 3] = 0
    rules = ScaleRules(scale="network")
    found = pair_depth(first, second, matrices(), still, rules=rules)
    torch.testing.assert_close(found.depth, SCALE * true, rtol=1e-3, atol=0)
    assert (found.spread == 0).all()
    with pytest.raises(ValueError, match="scale must be one of"):
        ScaleRules(scale="guess")


def turned(degrees: float, mirrored: bool) -> torch.Tensor:
    """An augmentation of pixels, about the image's middle."""
    angle = math.radians(degrees)
    linear = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    linear = linear @ torch.diag(torch.tensor([-1.0 if mirrored else 1.0, 1.0]))
    augment = torch.eye(3)
    augment[:2, :2] = linear
    middle = torch.tensor([scenes.SIZE[1] / 2, scenes.SIZE[0] / 2])
    augment[:2, 2] = middle - linear @ middle
    return augment


@pytest.mark.parametrize(("degrees", "mirrored"), [(0, True), (8, False), (-5, True)])
def test_a_mirrored_or_rotated_image_gives_the_same_metres(degrees, mirrored):
    augment = turned(degrees, mirrored)
    matrix = (augment @ scenes.intrinsics())[None]
    axes = torch.eye(3)
    axes[:2, :2] = augment[:2, :2]
    torch.testing.assert_close(image_axes(matrix)[0], axes)

    # A tilted plane, seen in the augmented image by a network that knows nothing of that.
    pose = torch.eye(4)[None]
    pose[0, :3, 3] = torch.tensor([0.9, -0.1, 0.4])
    pixels = pixel_centres(scenes.SIZE).flatten(0, 1)
    directions = rays(pixels, matrix[0])
    normal = torch.tensor([0.1, 0.2, 1.0])
    depth1 = 8 / (directions @ normal)
    depth2 = (8 - pose[0, :3, 3] @ normal) / (directions @ normal)
    points1 = directions * depth1[:, None]
    points2 = directions * depth2[:, None] + pose[0, :3, 3]
    ones = torch.full((1, *scenes.SIZE), 3.0)
    maps = [
        Pointmap((SCALE * points @ axes.T).view(1, *scenes.SIZE, 3), ones)
        for points in (points1, points2)
    ]
    found = pair_depth(*maps, (matrix, matrix), pose)
    torch.testing.assert_close(found.depth.flatten(), depth1, rtol=1e-4, atol=0)
    # One image mirrored and the other not: no such pair exists.
    other = matrix @ torch.diag(torch.tensor([-1.0, 1.0, 1.0]))
    assert (pair_depth(*maps, (matrix, other), pose).depth == 0).all()


def test_the_weighted_median_is_where_half_of_the_weight_lies():
    values = torch.tensor([[5.0, 1.0, 3.0], [5.0, 1.0, 3.0]])
    weights = torch.tensor([[1.0, 1.0, 1.0], [5.0, 1.0, 1.0]])
    assert weighted_median(values, weights).tolist() == [3.0, 5.0]
