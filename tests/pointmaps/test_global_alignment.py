from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from bevdepth_plus.geometry.quaternions import (
    quaternion_to_rotation,
    rotation_to_quaternion,
)
from bevdepth_plus.geometry.rigid import invert_rigid
from bevdepth_plus.pointmaps.alignment_problem import alignment_problem
from bevdepth_plus.pointmaps.canonical_views import canonical_view
from bevdepth_plus.pointmaps.focal import estimate_focal
from bevdepth_plus.pointmaps.global_alignment import Settings, Stage, align, robust
from bevdepth_plus.pointmaps.matching import Matches
from bevdepth_plus.pointmaps.metric_scale import scale_from_motion
from bevdepth_plus.pointmaps.pair_graphs import complete_pairs
from bevdepth_plus.pointmaps.scene_parameters import Known
from tests.pointmaps import scenes

SHORT = Settings(coarse=Stage(60, 0.07, 1.5), fine=Stage(60, 0.01, 0.5))


def make_problem(count: int = 3, stretch: float = 1.0, valid=None, noise: float = 0.0):
    """Cameras before a wall, with pointmaps that are ``stretch`` times too large."""
    poses = scenes.camera_poses(count)
    points = scenes.pointmaps(poses)
    generator = torch.Generator().manual_seed(0)
    points = points * (stretch + noise * torch.randn(count, 1, 1, 1, generator=generator))
    confidence = torch.full(points.shape[:-1], 2.0)
    views = [
        canonical_view(points[i : i + 1], confidence[:1], None if valid is None else valid[i, None])
        for i in range(count)
    ]
    focals = torch.cat([estimate_focal(v.points[None], v.valid[None])[0] for v in views])
    matches = {(a, b): scenes.matches_between(poses, a, b) for a, b in complete_pairs(count)}
    return poses, points, alignment_problem(views, focals, matches)


def exactly(poses: torch.Tensor) -> Known:
    zeros = torch.zeros(len(poses))
    return Known(world_T_cam=poses, centre_sigma=zeros, rotation_sigma=zeros)


def exact_intrinsics(count: int) -> dict[str, torch.Tensor]:
    return dict(intrinsics=scenes.intrinsics().repeat(count, 1, 1), focal_sigma=torch.zeros(count))


def relative(poses: torch.Tensor) -> torch.Tensor:
    return invert_rigid(poses[0]) @ poses


def abs_rel(found, poses, scaled: bool = False) -> float:
    """Mean relative error of the anchor depths; scaled: by the best median."""
    truth = scenes.pointmaps(poses)[:, 4::8, 4::8, 2].flatten()
    depth = found.scene.anchor_depth
    if scaled:
        depth = depth * (truth / depth).median()
    return ((depth - truth).abs() / truth).mean().item()


def test_free_cameras_are_found_up_to_scale():
    poses, _, problem = make_problem()
    known = Known(**exact_intrinsics(3))
    found = align(problem, known, SHORT)
    ours, truth = relative(found.scene.world_T_cam), relative(poses)
    scale = scale_from_motion(ours[:, :3, 3], truth[:, :3, 3])[0]
    # The cameras are 0.8 apart.
    assert (scale * ours[:, :3, 3] - truth[:, :3, 3]).norm(dim=1).max() < 0.15
    assert (ours[:, :3, :3] - truth[:, :3, :3]).abs().max() < 0.08
    assert found.losses[-1] < found.losses[60]


def test_known_poses_halve_the_depth_error_and_do_not_move():
    poses, _, problem = make_problem(4, stretch=1.3, noise=0.1)
    free = align(problem, settings=SHORT)
    known = align(problem, exactly(poses), SHORT)
    assert torch.equal(known.scene.world_T_cam, poses)
    assert torch.equal(known.coarse.world_T_cam, poses)
    assert abs_rel(known, poses) < 0.05  # metres, though the pointmaps are 30 % too large
    assert abs_rel(known, poses) < 0.5 * abs_rel(free, poses)
    assert abs_rel(known, poses, scaled=True) < abs_rel(free, poses, scaled=True)


