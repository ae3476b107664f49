"""What every loss of a depth map promises, called as a head calls it."""

from __future__ import annotations

import pytest
import torch
from mmdet3d.registry import MODELS

from bevdepth_plus import losses

NAMES = [
    "SILogLoss",
    "DepthL1Loss",
    "VirtualNormalLoss",
    "PairwiseNormalLoss",
    "RandomProposalNormalizationLoss",
    "DepthNormalConsistencyLoss",
    "OrdinalDepthLoss",
    "PearsonDepthLoss",
]
SMALLER = {
    "OrdinalDepthLoss": dict(num_pairs=300, alpha=0.3),
    "PairwiseNormalLoss": dict(num_triplets=100, num_edges=200),
}
INTRINSICS = torch.tensor([[[30.0, 0, 20], [0, 28.0, 12], [0, 0, 1]]]).repeat(2, 1, 1)


def built(name: str, **options):
    # Not through the registry, which imports all of mmdet3d's models first.
    return getattr(losses, name)(**SMALLER.get(name, {}), **options)


def sample() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    pred = 5 + 10 * torch.rand(2, 1, 24, 40, generator=generator)
    target = 5 + 10 * torch.rand(2, 1, 24, 40, generator=generator)
    mask = torch.rand(2, 1, 24, 40, generator=generator) < 0.9
    return pred, target, mask


def value(loss, pred, target, mask) -> torch.Tensor:
    return loss(pred, target, mask, INTRINSICS, torch.Generator().manual_seed(7))


@pytest.mark.parametrize("name", NAMES)
def test_a_config_finds_it_by_name(name):
    assert MODELS.module_dict[name] is getattr(losses, name)


@pytest.mark.parametrize("name", NAMES)
def test_an_empty_mask_gives_zero_with_a_gradient_of_zero(name):
    pred, target, mask = sample()
    pred.requires_grad_()
    loss = value(built(name), pred, target, torch.zeros_like(mask))
    loss.backward()
    assert loss == 0
    assert torch.equal(pred.grad, torch.zeros_like(pred))


@pytest.mark.parametrize("name", NAMES)
def test_nothing_outside_the_mask_reaches_the_loss_or_its_gradient(name):
    pred, target, mask = sample()
    expected = value(built(name), pred, target, mask)
    dirty = pred.masked_fill(~mask, torch.nan).requires_grad_()
    loss = value(built(name), dirty, target.masked_fill(~mask, torch.inf), mask)
    loss.backward()
    assert loss == expected and loss > 0
    assert dirty.grad.isfinite().all() and (dirty.grad[~mask] == 0).all()
    assert (dirty.grad != 0).any()


@pytest.mark.parametrize("name", NAMES)
def test_a_target_of_zero_is_masked_even_where_the_mask_forgets_it(name):
    pred, target, mask = sample()
    holes = target.masked_fill(~mask, 0.0)
    everywhere = torch.ones_like(mask)
    assert value(built(name), pred, holes, everywhere) == value(built(name), pred, target, mask)


@pytest.mark.parametrize("name", NAMES)
def test_the_truth_costs_nothing(name):
    _, target, mask = sample()
    loss = value(built(name), target, target, mask)
    limit = 1.0 if name == "OrdinalDepthLoss" else 1e-5  # its tanh never quite reaches 1
    assert 0 <= loss + 1e-6 and loss < limit


@pytest.mark.parametrize("name", NAMES)
def test_autocast_changes_nothing_and_half_precision_gives_float32(name):
    pred, target, mask = sample()
    loss = built(name)
    expected = value(loss, pred, target, mask)
    with torch.autocast("cpu", torch.bfloat16):
        assert value(loss, pred, target, mask) == expected
    from_half = value(loss, pred.bfloat16(), target.bfloat16(), mask)
    assert from_half.dtype == torch.float32
    assert from_half == value(loss, pred.bfloat16().float(), target.bfloat16().float(), mask)


@pytest.mark.parametrize("name", NAMES)
def test_the_weight_multiplies_and_one_seed_gives_one_result(name):
    pred, target, mask = sample()
    torch.testing.assert_close(
        value(built(name, loss_weight=2.5), pred, target, mask),
        2.5 * value(built(name), pred, target, mask),
        rtol=1e-6,
        atol=0,
    )


@pytest.mark.parametrize("name", NAMES)
def test_shapes_that_disagree_are_an_error(name):
    pred, target, mask = sample()
    with pytest.raises(ValueError, match=r"pred, target and mask must all be \[B, 1, H, W\]"):
        value(built(name), pred[:, 0], target, mask)
