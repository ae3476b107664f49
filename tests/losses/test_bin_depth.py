from __future__ import annotations

import math

import torch
from torch.nn import functional

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


def test_the_loss_and_its_gradient_are_those_of_the_labelled_cells_alone():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 4, 5, 6, generator=generator, requires_grad=True)
    depth = torch.rand(2, 3, 5, 6, generator=generator) * 14 - 2
    depth[:, 1] = 0.0
    index = BINS.index(depth)
    chosen = logits.softmax(2).movedim(2, -1)[index >= 0]
    one_hot = functional.one_hot(index[index >= 0], 4).float()
    expected = functional.binary_cross_entropy(chosen, one_hot, reduction="sum") / len(chosen)
    loss = bin_depth_loss(logits.softmax(2), depth, BINS)
    torch.testing.assert_close(loss, expected)
    grads = [torch.autograd.grad(value, logits)[0] for value in (loss, expected)]
    torch.testing.assert_close(*grads)


def test_a_cell_without_a_label_may_hold_anything():
    probabilities = torch.full((1, 1, 4, 1, 2), 0.25)
    probabilities[..., 1] = torch.nan
    probabilities.requires_grad_()
    depth = torch.tensor([5.0, 0.0]).reshape(1, 1, 1, 2)
    loss = bin_depth_loss(probabilities, depth, BINS)
    loss.backward()
    assert loss.isfinite()
    assert probabilities.grad.isfinite().all()
