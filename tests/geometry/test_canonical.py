from __future__ import annotations

import math

import pytest
import torch

from bevdepth_plus.geometry.cameras import Cameras
from bevdepth_plus.geometry.canonical import (
    canonical_cameras,
    canonical_image_matrix,
    effective_focal,
    from_canonical_depth,
    to_canonical_depth,
)

CANONICAL = 1000.0


def camera(focal: float, width: float, height: float, fy: float | None = None) -> torch.Tensor:
    """Intrinsics with the principal point in the middle of a ``width x height`` image."""
    matrix = torch.tensor([[focal, 0, width / 2], [0, fy or focal, height / 2], [0, 0, 1]])
    return matrix.double()


def resize(scale: float) -> torch.Tensor:
    return torch.diag(torch.tensor([scale, scale, 1.0], dtype=torch.float64))


def pixel_rays(intrinsics: torch.Tensor, width: int, height: int) -> torch.Tensor:
    v, u = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    pixels = torch.stack([u + 0.5, v + 0.5, torch.ones(height, width)], dim=-1).double()
    return pixels @ torch.linalg.inv(intrinsics).T


def street_depth(rays: torch.Tensor) -> torch.Tensor:
    """Depth of a ground plane 1.5 m below the camera and a wall 30 m ahead."""
    ground = torch.where(rays[..., 1] > 0, 1.5 / rays[..., 1].clamp(min=1e-9), torch.inf)
    return ground.clamp(max=30.0)


def test_the_focal_length_is_the_mean_of_both_axes():
    assert effective_focal(camera(900, 1600, 900, fy=1100)).item() == pytest.approx(1000)


@pytest.mark.parametrize("rotation", [0.0, 0.1, math.pi / 2, 3.0])
@pytest.mark.parametrize("flip", [False, True])
def test_flip_rotation_and_crop_leave_the_focal_length_and_resizing_scales_it(rotation, flip):
    cos, sin = math.cos(rotation), math.sin(rotation)
    turn = torch.tensor([[cos, sin, 7.0], [-sin, cos, -3.0], [0, 0, 1]], dtype=torch.float64)
    mirror = torch.tensor([[-1.0 if flip else 1.0, 0, 700], [0, 1, 0], [0, 0, 1]]).double()
    crop = torch.tensor([[1.0, 0, -40], [0, 1, -140], [0, 0, 1]]).double()
    aug = turn @ mirror @ crop @ resize(0.44)
    focal = effective_focal(aug @ camera(1250, 1600, 900, fy=1270))
    assert focal.item() == pytest.approx(0.44 * 1260)


