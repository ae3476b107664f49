from __future__ import annotations

import pytest
import torch

from bevdepth_plus.triangulation.correction import PointCorrection
from bevdepth_plus.triangulation.densify import DepthDensifier
from bevdepth_plus.triangulation.encoder import PyramidEncoder
from bevdepth_plus.triangulation.epipolar_matching import EpipolarMatcher, Matches
from bevdepth_plus.triangulation.keypoints import InterestPointNetwork, Keypoints
from bevdepth_plus.triangulation.network import TriangulationNetwork
from bevdepth_plus.triangulation.points import Views
from bevdepth_plus.triangulation.true_places import reproject


def small_network() -> TriangulationNetwork:
    torch.manual_seed(0)
    encoder = PyramidEncoder(18, base_channels=4)
    depth_range = (1.0, 60.0)
    densifier = DepthDensifier(
        encoder.channels,
        depth_range,
        PyramidEncoder(18, 2, base_channels=4),
        (16, 12, 8, 8, 4),
        4,
    )
    points = InterestPointNetwork(encoder, 8, 16)
    matcher = EpipolarMatcher(samples=20, min_length=1.0)
    return TriangulationNetwork(points, matcher, densifier, depth_range, num_points=32)


def views(baseline: float = 0.5, sources: int = 2, batch: int = 2) -> Views:
    matrix = torch.tensor([[50.0, 0, 48], [0, 50, 32], [0, 0, 1]])
    poses = torch.eye(4).repeat(batch, sources, 1, 1)
    poses[..., 0, 3] = baseline * torch.arange(1, sources + 1)
    images = torch.rand(batch, 1 + sources, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    return Views(images, matrix.expand(batch, 1 + sources, 3, 3), poses)


def test_any_number_of_sources_gives_depth_at_four_scales():
    network = small_network().eval()
    for sources in (1, 3):
        with torch.no_grad():
            found = network(views(sources=sources))
        assert [depth.shape for depth in found.depths] == [
            (2, 1, 64 // scale, 96 // scale) for scale in (1, 2, 4, 8)
        ]
        assert found.points.matches.pixels.shape == (2, sources, 32, 2)
        assert (found.sparse.depth > 0).sum() == (found.points.depth > 0).sum()


def test_a_vehicle_that_stands_falls_back_to_the_image():
    with torch.no_grad():
        found = small_network().eval()(views(baseline=0.0))
    assert (found.points.depth == 0).all() and (found.sparse.depth == 0).all()
    assert all(depth.isfinite().all() and (depth > 0).all() for depth in found.depths)


def corrected_network(**options) -> TriangulationNetwork:
    network = small_network()
    network.correction = PointCorrection(network.interest_points.encoder.channels[1], (1.0, 60.0))
    with torch.no_grad():
        network.correction.head[-1].bias[0] = -2.0  # points are exact to a seventh
    for name, value in options.items():
        setattr(network, name, value)
    return network.eval()


def test_points_correct_the_depth_while_the_vehicle_moves_and_only_then():
    network = corrected_network()
    with torch.no_grad():
        moves, stands = (network(views(baseline)) for baseline in (0.5, 0.0))
    assert (moves.depths[0] / moves.uncorrected - 1).abs().max() > 0.01
    torch.testing.assert_close(stands.depths[0], stands.uncorrected, rtol=1e-3, atol=0)
    assert moves.sigma.shape == moves.points.depth.shape and (moves.sigma > 0).all()


def test_the_densifier_sees_the_image_alone_where_that_is_asked_for():
    network = corrected_network(points_into_densifier=False)
    with torch.no_grad():
        moves, stands = (network(views(baseline)) for baseline in (0.5, 0.0))
    assert torch.equal(moves.uncorrected, stands.uncorrected)
    assert (moves.sparse.depth > 0).any(), "the points are told all the same"


def test_the_public_code_s_numbers_know_no_correction():
    network = small_network()
    parts = network.interest_points, network.matcher, network.densifier, (1.0, 60.0)
    correction = PointCorrection(4, (1.0, 60.0))
    with pytest.raises(ValueError, match="has no correction"):
        TriangulationNetwork(*parts, correction=correction, compat="deltas")


def test_a_source_with_a_lost_pose_changes_nothing():
    given = views(sources=2)
    first = Views(
        given.images[:, :2], given.intrinsics[:, :2], given.source_T_anchor[:, :1].clone()
    )
    given.source_T_anchor[:, 1] = -torch.inf
    network = small_network().eval()
    with torch.no_grad():
        both, alone = network(given), network(first)
    torch.testing.assert_close(both.points.depth, alone.points.depth)


def test_evaluation_repeats_itself_and_training_draws_anew():
    network = small_network().eval()
    with torch.no_grad():
        once, again = (network(views()).points.keypoints.pixels for _ in range(2))
        network.train()
        other = network(views()).points.keypoints.pixels
    assert torch.equal(once, again) and not torch.equal(once, other)


def test_every_parameter_that_depth_needs_is_taught():
    network = small_network()
    found = network(views())
    loss = sum(depth.mean() for depth in found.depths) + found.points.inverse_depth.mean.sum()
    (loss + found.features.logits.square().mean()).backward()
    without = [name for name, p in network.named_parameters() if p.grad is None]
    assert without == [] or without == ["matcher.threshold"]


def test_points_on_whose_depth_the_sources_disagree_are_not_trusted():
    """A wrong match of a near place looks exact: parallax alone must not make it confident."""
    given = views(batch=1)
    pixels = torch.tensor([[[60.5, 20.5], [60.5, 30.5], [60.5, 40.5]]])
    places, seen = reproject(pixels, torch.full((1, 3), 5.0), given)
    assert seen.all()
    places[0, 1, 1, 0] -= 15  # the second source says 2 m for the second point
    sure = torch.tensor([0.9, 0.9, 0.3]).expand(1, 2, 3)
    matches = Matches(places, torch.full((1, 2, 3), 0.1), sure, seen)
    keypoints = Keypoints(pixels, torch.ones(1, 3), torch.ones(1, 3, dtype=torch.bool))
    points = small_network().triangulate(keypoints, matches, given)
    agreed, disputed, doubtful = points.confidence[0].tolist()
    assert agreed > 0.8 and disputed < 0.01
    assert 0.2 < doubtful < 0.31, "no more than the matches' own probability"
