from __future__ import annotations

import math

import torch

from bevdepth_plus.geometry.depth_bins import DepthBins
from bevdepth_plus.losses.bin_depth import bin_depth_loss

BINS = DepthBins(2.0, 10.0, 2.0)


def test_a_sure_and_right_bin_costs_nothing():
    sure = torch.tensor([0.0, 1.0, 0.0, 0.0]).reshape(1, 1, 4, 1, 1)
    assert bin_depth_loss(sure, torch.full((1, 1, 1, 1), 5.0), BINS) == 0


def test_an_even_guess_costs_the_cross_entropy_of_all_bins():
    even = torch.full((1, 1, 4, 1, 1), 0.25)
    loss = bin_depth_loss(even, torch.full((1, 1, 1, 1), 5.0), BINS)
    torch.testing.assert_close(loss.item(), -math.log(0.25) - 3 * math.log(0.75))


def test_cells_without_a_label_do_not_count():
    probabilities = torch.rand(1, 1, 4, 1, 3).softmax(2)
    depth = torch.tensor([5.0, 0.0, 99.0]).reshape(1, 1, 1, 3)
    alone = bin_depth_loss(probabilities[..., :1], depth[..., :1], BINS)
    torch.testing.assert_close(bin_depth_loss(probabilities, depth, BINS), alone)


def test_no_label_at_all_gives_zero_with_a_gradient():
    logits = torch.zeros(1, 1, 4, 2, 2, requires_grad=True)
    loss = bin_depth_loss(logits.softmax(2), torch.zeros(1, 1, 2, 2), BINS)
    loss.backward()
    assert loss == 0
    assert torch.equal(logits.grad, torch.zeros_like(logits))
