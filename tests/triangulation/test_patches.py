from __future__ import annotations

import torch
from torch.nn import functional

from bevdepth_plus.triangulation.patches import patch_correlation, sample_patches


def image(height: int = 24, width: int = 40) -> torch.Tensor:
    noise = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0))
    return functional.avg_pool2d(noise, 3, stride=1, padding=1)


def places(height: int = 24, width: int = 40) -> torch.Tensor:
    """All pixels, as samples of each point, ``[1, 1, 1, H * W, 2]``."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return (torch.stack([columns, rows], -1).flatten(0, 1) + 0.5)[None, None, None].float()


def test_patches_match_whatever_the_brightness_and_the_contrast():
    first = image()
    pixels = places()[0, 0]  # each is a point
    views = torch.stack([first, 2 * first + 1], dim=1)
    count = pixels.shape[1]
    found = patch_correlation(views, pixels, places().expand(1, 1, count, -1, -1), 2)
    assert torch.equal(found[0, 0].argmax(-1), torch.arange(count))
    assert found.max() <= 1 + 1e-5


def test_a_patch_without_contrast_is_like_no_other():
    views = torch.stack([torch.ones_like(image()), image()], dim=1)
    found = patch_correlation(views, torch.tensor([[[12.5, 12.5]]]), places(), 2)
    assert found.abs().max() == 0


def test_a_patch_is_found_between_pixels():
    first = image()
    shifted = 0.6 * first + 0.4 * first.roll(1, dims=-1)  # 0.4 pixels to the right
    steps = torch.arange(-2, 2.01, 0.1)
    where = torch.stack([20.5 + steps, torch.full_like(steps, 12.5)], dim=-1)[None, None, None]
    views = torch.stack([first, shifted], dim=1)
    found = patch_correlation(views, torch.tensor([[[20.5, 12.5]]]), where, 3)
    assert abs(steps[found[0, 0, 0].argmax()] - 0.4) < 0.15


def test_samples_are_those_of_the_grid_and_the_border_goes_on():
    grey = image()[:, 0]
    pixels = torch.tensor([[[10.2, 7.9], [0.0, 0.0], [39.9, 23.9]]])
    found = sample_patches(grey, pixels, 2)
    assert found.shape == (1, 3, 5, 5)
    offsets = torch.arange(-2.0, 3.0)
    grid = torch.stack(torch.meshgrid(offsets, offsets, indexing="xy"), dim=-1)
    grid = (pixels[:, :1, None, None] + grid)[:, 0] / torch.tensor([40.0, 24.0]) * 2 - 1
    expected = functional.grid_sample(grey[:, None], grid, align_corners=False)
    torch.testing.assert_close(found[:, 0], expected[:, 0])
    assert (found[0, 1, :3, :3] == grey[0, 0, 0]).all()
    assert (found[0, 2, 2:, 2:] == grey[0, -1, -1]).all()
