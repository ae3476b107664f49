from __future__ import annotations

import math

import pytest
import torch

from bevdepth_plus.losses import depth_l1_loss, silog_loss


def row(*values: float) -> torch.Tensor:
    return torch.tensor(values).reshape(1, 1, 1, -1)


def test_silog_agrees_with_metric3d(shared_dir):
    golden = torch.load(shared_dir / "golden" / "metric3d_losses.pth", weights_only=True)
    loss = silog_loss(golden["pred"], golden["target"], golden["mask"])
    torch.testing.assert_close(loss, golden["silog"], atol=1e-4, rtol=0)


@pytest.mark.parametrize(("focus", "share"), [(0.0, 1.0), (0.5, 0.5), (1.0, 0.0)])
def test_a_common_factor_costs_its_squared_logarithm_less_the_variance_focus(focus, share):
    target = row(2.0, 10.0, 50.0)
    loss = silog_loss(3 * target, target, target > 0, focus)
    assert loss.item() == pytest.approx(share * math.log(3) ** 2, abs=1e-6)


def test_silog_of_a_prediction_of_zero_is_finite():
    pred = row(0.0, 5.0).requires_grad_()
    loss = silog_loss(pred, row(4.0, 5.0), row(1, 1) > 0)
    loss.backward()
    assert loss.isfinite() and pred.grad.isfinite().all()


def test_l1_is_the_mean_error_of_valid_pixels():
    mask = torch.tensor([True, True, True, False]).reshape(1, 1, 1, 4)
    loss = depth_l1_loss(row(1.0, 7.0, 9.0, 0.0), row(3.0, 3.0, 0.0, 8.0), mask)
    assert loss.item() == 3.0  # of 2 and 4: the third has no depth, the fourth is masked
