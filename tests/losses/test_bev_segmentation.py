from __future__ import annotations

import pytest
import torch

from bevdepth_plus.losses.bev_segmentation import bev_segmentation_loss


def test_sure_and_right_costs_nothing_and_sure_and_wrong_much():
    target = torch.tensor([[[[1, 0]]]])
    right, wrong = torch.tensor([[[[20.0, -20.0]]]]), torch.tensor([[[[-20.0, 20.0]]]])
    assert bev_segmentation_loss(right, target) < 1e-6
    assert bev_segmentation_loss(wrong, target).item() == pytest.approx(20, rel=1e-4)


def test_unknown_cells_do_not_count():
    logits = torch.tensor([[[[0.3, -1.2, 50.0]]]])
    known = bev_segmentation_loss(logits[..., :2], torch.tensor([[[[1, 0]]]]))
    found = bev_segmentation_loss(logits, torch.tensor([[[[1, 0, 255]]]], dtype=torch.uint8))
    torch.testing.assert_close(found, known)


def test_without_a_known_cell_the_loss_is_zero_with_gradient():
    logits = torch.randn(1, 2, 3, 4, requires_grad=True)
    loss = bev_segmentation_loss(logits, torch.full((1, 2, 3, 4), 255))
    loss.backward()
    assert loss == 0 and not logits.grad.any()


def test_a_positive_weight_counts_for_its_layer_alone():
    logits, target = torch.zeros(1, 2, 1, 1), torch.ones(1, 2, 1, 1)
    plain = bev_segmentation_loss(logits, target)
    weighted = bev_segmentation_loss(logits, target, torch.tensor([3.0, 1.0]))
    torch.testing.assert_close(weighted, 2 * plain)


def test_other_shapes_are_refused():
    with pytest.raises(ValueError, match=r"\(1, 2, 3, 4\) and \(1, 1, 3, 4\)"):
        bev_segmentation_loss(torch.zeros(1, 2, 3, 4), torch.zeros(1, 1, 3, 4))
