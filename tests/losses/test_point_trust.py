from __future__ import annotations

import torch

from bevdepth_plus.losses.point_trust import PointTrustLoss, point_trust_loss


def test_the_least_loss_is_at_the_size_of_the_error():
    depth, target = torch.full((1, 1), 12.0), torch.full((1, 1), 10.0)
    sigmas = torch.linspace(0.02, 0.6, 300)
    losses = torch.stack([point_trust_loss(s.view(1, 1), depth, target) for s in sigmas])
    assert abs(sigmas[losses.argmin()] - torch.tensor(1.2).log()) < 0.005


def test_points_without_depth_or_target_do_not_count():
    sigma = torch.tensor([[0.1, 0.2, 0.3, 0.4]], requires_grad=True)
    depth = torch.tensor([[10.0, 0.0, 8.0, 5.0]])
    target = torch.tensor([[11.0, 5.0, 0.0, torch.nan]])
    point_trust_loss(sigma, depth, target).backward()
    assert sigma.grad[0, 0] != 0 and (sigma.grad[0, 1:] == 0).all()


def test_it_draws_the_depth_towards_the_target():
    depth = torch.tensor([[10.0]], requires_grad=True)
    sigma = torch.tensor([[0.1]], requires_grad=True)
    PointTrustLoss(0.5)(sigma, depth, torch.tensor([[11.0]])).backward()
    assert depth.grad < 0 and sigma.grad is not None


def test_no_point_gives_zero_with_gradient():
    sigma = torch.full((1, 2), 0.1, requires_grad=True)
    loss = point_trust_loss(sigma, torch.zeros(1, 2), torch.ones(1, 2))
    loss.backward()
    assert loss == 0 and (sigma.grad == 0).all()
