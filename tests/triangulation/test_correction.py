from __future__ import annotations

import math

import torch

from bevdepth_plus.geometry.triangulation import InverseDepth
from bevdepth_plus.triangulation.correction import PointCorrection
from bevdepth_plus.triangulation.epipolar_matching import Matches
from bevdepth_plus.triangulation.keypoints import Keypoints
from bevdepth_plus.triangulation.points import Points
from bevdepth_plus.triangulation.true_places import depth_at

SIZE = (32, 64)
RANGE = (1.0, 60.0)


def correction(sigma: float) -> PointCorrection:
    """Its head says the same of every point."""
    made = PointCorrection(4, RANGE, hidden_channels=8)
    with torch.no_grad():
        made.head[-1].bias[0] = math.log(sigma)
        made.log_doubtful.fill_(50.0)  # no point counts less than its sigma says
    return made


def points(pixels: torch.Tensor, depth: torch.Tensor) -> Points:
    batch, number = depth.shape
    views = torch.full((batch, 2, number), 0.9)
    usable = torch.ones_like(views, dtype=torch.bool)
    matches = Matches(pixels[:, None].expand(-1, 2, -1, -1), views, views, usable)
    keypoints = Keypoints(pixels, torch.ones_like(depth), torch.ones_like(depth, dtype=torch.bool))
    found = InverseDepth(1 / depth.clamp(min=0.1), torch.full_like(depth, 1e-4))
    ones = torch.ones_like(depth)
    return Points(keypoints, matches, found, depth, ones, ones, torch.zeros(batch, number, 3))


def grid(step: int = 8) -> torch.Tensor:
    rows, columns = torch.meshgrid(
        torch.arange(step // 2, SIZE[0], step),
        torch.arange(step // 2, SIZE[1], step),
        indexing="ij",
    )
    return (torch.stack([columns, rows], dim=-1).flatten(0, 1)[None] + 0.5).float()


def run(guess: torch.Tensor, true: torch.Tensor, sigma: float, pixels=None) -> torch.Tensor:
    pixels = grid() if pixels is None else pixels
    level = torch.zeros(1, 4, SIZE[0] // 4, SIZE[1] // 4)
    return correction(sigma)(guess, points(pixels, depth_at(true, pixels)), level).depth


def wall(depth: float) -> torch.Tensor:
    return torch.full((1, 1, *SIZE), depth)


def test_trusted_points_mend_a_wrong_scale():
    with torch.no_grad():
        found = run(wall(12.0), wall(10.0), sigma=0.02)
    torch.testing.assert_close(found, wall(10.0), rtol=0.01, atol=0)


def test_points_that_may_be_anywhere_change_nothing():
    with torch.no_grad():
        found = run(wall(12.0), wall(10.0), sigma=20.0)
    torch.testing.assert_close(found, wall(12.0), rtol=0.01, atol=0)


def test_without_points_the_depth_stays():
    guess = 2 + 40 * torch.rand(1, 1, *SIZE, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found = run(guess, torch.zeros_like(guess), sigma=0.02)
    torch.testing.assert_close(found, guess, rtol=1e-4, atol=0)


def test_a_correction_stays_on_its_surface():
    """Left half at 5 m, right half at 40 m; points on the left alone say 4 m."""
    guess, true = wall(5.0), wall(4.0)
    guess[..., 32:] = 40.0
    pixels = grid()
    pixels = pixels[:, pixels[0, :, 0] < 30]
    with torch.no_grad():
        found = run(guess, true, 0.02, pixels)
    left, right = found[..., :28], found[..., 36:]
    assert (left - 4.0).abs().max() < 0.1
    assert (right.median() - 40).abs() < 0.15 * 40, "the whole image's share alone reaches there"
    assert (5 / left.median()).log() > 3 * (40 / right.median()).log().abs()


def test_it_is_the_mean_of_a_gaussian_process():
    generator = torch.Generator().manual_seed(0)
    guess = wall(10.0) * (1 + 0.2 * torch.rand(1, 1, *SIZE, generator=generator))
    pixels = grid(16)
    depth = 10 + 4 * torch.rand(1, pixels.shape[1], generator=generator)
    model = correction(0.1)
    with torch.no_grad():
        told = points(pixels, depth)
        found = model(guess, told, torch.zeros(1, 4, 8, 16)).depth
        own = depth_at(guess, pixels)[0].double().log()
        wrong = depth[0].double().log() - own

        def kernel(a, log_a, b, log_b):
            total = (2 * model.log_amplitude[0].double()).exp()
            for i in range(2):
                near = (torch.cdist(a, b) / model.log_reach[i].double().exp()).square()
                deep = (log_a[:, None] - log_b[None]) / model.log_depth_reach[i].double().exp()
                share = (2 * model.log_amplitude[i + 1].double()).exp()
                total = total + share * (-(near + deep.square()) / 2).exp()
            return total

        places = pixels[0].double() / SIZE[0]
        noise = (0.1**2 + 0.02**2) * torch.eye(len(wrong), dtype=torch.double)
        weights = torch.linalg.solve(kernel(places, own, places, own) + noise, wrong)
        coarse = guess.log().unflatten(-1, (8, 8)).unflatten(-3, (4, 8)).mean((-1, -3))
        rows, columns = torch.meshgrid(torch.arange(4), torch.arange(8), indexing="ij")
        cells = (torch.stack([columns, rows], -1).flatten(0, 1) * 8.0 + 4) / SIZE[0]
        field = kernel(cells.double(), coarse.flatten().double(), places, own) @ weights
        wide = torch.nn.functional.interpolate(
            field.view(1, 1, 4, 8), size=SIZE, mode="bilinear", align_corners=False
        )
    torch.testing.assert_close(
        found.double(), (guess.double().log() + wide).exp(), rtol=1e-3, atol=0
    )


def test_gradients_are_finite_where_points_meet_and_contradict_each_other():
    pixels = torch.tensor([[[20.5, 10.5], [21.5, 10.5], [40.5, 20.5]]])
    depth = torch.tensor([[5.0, 50.0, 0.0]], requires_grad=True)
    guess = wall(10.0).requires_grad_()
    model = correction(1e-3)
    found = model(guess, points(pixels, depth), torch.zeros(1, 4, 8, 16))
    (found.depth.sum() + found.sigma.sum()).backward()
    assert guess.grad is None, "the network's depth is taught by itself"
    gradients = [depth.grad, *(p.grad for p in model.parameters())]
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert depth.grad[0, 2] == 0, "a point without depth says nothing"
