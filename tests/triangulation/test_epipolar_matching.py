from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from bevdepth_plus.geometry.pinhole import project, unproject
from bevdepth_plus.geometry.rigid import transform_points
from bevdepth_plus.geometry.triangulation import triangulate_inverse_depth
from bevdepth_plus.triangulation import correlation
from bevdepth_plus.triangulation.correlation import correlate, sample_descriptors
from bevdepth_plus.triangulation.deltas_compat import DeltasEpipolarMatcher
from bevdepth_plus.triangulation.epipolar_matching import EpipolarMatcher, widened

SIZE = (240, 320)
STRIDE = 8
CELLS = (30, 40)
RANGE = (0.5, 10.0)
INTRINSICS = torch.tensor([[[290.0, 0, 160], [0, 290, 120], [0, 0, 1]]])


def pose(x: float = 0.0, y: float = 0.0, z: float = 0.0) -> torch.Tensor:
    matrix = torch.eye(4)
    matrix[:3, 3] = torch.tensor([x, y, z])
    return matrix[None, None]


def places_code(pixels: torch.Tensor) -> torch.Tensor:  # [..., 2] -> [..., C]
    """A descriptor that tells places apart: waves over the image, of length 1."""
    frequency = torch.tensor([1 / 40.0, 1 / 64.0, 1 / 110.0]) * 2 * torch.pi
    phase = pixels[..., None] * frequency
    code = torch.cat([phase.sin(), phase.cos()], dim=-1).flatten(-2)
    return functional.normalize(code, dim=-1)


def cell_centres() -> torch.Tensor:  # [h, w, 2], pixels
    rows, columns = ((torch.arange(n) + 0.5) * STRIDE for n in CELLS)
    return torch.stack(torch.meshgrid(columns, rows, indexing="xy"), dim=-1)


def plane(depth: float, motion: torch.Tensor):
    """Descriptors of a plane at one depth, seen by the anchor and by a moved source."""
    own = places_code(cell_centres()).permute(2, 0, 1)[None]
    # The anchor's pixel that each source cell sees, on the plane of that depth before the anchor.
    centres = cell_centres().reshape(1, -1, 2)
    in_source = unproject(
        centres, torch.full((1, centres.shape[1]), depth + motion[0, 0, 2, 3].item()), INTRINSICS
    )
    back = motion.clone()
    back[..., :3, 3] *= -1
    seen, _ = project(transform_points(back[:, 0], in_source), INTRINSICS)
    other = places_code(seen).reshape(1, *CELLS, -1).permute(0, 3, 1, 2)
    return own, other[:, None]


def points(num: int = 200) -> torch.Tensor:
    share = torch.rand(1, num, 2, generator=torch.Generator().manual_seed(0))
    return torch.tensor([40.0, 40.0]) + share * torch.tensor([240.0, 160.0])


def match(matcher, depth: float, motion: torch.Tensor, centre: float = 0.5):
    """Relative error of depth at the points of a plane, and the matches."""
    own, other = plane(depth, motion)
    pixels, matrix = points() - 0.5 + centre, INTRINSICS.clone()
    matrix[:, :2, 2] += centre - 0.5
    arguments = (pixels, matrix, matrix[:, None], motion)
    found = matcher(own, other, *arguments, SIZE, RANGE)
    inverse = triangulate_inverse_depth(
        pixels, matrix, found.pixels, torch.ones_like(found.variance), matrix[:, None], motion
    )
    usable = found.usable[0, 0]
    return (1 / inverse.mean[0] / depth - 1)[usable], found


def test_the_sampled_descriptor_is_that_of_its_place():
    """Public bug 1: there, by 3.8 pixels beside it at the left of the image."""
    coordinates = cell_centres().permute(2, 0, 1)[None]
    pixels = torch.rand(1, 50, 2) * torch.tensor([310.0, 230.0]) + 4
    grid_sampled = sample_descriptors(coordinates, pixels, STRIDE)
    torch.testing.assert_close(grid_sampled, functional.normalize(pixels.transpose(1, 2), dim=1))


