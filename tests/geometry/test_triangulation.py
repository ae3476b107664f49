from __future__ import annotations

import pytest
import torch

from bevdepth_plus.geometry.pinhole import project
from bevdepth_plus.geometry.rigid import transform_points
from bevdepth_plus.geometry.triangulation import (
    projection_matrices,
    triangulate_inverse_depth,
    triangulate_svd,
)

DOUBLE = torch.float64


def rotation(angles: torch.Tensor) -> torch.Tensor:  # [V, 3] -> [V, 3, 3]
    skew = torch.zeros(*angles.shape, 3, dtype=DOUBLE)
    skew[..., 2, 1], skew[..., 0, 2], skew[..., 1, 0] = angles.unbind(-1)
    return torch.linalg.matrix_exp(skew - skew.transpose(-1, -2))


class Scene:
    """Points before an anchor camera and what V moved cameras of other focal lengths see."""

    def __init__(self, views: int = 2, baseline: float = 0.12, points: int = 48, seed: int = 0):
        generator = torch.Generator().manual_seed(seed)

        def uniform(*shape):
            return torch.rand(*shape, generator=generator, dtype=DOUBLE) * 2 - 1

        focal = torch.tensor([300.0, 260.0, 340.0, 280.0], dtype=DOUBLE)[: views + 1]
        matrix = torch.zeros(views + 1, 3, 3, dtype=DOUBLE)
        matrix[:, 0, 0], matrix[:, 1, 1] = focal, focal + 2
        matrix[:, 0, 2], matrix[:, 1, 2], matrix[:, 2, 2] = 160, 120, 1
        self.intrinsics, self.source_intrinsics = matrix[:1], matrix[None, 1:]
        self.poses = torch.eye(4, dtype=DOUBLE).repeat(1, views, 1, 1)
        self.poses[0, :, :3, :3] = rotation(0.05 * uniform(views, 3))
        direction = uniform(views, 3) * torch.tensor([1.0, 0.5, 0.2])
        self.poses[0, :, :3, 3] = baseline * direction / direction.norm(dim=-1, keepdim=True)
        depth = 2.5 + 1.5 * uniform(1, points, 1)
        self.points = torch.cat([uniform(1, points, 2) * 0.4 * depth, depth], dim=-1)
        self.pixels = project(self.points, self.intrinsics)[0]
        in_sources = transform_points(self.poses, self.points[:, None])
        self.matches = project(in_sources, self.source_intrinsics)[0]  # [1, V, P, 2]

    def inverse_depth(self, matches=None, information=None, dtype=DOUBLE):
        matches = self.matches if matches is None else matches
        if information is None:
            information = torch.ones_like(matches[..., 0])
        tensors = (self.pixels, self.intrinsics, matches, information)
        tensors = (*tensors, self.source_intrinsics, self.poses)
        return triangulate_inverse_depth(*(tensor.to(dtype) for tensor in tensors))

    def projections(self) -> torch.Tensor:
        anchor = projection_matrices(self.intrinsics, torch.eye(4, dtype=DOUBLE))[:, None]
        sources = projection_matrices(self.source_intrinsics, self.poses)
        return torch.cat([anchor, sources], dim=1)

    def all_pixels(self) -> torch.Tensor:
        return torch.cat([self.pixels[:, None], self.matches], dim=1)


@pytest.mark.parametrize("views", [1, 2, 3])
@pytest.mark.parametrize("baseline", [0.001, 0.01, 0.12, 2.0])
def test_both_ways_agree_with_the_truth(views, baseline):
    scene = Scene(views, baseline)
    truth = scene.points[..., 2]
    torch.testing.assert_close(1 / scene.inverse_depth().mean, truth, rtol=1e-6, atol=0)
    found = triangulate_svd(scene.projections(), scene.all_pixels())
    torch.testing.assert_close(found, scene.points, rtol=1e-6, atol=1e-8)


