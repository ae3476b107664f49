from __future__ import annotations

import pytest
import torch

from bevdepth_plus.geometry.pinhole import pixel_centres
from bevdepth_plus.geometry.warping import sample_bilinear, sample_depth, sample_nearest

VALUES = torch.arange(1.0, 13.0).reshape(1, 1, 3, 4)


def at(*pixels: tuple[float, float]) -> torch.Tensor:
    """A correspondence map of one row."""
    return torch.tensor(pixels).T.reshape(1, 2, 1, -1)


@pytest.mark.parametrize("sample", [sample_nearest, sample_bilinear])
def test_pixel_centres_give_the_map_itself(sample):
    centres = pixel_centres((3, 4)).movedim(-1, 0)[None]
    values, inside = sample(VALUES, centres)
    torch.testing.assert_close(values, VALUES)
    assert inside.all() and inside.shape == (1, 1, 3, 4)


def test_nearest_takes_the_pixel_it_lies_in():
    values, _ = sample_nearest(VALUES, at((0.99, 0.01), (1.0, 0.0), (3.99, 2.99)))
    assert values.flatten().tolist() == [1.0, 2.0, 12.0]


def test_bilinear_is_linear_between_centres_and_constant_at_the_border():
    values, _ = sample_bilinear(VALUES, at((1.25, 1.0), (0.1, 0.5), (3.9, 2.9)))
    assert values.flatten().tolist() == pytest.approx([1.75 + 2.0, 1.0, 12.0])


@pytest.mark.parametrize("sample", [sample_nearest, sample_bilinear])
@pytest.mark.parametrize("u", [-0.01, 4.0, 1e20, torch.nan, torch.inf, -torch.inf])
def test_what_lies_outside_is_zero_and_said_so(sample, u):
    values, inside = sample(VALUES, at((u, 1.0), (1.5, 1.5)))
    assert values.flatten().tolist() == [0.0, 6.0]
    assert inside.flatten().tolist() == [False, True]


def test_maps_of_several_channels_and_images_keep_their_own():
    values = torch.rand(2, 3, 5, 6, generator=torch.Generator().manual_seed(0))
    pixels = at((2.5, 1.5), (5.5, 4.5)).repeat(2, 1, 1, 1)
    pixels[1] = at((0.5, 0.5), (3.5, 2.5))
    nearest, _ = sample_nearest(values, pixels)
    expected = torch.stack([values[0, :, [1, 4], [2, 5]], values[1, :, [0, 2], [0, 3]]])
    torch.testing.assert_close(nearest[:, :, 0], expected)
    torch.testing.assert_close(sample_bilinear(values, pixels)[0], nearest)


def test_interpolated_depth_mixes_no_hole_into_its_neighbours():
    depth = VALUES.clone()
    depth[0, 0, 1, 1] = 0
    sampled = sample_depth(depth, at((0.5, 0.5), (1.2, 1.4), (2.8, 1.5), (1.9, 1.9)))
    assert sampled.flatten().tolist() == pytest.approx([1.0, 0.0, 7.3, 0.0])
    depth[0, 0, 1, 1] = torch.nan
    assert sample_depth(depth, at((1.2, 1.4))) == 0


def test_a_correspondence_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"must be \[1, 2, H, W\] as \(u, v\), got \(1, 3, 1, 1\)"):
        sample_nearest(VALUES, torch.zeros(1, 3, 1, 1))