def test_correlation_is_that_of_sampled_descriptors():
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(1, 2, 12, *CELLS, generator=generator)
    queries = functional.normalize(torch.randn(1, 12, 7, generator=generator), dim=1)
    places = torch.rand(1, 2, 7, 9, 2, generator=generator) * 400 - 40  # beyond the image too
    found = correlate(queries, maps, places, STRIDE)
    for view in range(2):
        sampled = sample_descriptors(maps[:, view], places[:, view].flatten(1, 2), STRIDE)
        expected = (queries[..., None] * sampled.unflatten(-1, (7, 9))).sum(1)
        torch.testing.assert_close(found[:, view], expected, atol=1e-5, rtol=0)


def test_gradients_of_the_correlation_are_right():
    generator = torch.Generator().manual_seed(0)
    double = dict(dtype=torch.float64, generator=generator)
    maps = torch.randn(1, 1, 3, 4, 5, **double).requires_grad_()
    queries = torch.randn(1, 3, 2, **double).requires_grad_()
    places = torch.rand(1, 1, 2, 6, 2, **double) * 30
    assert torch.autograd.gradcheck(lambda q, m: correlate(q, m, places, STRIDE), (queries, maps))


@pytest.mark.parametrize("depth", [1.0, 2.0, 5.0])
def test_an_untrained_matcher_finds_a_plane_s_depth(depth):
    """Public bug: its temperature is a BatchNorm's factor, and untouched it finds nothing."""
    error, _ = match(EpipolarMatcher(), depth, pose(x=-0.12, y=0.01))
    assert len(error) > 100 and error.abs().median() < 0.02


def test_an_untrained_public_matcher_answers_with_the_middle_of_the_segment():
    """What the test above would show if the temperature were the public one."""
    error, _ = match(DeltasEpipolarMatcher().eval(), 5.0, pose(x=-0.12, y=0.01), centre=0.0)
    assert error.median() < -0.5


def test_depth_is_not_too_far_by_a_grid_error():
    """Public bug 1 again: 1.3 % in x, 1.8 % in y."""
    sharp = EpipolarMatcher(samples=300, temperature=0.001)
    for motion in (pose(x=-0.3), pose(y=-0.3)):
        error, _ = match(sharp, 2.0, motion)
        assert error.median().abs() < 0.003


def test_an_offset_across_the_line_is_whole():
    """Public bug 2: a peak at one pixel across comes back as half a pixel."""
    matcher = EpipolarMatcher(across=(-2.0, -1.0, 0.0, 1.0, 2.0), temperature=1e-3)
    own, other = plane(2.0, pose(x=-0.12))
    shifted = places_code(cell_centres() + torch.tensor([0.12 * 290 / 2, -1.0]))
    other = shifted.permute(2, 0, 1)[None, None]
    pixels = points()
    found = matcher(own, other, pixels, INTRINSICS, INTRINSICS[:, None], pose(x=-0.12), SIZE, RANGE)
    offset = (found.pixels[:, 0] - pixels)[..., 1][found.usable[:, 0]]
    assert (offset.median() - 1.0).abs() < 0.1


def test_the_end_of_the_range_does_not_draw_a_match_inwards():
    error, _ = match(EpipolarMatcher(), 9.9, pose(x=-0.3))
    assert error.abs().median() < 0.02


def test_a_vehicle_that_stands_gives_no_matches():
    """Public bug 5: 0.1 mm of noise in the pose keeps all points, with confidence above 0.5."""
    for motion in (pose(), pose(x=1e-4)):
        _, found = match(EpipolarMatcher(), 2.0, motion)
        assert not found.usable.any() and (found.confidence == 0).all()