def test_single_precision_is_within_one_in_a_hundred_thousand():
    scene = Scene(views=2, baseline=0.12)
    single = 1 / scene.inverse_depth(dtype=torch.float32).mean.double()
    torch.testing.assert_close(single, scene.points[..., 2], rtol=1e-5, atol=0)
    found = triangulate_svd(scene.projections().float(), scene.all_pixels().float()).double()
    torch.testing.assert_close(found, scene.points, rtol=1e-5, atol=1e-5)


def test_the_variance_is_that_of_repeated_noisy_measurements():
    scene = Scene(views=2, baseline=0.12, points=8)
    noise = torch.Generator().manual_seed(1)
    draws = []
    for _ in range(400):
        offset = torch.randn(scene.matches.shape, generator=noise, dtype=DOUBLE)
        draws.append(scene.inverse_depth(scene.matches + 0.5 * offset).mean)
    measured = torch.stack(draws).var(dim=0)
    information = torch.full_like(scene.matches[..., 0], 1 / 0.5**2)
    predicted = scene.inverse_depth(information=information).variance
    torch.testing.assert_close(measured, predicted, rtol=0.25, atol=0)


def test_information_decides_between_views_that_disagree():
    scene = Scene(views=2)
    wrong = scene.matches.clone()
    wrong[:, 1] += 3.0
    information = torch.ones_like(wrong[..., 0])
    information[:, 1] = 1e-8
    found = scene.inverse_depth(wrong, information)
    torch.testing.assert_close(1 / found.mean, scene.points[..., 2], rtol=1e-5, atol=0)


def test_a_match_without_information_is_not_looked_at():
    """Public bug 6: an out-of-range view stays in the public SVD as a bogus observation."""
    scene = Scene(views=2)
    matches = scene.matches.clone()
    matches[:, 1] = torch.nan
    information = torch.ones_like(matches[..., 0])
    information[:, 1] = 0
    matches.requires_grad_()
    found = scene.inverse_depth(matches, information)
    torch.testing.assert_close(1 / found.mean, scene.points[..., 2], rtol=1e-6, atol=0)
    found.mean.sum().backward()
    assert matches.grad.isfinite().all() and (matches.grad[:, 1] == 0).all()


def test_a_lost_pose_counts_as_no_view():
    scene = Scene(views=2)
    scene.poses[:, 1] = -torch.inf
    found = scene.inverse_depth()
    torch.testing.assert_close(1 / found.mean, scene.points[..., 2], rtol=1e-6, atol=0)
    scene.poses[:, 0] = torch.nan
    nothing = scene.inverse_depth()
    assert (nothing.mean == 0).all() and (nothing.variance > 1e8).all()


def test_zero_baseline_says_that_it_knows_nothing():
    """Public bug 7: there, Z = 0 with a gradient of 0, silently."""
    scene = Scene(views=2, baseline=0.0)
    noise = torch.randn(scene.matches.shape, generator=torch.Generator().manual_seed(0))
    matches = (scene.matches + 0.5 * noise.double()).requires_grad_()
    found = scene.inverse_depth(matches)
    assert (found.variance > 1e8).all() and (found.mean.abs() < 1e-3).all()
    assert (found.depth(0.5, 100.0) == 0).all()
    found.mean.sum().backward()
    assert matches.grad.isfinite().all()


def test_infinity_is_inverse_depth_zero_and_parting_rays_are_below():
    scene = Scene(views=1, baseline=0.12)
    far = scene.points * 1e7
    matches = project(transform_points(scene.poses, far[:, None]), scene.source_intrinsics)[0]
    torch.testing.assert_close(
        scene.inverse_depth(matches).mean, torch.zeros(1, 48, dtype=DOUBLE), rtol=0, atol=1e-6
    )
    beyond = scene.inverse_depth(matches + 2 * (matches - scene.matches)).mean
    assert (beyond < -1e-3).all()


