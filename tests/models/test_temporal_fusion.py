from __future__ import annotations

import pytest
import torch

from bevdepth_plus.models.temporal_fusion import ConcatFusion, CorrelationFusion, correlation


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_concatenation_keeps_the_newest_map_first():
    maps = [torch.full((1, 2, 3, 4), float(age)) for age in range(3)]
    assert ConcatFusion()(maps)[0, :, 0, 0].tolist() == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize(("dy", "dx"), [(0, 0), (2, -1), (-3, 3)])
def test_correlation_is_largest_where_the_past_lies(generator, dy, dx):
    key = torch.nn.functional.normalize(torch.randn(2, 8, 16, 20, generator=generator), dim=1)
    past = key.roll((dy, dx), dims=(2, 3))
    best = correlation(key, past, radius=3).argmax(dim=1)
    inside = best[:, 4:-4, 4:-4]
    assert (inside == (dy + 3) * 7 + dx + 3).all()


def test_correlation_is_the_scalar_product_and_zero_outside_the_map(generator):
    key, past = torch.randn(2, 1, 3, 4, 5, generator=generator)
    found = correlation(key, past, radius=1)
    assert found.shape == (1, 9, 4, 5)
    torch.testing.assert_close(found[0, 5, 2, 1], key[0, :, 2, 1] @ past[0, :, 2, 2])
    assert (found[0, :3, 0] == 0).all()  # above the first row


def test_correlation_fusion_leaves_the_maps_in_front_and_halves_the_grid_inside(generator):
    maps = [torch.randn(2, 6, 8, 12, generator=generator) for _ in range(3)]
    fusion = CorrelationFusion(in_channels=6, embed_channels=4, radius=2, out_channels=5)
    fused = fusion(maps)
    assert fused.shape == (2, 3 * 6 + 2 * 5, 8, 12)
    torch.testing.assert_close(fused[:, :18], torch.cat(maps, dim=1))


def test_correlation_fusion_learns_from_a_past_without_gradient(generator):
    key = torch.randn(1, 6, 8, 12, generator=generator, requires_grad=True)
    past = torch.randn(1, 6, 8, 12, generator=generator)
    fusion = CorrelationFusion(in_channels=6, embed_channels=4, radius=1, out_channels=5)
    fusion([key, past])[:, 12:].square().sum().backward()
    assert all(p.grad.isfinite().all() for p in fusion.parameters())
    assert fusion.embed[0].weight.grad.abs().sum() > 0