def test_one_free_camera_among_known_ones_is_found_in_the_world():
    poses, _, problem = make_problem(4, stretch=1.2)
    known = exactly(poses)
    sigma = torch.tensor([0, 0, torch.inf, 0])
    known = replace(known, centre_sigma=sigma, rotation_sigma=sigma, **exact_intrinsics(4))
    spoilt = poses.clone()
    spoilt[2] = torch.nan  # nothing is known of it, so nothing is read of it
    found = align(problem, replace(known, world_T_cam=spoilt), SHORT)
    assert (found.scene.world_T_cam[2, :3, 3] - poses[2, :3, 3]).norm() < 0.15
    assert torch.equal(found.scene.world_T_cam[[0, 1, 3]], poses[[0, 1, 3]])


def test_soft_poses_move_less_the_smaller_their_sigma():
    poses, _, problem = make_problem()
    wrong = poses.clone()
    wrong[1, 0, 3] += 0.3
    moved = []
    for value in (1e-3, 1.0):
        sigma = torch.full((3,), value)
        known = Known(world_T_cam=wrong, centre_sigma=sigma, rotation_sigma=sigma)
        found = align(problem, known, SHORT).scene.world_T_cam
        moved.append((found[1, :3, 3] - wrong[1, :3, 3]).norm().item())
    assert moved[0] < 0.02
    assert moved[1] > max(0.05, 5 * moved[0])


def test_known_intrinsics_do_not_move():
    _, _, problem = make_problem()
    told = scenes.intrinsics(57.0).repeat(3, 1, 1)
    told[:, 0, 2] += 1.5
    sigma = torch.tensor([0.0, 0.0, torch.inf])
    found = align(problem, Known(intrinsics=told, focal_sigma=sigma), SHORT)
    torch.testing.assert_close(found.scene.intrinsics[:2], told[:2], rtol=1e-6, atol=1e-5)
    assert (found.scene.intrinsics[2] - told[2]).abs().max() > 0.1


def test_shared_intrinsics_are_one_camera_stepped_once():
    _, _, problem = make_problem()
    one_step = replace(SHORT, fine=Stage(1, 0.01, 0.5), coarse=Stage(0, 0.07, 1.5))
    found = align(problem, settings=replace(one_step, shared_intrinsics=True)).scene.intrinsics
    assert torch.equal(found[0], found[1])
    assert abs((found[0, 0, 0] / problem.focals.mean()).log().abs().item() - 0.01) < 1e-3


def test_the_result_is_that_after_the_last_step():
    _, _, problem = make_problem()
    one = replace(SHORT, coarse=Stage(1, 0.07, 1.5), fine=Stage(0, 0.01, 0.5))
    start = align(problem, settings=replace(one, return_state_before_last_step=True))
    after = align(problem, settings=one)
    assert (after.coarse.world_T_cam - start.coarse.world_T_cam).abs().max() > 0.01


@hypothesis_settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_half_of_every_image_masked_leaves_nothing_that_is_not_finite(seed):
    generator = torch.Generator().manual_seed(seed)
    valid = torch.rand(3, *scenes.SIZE, generator=generator) > 0.5
    poses, _, problem = make_problem(valid=valid)
    assert 0.6 < problem.dropped < 0.9  # a match needs both its pixels
    quick = replace(SHORT, coarse=Stage(10, 0.07, 1.5), fine=Stage(10, 0.01, 0.5))
    for known in (Known(), exactly(poses)):
        found = align(problem, known, quick)
        for values in (*vars(found.scene).values(), found.losses):
            assert values.isfinite().all()


def test_matches_in_a_mask_never_count():
    valid = torch.ones(3, *scenes.SIZE, dtype=torch.bool)
    valid[:, :, :32] = False
    _, _, problem = make_problem(valid=valid)
    assert (problem.first.pixels[:, 0] > 32).all()
    assert (problem.second.pixels[:, 0] > 32).all()