def test_depth_outside_the_range_is_no_depth():
    found = Scene(views=1).inverse_depth()
    depth = found.depth(2.0, 3.0)
    inside = (1 / found.mean > 2) & (1 / found.mean < 3)
    assert inside.any() and not inside.all()
    assert torch.equal(depth > 0, inside)


def test_gradients_of_the_closed_form_are_right():
    scene = Scene(views=2, points=5)
    matches = (scene.matches + 0.3).requires_grad_()
    information = torch.rand(1, 2, 5, dtype=DOUBLE).add(0.5).requires_grad_()
    poses = scene.poses.clone().requires_grad_()

    def function(matches, information, poses):
        scene.poses = poses
        found = scene.inverse_depth(matches, information)
        return found.mean, found.variance

    assert torch.autograd.gradcheck(function, (matches, information, poses))


def test_gradients_of_the_svd_are_right():
    scene = Scene(views=2, points=5)
    pixels = (scene.all_pixels() + torch.rand(1, 3, 5, 2, dtype=DOUBLE)).requires_grad_()
    projections = scene.projections().requires_grad_()
    confidence = torch.rand(1, 3, 5, dtype=DOUBLE).add(0.5).requires_grad_()
    assert torch.autograd.gradcheck(triangulate_svd, (projections, pixels, confidence))


@pytest.mark.parametrize("case", ["zero baseline", "infinity", "equal singular values", "all zero"])
def test_svd_and_its_gradients_stay_finite(case):
    scene = Scene(views=2, baseline=0.0 if case == "zero baseline" else 0.12, points=6)
    projections, pixels = scene.projections(), scene.all_pixels().clone()
    if case == "infinity":
        projections[:, 1:, :, :3] = projections[:, :1, :, :3]
        pixels[:, 1:] = pixels[:, :1]
    if case == "equal singular values":
        # Rows (u P3 - P1, v P3 - P2) of an identity: singular values 1, 1, 1, 1.
        projections = torch.zeros(1, 2, 3, 4, dtype=DOUBLE)
        projections[0, 0, 0, 0] = projections[0, 0, 1, 1] = -1
        projections[0, 1, 0, 2] = projections[0, 1, 1, 3] = -1
        pixels = torch.zeros(1, 2, 6, 2, dtype=DOUBLE)
    confidence = torch.full(pixels.shape[:-1], 0.0 if case == "all zero" else 1.0, dtype=DOUBLE)
    for dtype in (torch.float64, torch.float32):
        leaves = [
            t.detach().to(dtype, copy=True).requires_grad_()
            for t in (projections, pixels, confidence)
        ]
        found = triangulate_svd(*leaves)
        assert found.isfinite().all()
        found.square().sum().backward()
        assert all(leaf.grad.isfinite().all() for leaf in leaves)


def test_confidence_removes_a_view_from_the_svd():
    scene = Scene(views=3)
    pixels = scene.all_pixels().clone()
    pixels[:, 2] = 0
    confidence = torch.ones(1, 4, 48, dtype=DOUBLE)
    confidence[:, 2] = 0
    found = triangulate_svd(scene.projections(), pixels, confidence)
    torch.testing.assert_close(found, scene.points, rtol=1e-6, atol=1e-8)


def test_bad_shapes_are_named():
    scene = Scene(views=1)
    with pytest.raises(ValueError, match="needs 2 views or more"):
        triangulate_svd(scene.projections()[:, :1], scene.all_pixels()[:, :1])
    with pytest.raises(ValueError, match=r"projections must be \[..., V, 3, 4\]"):
        triangulate_svd(torch.eye(4), scene.all_pixels())
    with pytest.raises(ValueError, match=r"matches must be \[B, V, P, 2\] and information"):
        scene.inverse_depth(information=torch.ones(1, 48))
    with pytest.raises(ValueError, match=r"matches must be \[B, V, P, 2\] = \(1, 1, 48, 2\)"):
        scene.inverse_depth(scene.matches[:, :, :5])
