from __future__ import annotations

import pytest
import torch

from bevdepth_plus.losses import random_proposal_normalization_loss, sample_crops


def depth(seed: int, batch: int = 1, height: int = 12, width: int = 16) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 5 + 10 * torch.rand(batch, 1, height, width, generator=generator)


def row(*values: float) -> torch.Tensor:
    return torch.tensor(values).reshape(1, 1, 1, -1)


def test_a_crop_compares_distances_from_the_median_over_their_mean():
    pred, target = row(1.0, 2.0, 6.0, 90.0), row(3.0, 4.0, 5.0, 70.0)
    loss = random_proposal_normalization_loss(
        pred, target, target > 0, torch.tensor([[0, 0, 1, 3]])
    )
    # (-1, 0, 4) / (5/3) against (-1, 0, 1) / (2/3)
    assert loss.item() == pytest.approx((abs(-0.6 + 1.5) + abs(2.4 - 1.5)) / 3)


def test_offset_and_scale_of_a_crop_cost_nothing():
    target = depth(0, batch=2)
    loss = random_proposal_normalization_loss(3 * target + 7, target, target > 0)
    assert loss.item() == pytest.approx(0, abs=1e-5)


def test_masked_pixels_do_not_change_the_scale():
    pred, target, mask = depth(0), depth(1), torch.ones(1, 1, 12, 16, dtype=torch.bool)
    mask[..., 3:7, ::2] = False
    crops = torch.tensor([[2, 0, 8, 10], [0, 4, 12, 9]])
    losses = []
    for outside in (1.0, 1000.0):
        far_pred = torch.where(mask, pred, outside)
        far_target = torch.where(mask, target, outside * 3)
        losses.append(random_proposal_normalization_loss(far_pred, far_target, mask, crops))
    assert losses[0] > 0
    assert losses[0] == losses[1]


def test_masked_pixels_cost_nothing():
    mask = torch.tensor([True, False, True, False, True]).reshape(1, 1, 1, 5)
    pred, target = row(1, 50, 2, 70, 6), row(3, 90, 4, 80, 5)
    masked = random_proposal_normalization_loss(pred, target, mask, torch.tensor([[0, 0, 1, 5]]))
    pred, target = row(1, 2, 6), row(3, 4, 5)
    alone = random_proposal_normalization_loss(
        pred, target, target > 0, torch.tensor([[0, 0, 1, 3]])
    )
    torch.testing.assert_close(masked, alone)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 3), (16, 44)])
def test_an_image_smaller_than_the_number_of_crops_is_no_problem(height, width):
    pred, target = depth(0, 2, height, width), depth(1, 2, height, width)
    loss = random_proposal_normalization_loss(pred, target, target > 0, num_crops=32)
    assert loss.isfinite()


def test_crops_are_an_eighth_to_a_half_of_each_side_and_lie_within_the_image():
    crops = sample_crops(64, 176, 2000, torch.Generator().manual_seed(0))
    top, left, bottom, right = crops.unbind(1)
    assert (top >= 0).all() and (left >= 0).all()
    assert bottom.max() == 64 and right.max() == 176
    assert ((bottom - top).min(), (bottom - top).max()) == (8, 32)
    assert ((right - left).min(), (right - left).max()) == (22, 88)


def test_flat_targets_and_single_pixels_have_no_shape_to_compare():
    flat = torch.full((1, 1, 12, 16), 8.0)
    pred = depth(0).requires_grad_()
    loss = random_proposal_normalization_loss(pred, flat, flat > 0)
    loss.backward()
    assert loss == 0 and (pred.grad == 0).all()


def test_a_flat_prediction_has_a_finite_gradient():
    pred = torch.full((1, 1, 12, 16), 8.0, requires_grad=True)
    target = depth(0)
    random_proposal_normalization_loss(pred, target, target > 0).backward()
    assert pred.grad.isfinite().all() and (pred.grad != 0).any()


def test_a_crop_outside_the_image_is_an_error():
    with pytest.raises(ValueError, match=r"crop \[0, 0, 13, 4\] is empty or leaves the image"):
        random_proposal_normalization_loss(
            depth(0), depth(1), depth(1) > 0, torch.tensor([[0, 0, 13, 4]])
        )