def bad_input(**changes):
    poses = scenes.camera_poses(2)
    points = scenes.pointmaps(poses)
    ones = torch.ones(1, *scenes.SIZE)
    views = [canonical_view(points[i : i + 1], ones, changes.get("valid")) for i in range(2)]
    views = views[: changes.get("count", 2)]
    matches = changes.get("matches", {(0, 1): scenes.matches_between(poses, 0, 1)})
    return alignment_problem(views, torch.full((len(views),), 60.0), matches)


def test_one_image_is_refused():
    with pytest.raises(ValueError, match="at least two images, got 1"):
        bad_input(count=1, matches={})


def test_an_empty_mask_names_the_image():
    with pytest.raises(ValueError, match="image 0: no block has a valid depth; its mask is empty"):
        bad_input(valid=torch.zeros(1, *scenes.SIZE, dtype=torch.bool))


def test_images_without_a_match_are_refused():
    nothing = Matches(*(torch.zeros(0, 2, dtype=torch.int64),) * 2, torch.zeros(0))
    for matches in ({}, {(0, 1): nothing}):
        with pytest.raises(ValueError, match="no match between any two images is valid"):
            bad_input(matches=matches)


def test_a_pair_of_one_image_is_refused():
    poses = scenes.camera_poses(2)
    with pytest.raises(ValueError, match=r"pair \(1, 1\) is not two of the 2 images"):
        bad_input(matches={(1, 1): scenes.matches_between(poses, 0, 1)})


def test_poses_that_are_no_cameras_are_named():
    poses, _, problem = make_problem()
    flipped = poses.clone()
    flipped[1, :3, 1] *= -1
    with pytest.raises(ValueError, match="pose of image 1 has a flipped axis"):
        align(problem, exactly(flipped), SHORT)
    scaled = poses.clone()
    scaled[2, :3, :3] *= 2
    with pytest.raises(ValueError, match="pose of image 2 is no rotation"):
        align(problem, exactly(scaled), SHORT)
    broken = poses.clone()
    broken[0, 0, 3] = torch.nan
    with pytest.raises(ValueError, match="pose of image 0 is not finite"):
        align(problem, exactly(broken), SHORT)
    with pytest.raises(ValueError, match=r"world_T_cam must be \(3, 4, 4\), got \(2, 4, 4\)"):
        align(problem, exactly(poses[:2]), SHORT)
    with pytest.raises(ValueError, match="needs a sigma >= 0"):
        align(problem, Known(world_T_cam=poses), SHORT)


def test_shared_intrinsics_of_images_of_different_sizes_are_refused():
    _, _, problem = make_problem()
    sizes = problem.sizes.clone()
    sizes[1] = sizes[1].flip(0)
    with pytest.raises(ValueError, match="shared intrinsics need images of one size"):
        align(replace(problem, sizes=sizes), settings=replace(SHORT, shared_intrinsics=True))


def test_quaternions_and_rotations_are_each_others_inverse():
    quaternions = torch.randn(50, 4, generator=torch.Generator().manual_seed(0)).double()
    quaternions = torch.cat([quaternions, torch.eye(4).double()])
    rotations = quaternion_to_rotation(quaternions)
    torch.testing.assert_close(rotations @ rotations.mT, torch.eye(3).double().expand(54, 3, 3))
    torch.testing.assert_close(quaternion_to_rotation(rotation_to_quaternion(rotations)), rotations)


def test_the_robust_loss_starts_with_slope_one():
    distance = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    for gamma in (1.5, 0.5):
        value = robust(distance, gamma)
        assert value.item() == 0
        torch.testing.assert_close(torch.autograd.grad(value, distance)[0], torch.ones(1).double())


def test_metric_scale_follows_from_ego_motion():
    truth = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    scale, spread = scale_from_motion(0.4 * truth + 7, truth)
    assert abs(scale.item() - 2.5) < 1e-4
    assert spread.item() < 1e-4
    with pytest.raises(ValueError, match="no two cameras moved"):
        scale_from_motion(truth, torch.zeros(6, 3))
