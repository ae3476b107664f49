from __future__ import annotations

import pytest
import torch

from bevdepth_plus.geometry.pinhole import project, unproject
from bevdepth_plus.geometry.rigid import transform_points
from bevdepth_plus.triangulation.correction import PointCorrection
from bevdepth_plus.triangulation.criterion import TriangulationCriterion
from bevdepth_plus.triangulation.densify import DepthDensifier
from bevdepth_plus.triangulation.encoder import PyramidEncoder
from bevdepth_plus.triangulation.epipolar_matching import EpipolarMatcher
from bevdepth_plus.triangulation.keypoints import InterestPointNetwork
from bevdepth_plus.triangulation.network import TriangulationNetwork
from bevdepth_plus.triangulation.points import Views
from bevdepth_plus.triangulation.true_places import depth_at, reproject

SIZE = (32, 64)


def network(corrected: bool = False) -> TriangulationNetwork:
    torch.manual_seed(0)
    encoder, narrow = PyramidEncoder(18, 3, 4), PyramidEncoder(18, 2, 4)
    depth_range = (1.0, 60.0)
    densifier = DepthDensifier(encoder.channels, depth_range, narrow, (8, 8, 4, 4, 4), 4)
    points = InterestPointNetwork(encoder, 8, 8)
    matcher = EpipolarMatcher(samples=12, patch_radius=2 * corrected)
    correction = PointCorrection(encoder.channels[1], depth_range) if corrected else None
    return TriangulationNetwork(
        points, matcher, densifier, depth_range, 24, border=2, correction=correction
    )


def random_views(generator: torch.Generator, batch: int = 2, sources: int = 2) -> Views:
    """Rigs and motions of all kinds: standing, turning, forward, backward, lost poses."""

    def uniform(*shape):
        return torch.rand(*shape, generator=generator)

    matrix = torch.zeros(batch, 1 + sources, 3, 3)
    matrix[..., 0, 0] = matrix[..., 1, 1] = 20 + 60 * uniform(batch, 1 + sources)
    matrix[..., 0, 2], matrix[..., 1, 2], matrix[..., 2, 2] = 32.0, 16.0, 1.0
    kind = torch.randint(0, 6, (1,), generator=generator).item()
    angles = (uniform(batch, sources, 3) - 0.5) * (0.0, 0.2, 3.0, 0.0, 0.1, 0.1)[kind]
    skew = torch.zeros(batch, sources, 3, 3)
    skew[..., 2, 1], skew[..., 0, 2], skew[..., 1, 0] = angles.unbind(-1)
    poses = torch.eye(4).repeat(batch, sources, 1, 1)
    poses[..., :3, :3] = torch.linalg.matrix_exp(skew - skew.transpose(-1, -2))
    reach = (0.0, 1e-4, 2.0, 10.0, 0.3, 1.0)[kind]
    poses[..., :3, 3] = (uniform(batch, sources, 3) - 0.5) * reach
    if kind == 5:
        poses[:, 0] = (torch.nan, -torch.inf)[int(uniform(1).item() > 0.5)]
    images = torch.randn(batch, 1 + sources, 3, *SIZE, generator=generator)
    return Views(images, matrix, poses)


