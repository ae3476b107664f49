from __future__ import annotations

import pytest
import torch

from bevdepth_plus.losses import ordinal_depth_loss, pearson_depth_loss


def depth(seed: int) -> torch.Tensor:
    return 5 + 10 * torch.rand(2, 1, 12, 16, generator=torch.Generator().manual_seed(seed))


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize(("sign", "expected"), [(1, 0.0), (-1, 2.0)])
def test_the_right_order_costs_nothing_and_the_reverse_costs_two(sign, expected):
    target = depth(0)
    loss = ordinal_depth_loss(
        20 + sign * target, target, target > 0, num_pairs=500, generator=seeded()
    )
    assert loss.item() == pytest.approx(expected, abs=1e-6)


def test_pairs_within_a_tenth_of_the_range_are_left_out():
    target = torch.tensor([0.0, 1.0, 1.9, 11.0]).reshape(1, 1, 1, 4) + 1
    pairs = torch.tensor([[[[0, 0], [0, 1]], [[0, 1], [0, 2]], [[0, 0], [0, 3]]]])
    pred = torch.tensor([5.0, 6.0, 4.0, 9.0]).reshape(1, 1, 1, 4)
    # Range 11: only the last pair counts, and it is in order.
    assert ordinal_depth_loss(pred, target, target > 0, pairs) == 0
    assert ordinal_depth_loss(pred, target, target > 0, pairs, min_gap=0.0) > 0.6


def test_no_pair_that_counts_gives_zero_and_not_nan():
    flat = torch.full((2, 1, 12, 16), 8.0)
    pred = depth(0).requires_grad_()
    loss = ordinal_depth_loss(pred, flat, flat > 0, num_pairs=50, min_gap=0.0)
    loss.backward()
    assert loss == 0 and (pred.grad == 0).all()


@pytest.mark.parametrize(("factor", "expected"), [(3.0, 0.0), (-0.5, 2.0)])
def test_pearson_sees_neither_scale_nor_offset_but_the_sign(factor, expected):
    target = depth(0)
    loss = pearson_depth_loss(30 + factor * target, target, target > 0)
    assert loss.item() == pytest.approx(expected, abs=1e-5)


def test_pearson_is_the_correlation_of_valid_pixels_per_image():
    pred, target = depth(0), depth(1)
    mask = torch.rand(2, 1, 12, 16, generator=seeded()) < 0.5
    expected = [
        1 - torch.corrcoef(torch.stack([p[m], t[m]]))[0, 1]
        for p, t, m in zip(pred, target, mask, strict=True)
    ]
    torch.testing.assert_close(pearson_depth_loss(pred, target, mask), sum(expected) / 2)


def test_a_flat_prediction_correlates_with_nothing():
    flat = torch.full((2, 1, 12, 16), 8.0, requires_grad=True)
    loss = pearson_depth_loss(flat, depth(1), flat > 0)
    loss.backward()
    assert loss.item() == pytest.approx(1.0, abs=1e-4) and flat.grad.isfinite().all()


def test_patches_have_scales_of_their_own():
    target = depth(0)
    scale = 1 + torch.arange(2)[:, None] * 3 + torch.arange(2)
    pred = target * scale.repeat_interleave(8, 0)[:12].repeat_interleave(8, 1)
    assert pearson_depth_loss(pred, target, target > 0, patch=8).item() == pytest.approx(
        0, abs=1e-5
    )
    assert pearson_depth_loss(pred, target, target > 0) > 0.1


def test_patches_at_the_border_are_correlated_over_what_they_have():
    pred, target = depth(0), depth(1)
    expected = [
        1 - torch.corrcoef(torch.stack([p.flatten(), t.flatten()]))[0, 1]
        for rows in (slice(0, 7), slice(7, 12))
        for columns in (slice(0, 7), slice(7, 14), slice(14, 16))
        for p, t in zip(pred[..., rows, columns], target[..., rows, columns], strict=True)
    ]
    loss = pearson_depth_loss(pred, target, target > 0, patch=7)
    torch.testing.assert_close(loss, sum(expected) / len(expected))


def test_a_patch_of_one_pixel_is_refused():
    with pytest.raises(ValueError, match="patch must be 2 pixels or more, got 1"):
        pearson_depth_loss(depth(0), depth(1), depth(0) > 0, patch=1)