def test_confidence_says_do_not_trust():
    """The public confidence of a point in range is never below 0.5."""
    matcher = EpipolarMatcher()
    own, other = plane(2.0, pose(x=-0.12))
    _, good = match(matcher, 2.0, pose(x=-0.12))
    arguments = (points(), INTRINSICS, INTRINSICS[:, None], pose(x=-0.12), SIZE, RANGE)
    flat = matcher(own, other.mean((-2, -1), keepdim=True).expand_as(other), *arguments)
    unlike = matcher(own, -other, *arguments)
    assert good.confidence[good.usable].median() > 0.5
    assert flat.confidence.max() < 0.2 and unlike.confidence.median() < 0.2


def test_variance_grows_with_the_width_of_the_peak():
    _, sharp = match(EpipolarMatcher(temperature=0.005), 2.0, pose(x=-0.12))
    _, wide = match(EpipolarMatcher(temperature=0.1), 2.0, pose(x=-0.12))
    assert (wide.variance[wide.usable] > sharp.variance[sharp.usable]).all()


def test_matching_has_finite_gradients_at_rest_and_with_a_lost_pose():
    own, other = (maps.expand(1, *maps.shape[1:]).clone() for maps in plane(2.0, pose(x=-0.1)))
    own, other = own.requires_grad_(), other.expand(-1, 3, -1, -1, -1).clone().requires_grad_()
    poses = torch.cat([pose(), pose(x=-0.1), torch.full((1, 1, 4, 4), torch.nan)], dim=1)
    matcher = EpipolarMatcher()
    matrices = INTRINSICS[:, None].expand(-1, 3, -1, -1)
    found = matcher(own, other, points(), INTRINSICS, matrices, poses, SIZE, RANGE)
    assert not found.usable[:, 2].any() and found.usable[:, 1].any()
    total = found.pixels.sum() + found.variance.sum() + found.confidence.sum()
    total.backward()
    gradients = [own.grad, other.grad, *(p.grad for p in matcher.parameters())]
    assert all(gradient.isfinite().all() for gradient in gradients)


def test_a_range_that_is_none_is_named():
    with pytest.raises(ValueError, match=r"depth_range must be \(near, far\) in metres"):
        widened((10.0, 0.5), 0.05)


def test_sampling_and_one_product_correlate_alike(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(2, 3, 5, 12, 20, generator=generator).requires_grad_()
    queries = torch.nn.functional.normalize(torch.randn(2, 5, 7, generator=generator), dim=1)
    places = torch.rand(2, 3, 7, 4, 2, generator=generator) * torch.tensor([44.0, 28.0]) - 2
    found = []
    for cells in (0, 1000):
        monkeypatch.setattr(correlation, "_CELLS_PER_SAMPLE", cells)
        one = correlation.correlate(queries, maps, places, 2)
        found.append((one, *torch.autograd.grad(one.square().sum(), maps)))
    for product, sampled in zip(*found, strict=True):
        torch.testing.assert_close(product, sampled, rtol=1e-4, atol=1e-5)


def test_patches_match_what_the_descriptors_do_not_know():
    """Descriptors are the same everywhere; the images are a wall that moves past the camera."""
    generator = torch.Generator().manual_seed(0)
    texture = torch.rand(1, 3, SIZE[0], SIZE[1] + 40, generator=generator)
    shift = 20  # pixels, to the left
    images = torch.stack([texture[..., :-40], texture[..., shift : SIZE[1] + shift]], dim=1)
    focal = INTRINSICS[0, 0, 0].item()
    own, other = torch.ones(1, 4, *CELLS), torch.ones(1, 1, 4, *CELLS)
    pixels = points()[:, (points()[0, :, 0] > 60)]
    rig = pixels, INTRINSICS, INTRINSICS[:, None], pose(x=-shift * 2.0 / focal), SIZE, RANGE
    matcher = EpipolarMatcher(temperature=0.01, patch_radius=3)
    found = matcher(own, other, *rig, images)
    apart = (pixels[:, None, :, 0] - found.pixels[..., 0])[found.usable]
    assert len(apart) and (apart.median() - shift).abs() < 0.3
    with pytest.raises(ValueError, match="needs the images"):
        matcher(own, other, *rig)