def test_each_camera_of_a_batch_has_its_own_factor_and_depth_comes_back():
    intrinsics = torch.stack([camera(f, 1600, 900) for f in (500, 1000, 2000, 1260)])
    focal = effective_focal(intrinsics).reshape(2, 2)
    depth = torch.rand(2, 2, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    depth = depth * 50
    canonical = to_canonical_depth(depth, focal, CANONICAL)
    torch.testing.assert_close(canonical[0, 0], depth[0, 0] * 2)
    torch.testing.assert_close(canonical[1, 0], depth[1, 0] / 2)
    torch.testing.assert_close(from_canonical_depth(canonical, focal, CANONICAL), depth)


def test_no_depth_stays_no_depth_and_the_type_stays():
    depth = torch.tensor([[[[0.0, 10.0]]]], dtype=torch.bfloat16)
    canonical = to_canonical_depth(depth, torch.tensor([500.0]), CANONICAL)
    assert canonical.dtype == torch.bfloat16
    assert canonical.flatten().tolist() == [0.0, 20.0]


def test_focal_lengths_of_another_batch_are_an_error():
    with pytest.raises(ValueError, match="leading axes of depth"):
        to_canonical_depth(torch.ones(2, 1, 3, 4), torch.ones(3), CANONICAL)


def test_one_picture_means_one_canonical_depth_whatever_the_camera():
    # A thing of 1.5 m fills as many pixels at twice the distance under twice the focal length.
    for focal, distance in ((600.0, 12.0), (1200.0, 24.0), (300.0, 6.0)):
        assert focal * 1.5 / distance == 75
        depth = torch.full((1, 1, 1, 1), distance)
        canonical = to_canonical_depth(depth, torch.tensor([focal]), CANONICAL)
        assert canonical.item() == pytest.approx(CANONICAL * 1.5 / 75)


def test_label_method_same_scene_two_focal_lengths_same_canonical_depth():
    # The long camera's image, scaled down by the augmentation to where it looks like the short's.
    short, long, half = camera(400, 64, 32), camera(800, 128, 64), resize(0.5)
    depth_short = street_depth(pixel_rays(short, 64, 32))[None, None]
    depth_long = street_depth(pixel_rays(half @ long, 64, 32))[None, None]
    canonical = to_canonical_depth(depth_short, effective_focal(short)[None], CANONICAL)
    other = to_canonical_depth(depth_long, effective_focal(half @ long)[None], CANONICAL)
    torch.testing.assert_close(canonical, other)
    assert (canonical.amax() / 30).item() == pytest.approx(CANONICAL / 400)


def test_image_method_same_scene_two_focal_lengths_same_canonical_image_and_depth():
    depths = []
    for focal, size in ((400, (64, 32)), (800, (128, 64)), (300, (48, 24))):
        intrinsics = camera(focal, *size)
        matrix, canonical_size = canonical_image_matrix(size, intrinsics, 200.0)
        assert canonical_size.tolist() == [32, 16]
        torch.testing.assert_close(matrix @ intrinsics, camera(200, 32, 16))
        depths.append(street_depth(pixel_rays(matrix @ intrinsics, 32, 16)))
    torch.testing.assert_close(depths[0], depths[1])
    torch.testing.assert_close(depths[0], depths[2])


def test_image_method_counts_what_augmentation_did_to_each_camera():
    intrinsics = torch.stack([camera(1260, 1600, 900), camera(800, 1600, 900)])[None]
    mirror = torch.tensor([[-1.0, 0, 704], [0, 1, 0], [0, 0, 1]]).double()
    aug = torch.stack([resize(0.44), mirror @ resize(0.5)])[None]
    matrix, size = canonical_image_matrix((704, 256), aug @ intrinsics, 500.0)
    assert size.shape == (1, 2, 2)
    torch.testing.assert_close(
        effective_focal(matrix @ aug @ intrinsics), torch.full((1, 2), 500.0).double()
    )
    # ... so the label method has nothing left to do.
    depth = torch.full((1, 2, 3, 4), 7.0).double()
    focal = effective_focal(matrix @ aug @ intrinsics)
    torch.testing.assert_close(to_canonical_depth(depth, focal, 500.0), depth)


def test_the_inverse_of_the_image_matrix_leads_back_to_the_pixel():
    intrinsics = camera(1260, 1600, 900, fy=1250)
    matrix, _ = canonical_image_matrix((1600, 900), intrinsics, CANONICAL)
    point = torch.tensor([2.0, 1.0, 20.0]).double()
    canonical = matrix @ intrinsics @ point
    back = torch.linalg.inv(matrix) @ (canonical / canonical[2])
    torch.testing.assert_close(back, intrinsics @ point / point[2])


def one_camera(intrinsics: torch.Tensor, aug: torch.Tensor) -> Cameras:
    eye = torch.eye(4, dtype=torch.float64)
    return Cameras(intrinsics[None, None], eye[None, None], aug[None, None], eye[None])


def test_in_canonical_space_rigs_that_differ_in_focal_length_and_resizing_are_one():
    short = canonical_cameras(one_camera(camera(500, 1600, 900), resize(0.44)), CANONICAL)
    long = canonical_cameras(one_camera(camera(1400, 800, 450), resize(0.88)), CANONICAL)
    torch.testing.assert_close(short.intrinsics, long.intrinsics)
    torch.testing.assert_close(short.image_aug, long.image_aug)
    assert short.intrinsics[..., 0, 0].item() == CANONICAL
    assert short.intrinsics[..., 0, 2].item() == pytest.approx(0.44 * 800)


def test_in_canonical_space_pixel_shape_rotation_and_flip_are_still_known():
    turn = torch.tensor([[0.0, 0.5, 3], [-0.5, 0, 7], [0, 0, 1]], dtype=torch.float64)
    cameras = one_camera(camera(900, 1600, 900, fy=1100), turn)
    found = canonical_cameras(cameras, CANONICAL)
    assert found.intrinsics[..., 1, 1].item() / found.intrinsics[..., 0, 0].item() == pytest.approx(
        1100 / 900
    )
    expected = torch.tensor([[0.0, 1, 0], [-1, 0, 0], [0, 0, 1]], dtype=torch.float64)
    torch.testing.assert_close(found.image_aug[0, 0], expected)
    assert cameras.intrinsics[0, 0, 0, 0] == 900  # the cameras themselves stay as they were