def train(steps: int, corrected: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    model, criterion = network(corrected), TriangulationCriterion()
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    for step in range(steps):
        views = random_views(generator)
        target = 60 * torch.rand(2, 1, *SIZE, generator=generator)
        target[torch.rand(target.shape, generator=generator) < 0.3] = 0
        if step % 10 == 0:
            target.zero_()
        losses = criterion(model(views, generator=generator), views, target)
        optimizer.zero_grad()
        sum(losses.values()).backward()
        for name, parameter in model.named_parameters():
            assert parameter.grad is None or parameter.grad.isfinite().all(), (step, name)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimizer.step()
        assert all(loss.isfinite() for loss in losses.values()), (step, losses)


@pytest.mark.parametrize("corrected", [False, True])
def test_training_on_random_rigs_and_motions_sees_no_nan(corrected):
    train(12, corrected)


@pytest.mark.slow
def test_long_training_on_random_rigs_and_motions_sees_no_nan():
    train(1000, corrected=True)


def test_a_teacher_replaces_repeatability():
    views = random_views(torch.Generator().manual_seed(1))
    found = network()(views)
    target = torch.full((2, 1, *SIZE), 8.0)
    criterion = TriangulationCriterion()
    teacher = torch.zeros(2, *SIZE)
    taught, alone = criterion(found, views, target, teacher), criterion(found, views, target)
    assert taught["loss_interest_points"] != alone["loss_interest_points"]
    assert taught["loss_match"] == alone["loss_match"]


def test_depth_is_that_of_the_point_s_own_pixel():
    """Public bug 9: sampled beside it, with zeros outside: 1 m becomes 0.25 m at (0, 0)."""
    depth = torch.arange(1.0, 33.0).reshape(1, 1, 4, 8)
    pixels = torch.tensor([[[0.5, 0.5], [7.5, 3.5], [2.5, 1.5]]])
    assert depth_at(depth, pixels).tolist() == [[1.0, 32.0, 11.0]]


def test_the_true_place_is_where_the_source_projects_the_point():
    views = random_views(torch.Generator().manual_seed(4), batch=1, sources=1)
    views.source_T_anchor[..., :3, 3] = torch.tensor([0.3, 0.1, -0.5])
    pixels = torch.tensor([[[20.5, 10.5], [40.5, 20.5], [5.5, 5.5]]])
    depth = torch.tensor([[4.0, 9.0, 0.0]])
    found, seen = reproject(pixels, depth, views)
    points = unproject(pixels, depth.clamp(min=1), views.intrinsics[:, 0])
    moved = transform_points(views.source_T_anchor[:, 0], points)
    expected, _ = project(moved, views.intrinsics[:, 1])
    torch.testing.assert_close(found[:, 0, :2], expected[:, :2], rtol=1e-4, atol=1e-3)
    assert not seen[0, 0, 2]


def wall_and_post() -> tuple[Views, torch.Tensor, torch.Tensor]:
    """A wall 10 m away; half a metre to the right a post at 2 m hides the left of it."""
    views = random_views(torch.Generator().manual_seed(0), batch=1, sources=1)
    views.intrinsics[..., 0, 0] = views.intrinsics[..., 1, 1] = 40.0
    views.source_T_anchor[:] = torch.eye(4)
    views.source_T_anchor[..., 0, 3] = -0.5
    anchor, source = torch.full((1, 1, *SIZE), 10.0), torch.full((1, 1, *SIZE), 10.0)
    source[..., 10:20] = 2.0
    return views, anchor, source


def test_a_point_that_is_hidden_in_the_source_is_not_seen():
    views, anchor, source = wall_and_post()
    pixels = torch.tensor([[[17.5, 10.5], [40.5, 10.5]]])  # they move 2 pixels to the left
    depth = depth_at(anchor, pixels)
    assert reproject(pixels, depth, views)[1].all()
    assert reproject(pixels, depth, views, source)[1].tolist() == [[[False, True]]]
    unknown = torch.zeros_like(source)
    assert reproject(pixels, depth, views, unknown)[1].all()


def test_hidden_points_are_taught_to_have_no_match():
    views, anchor, source = wall_and_post()
    model, criterion = network().eval(), TriangulationCriterion(min_depth=0.1)
    found = model(views)
    blind = criterion(found, views, anchor)
    told = criterion(found, views, anchor, source_depths=source)
    gone = criterion(found, views, anchor, source_depths=torch.full_like(source, 2.0))
    assert gone["loss_match"] == 0 and gone["loss_point"] == 0
    assert told["loss_likelihood"] != blind["loss_likelihood"]
    none = -found.points.matches.scores.logits.log_softmax(-1)[..., -1]
    torch.testing.assert_close(
        gone["loss_likelihood"], none[found.points.matches.usable].mean(), rtol=1e-5, atol=1e-6
    )
    assert told["loss_depth"] == blind["loss_depth"]


def test_the_network_s_depth_is_taught_as_if_nothing_corrected_it():
    """Else it leans against the correction, and is worse where the vehicle stands."""
    views = random_views(torch.Generator().manual_seed(2))
    target = torch.full((2, 1, *SIZE), 8.0)
    model, criterion = network(corrected=True), TriangulationCriterion()
    found = model(views, generator=torch.Generator().manual_seed(0))
    losses = criterion(found, views, target)
    plain = found._replace(
        depths=[found.uncorrected, *found.depths[1:]], uncorrected=None, calibrated=None, sigma=None
    )
    without = criterion(plain, views, target)
    for name in ("loss_depth", "loss_smoothness"):
        torch.testing.assert_close(losses[name], without[name])
    weights = model.densifier.out.weight
    assert torch.autograd.grad(losses["loss_corrected"], weights, allow_unused=True)[0] is None
