"""What a posed pair with depth teaches: a slanted plane, seen from two places."""

from __future__ import annotations

import pytest
import torch

from bevdepth_plus.geometry.pinhole import pixel_centres, project, rays
from bevdepth_plus.geometry.rigid import invert_rigid, transform_points
from bevdepth_plus.pointmaps.pair_targets import PosedPair, target_pointmaps, true_matches

SIZE = (24, 40)
# In camera 1: normal . point = 1. About 8 m ahead, slanted.
NORMAL = torch.tensor([0.02, -0.01, 0.125])
MATRICES = (
    torch.tensor([[30.0, 0, 19.3], [0, 31, 12.1], [0, 0, 1]]),
    torch.tensor([[34.0, 0, 20.9], [0, 33, 11.2], [0, 0, 1]]),
)


def moved() -> torch.Tensor:
    """first_T_second: turned and 1.3 m away."""
    pose = torch.eye(4)
    pose[:3, :3] = torch.linalg.matrix_exp(
        torch.tensor([[0, -0.05, 0.1], [0.05, 0, 0.02], [-0.1, -0.02, 0]])
    )
    pose[:3, 3] = torch.tensor([0.8, -0.1, 1.0])
    return pose


def plane_depth(matrix: torch.Tensor, first_T_camera: torch.Tensor) -> torch.Tensor:
    directions = rays(pixel_centres(SIZE), matrix) @ first_T_camera[:3, :3].T  # [H, W, 3]
    return (1 - NORMAL @ first_T_camera[:3, 3]) / (directions @ NORMAL)


@pytest.fixture
def pair() -> PosedPair:
    depths = (plane_depth(MATRICES[0], torch.eye(4)), plane_depth(MATRICES[1], moved()))
    return PosedPair(
        tuple(depth[None] for depth in depths),
        tuple(matrix[None] for matrix in MATRICES),
        moved()[None],
    )


def test_points_of_both_views_lie_on_the_plane_and_on_their_own_rays(pair):
    points, valid = target_pointmaps(pair)
    assert all(mask.all() for mask in valid)
    for each, matrix, pose in zip(points, MATRICES, (torch.eye(4), moved()), strict=True):
        torch.testing.assert_close(each @ NORMAL, torch.ones(1, *SIZE), rtol=0, atol=1e-5)
        in_camera = transform_points(invert_rigid(pose), each.flatten(1, 2))
        pixels, _ = project(in_camera, matrix)
        expected = pixel_centres(SIZE).flatten(0, 1)[None]
        torch.testing.assert_close(pixels, expected, rtol=0, atol=1e-3)


def test_pixels_without_depth_have_no_point(pair):
    pair.depths[1][0, 3, 4:7] = torch.tensor([0.0, torch.nan, torch.inf])
    (_, second), (first_known, second_known) = target_pointmaps(pair)
    assert first_known.all()
    assert (~second_known).nonzero().tolist() == [[0, 3, 4], [0, 3, 5], [0, 3, 6]]
    assert (second[0, 3, 4:7] == 0).all() and second.isfinite().all()


def test_the_other_way_is_the_same_scene_in_the_other_frame(pair):
    ways = pair.both_ways()
    (first, second), _ = target_pointmaps(ways)
    there = transform_points(moved()[None], second[1:].flatten(1, 2)).view(1, *SIZE, 3)
    torch.testing.assert_close(there, first[:1], rtol=0, atol=1e-4)
    assert torch.equal(ways.depths[0][1], pair.depths[1][0])
    assert torch.equal(ways.intrinsics[1][1], MATRICES[0])


def test_matched_pixels_show_one_point(pair):
    (first, second), _ = target_pointmaps(pair)
    pixels, valid = true_matches(pair, 200, generator=torch.Generator().manual_seed(0))
    assert valid.sum() > 150
    there, here = (
        points[0][where[0, :, 1], where[0, :, 0]][valid[0]]
        for points, where in zip((first, second), pixels, strict=True)
    )
    # Half a pixel's diagonal at 9 m and f = 33 is 0.2 m on a plane before the camera.
    assert (there - here).norm(dim=-1).max() < 0.35
    assert len({tuple(pixel) for pixel in pixels[0][0].tolist()}) == 200


def test_what_is_hidden_or_without_depth_is_no_match(pair):
    pair.depths[1][0, :, :20] *= 0.5  # something stands before the plane in view 2
    pair.depths[0][0, :5] = 0
    (first, second), valid = true_matches(pair, SIZE[0] * SIZE[1])
    assert valid.any() and not valid.all()
    assert first[valid][:, 1].min() >= 5
    assert second[valid][:, 0].min() >= 20


def test_views_that_see_nothing_in_common_have_no_matches(pair):
    pair.first_T_second[:, :3, 3] += 1000
    (first, second), valid = true_matches(pair, 50)
    assert not valid.any()
    assert first.shape == second.shape == (1, 50, 2)
