from __future__ import annotations

import pytest
import torch
from mmdet3d.registry import MODELS

from bevdepth_plus.geometry.pinhole import pixel_centres
from bevdepth_plus.losses import PhotometricLoss, photometric_loss
from bevdepth_plus.losses.photometric import structural_similarity

SIZE = (16, 24)


def identity() -> torch.Tensor:
    return pixel_centres(SIZE).movedim(-1, 0)[None]


def scene(phase: float = 0.0) -> torch.Tensor:
    """Soft stripes, moved to the right by ``phase`` pixels."""
    u, v = (identity()[:, [axis]] for axis in (0, 1))
    return torch.cat([0.5 + 0.4 * torch.sin((u - phase) / 2 + c + v / 7) for c in range(3)], 1)


def everywhere() -> torch.Tensor:
    return torch.ones(1, 1, *SIZE, dtype=torch.bool)


def shift(pixels: float) -> torch.Tensor:
    return identity() + torch.tensor([pixels, 0.0]).reshape(1, 2, 1, 1)


def test_the_true_correspondence_costs_next_to_nothing_and_others_cost_more():
    costs = [
        photometric_loss(scene(), scene(2.0), shift(by), everywhere()).item()
        for by in (2.0, 1.0, 0.0)
    ]
    assert costs[0] < 1e-6 < 0.02 < costs[1] < costs[2]


def test_a_step_against_the_gradient_leads_to_the_true_correspondence():
    offset = torch.tensor(1.4, requires_grad=True)
    correspondence = identity() + torch.stack([offset, torch.tensor(0.0)]).reshape(1, 2, 1, 1)
    photometric_loss(scene(), scene(2.0), correspondence, everywhere()).backward()
    assert offset.grad < 0  # more shift costs less


def test_ssim_of_a_window_by_hand():
    generator = torch.Generator().manual_seed(0)
    first, second = torch.rand(2, 1, 1, 3, 3, generator=generator)
    a, b = first.flatten(), second.flatten()
    covariance = ((a - a.mean()) * (b - b.mean())).mean()
    variances = a.var(correction=0) + b.var(correction=0)
    expected = (2 * a.mean() * b.mean() + 1e-4) * (2 * covariance + 9e-4)
    expected = expected / ((a.mean() ** 2 + b.mean() ** 2 + 1e-4) * (variances + 9e-4))
    centre = structural_similarity(first, second)[0, 0, 1, 1]
    torch.testing.assert_close(centre, expected)


def test_the_weight_of_ssim_mixes_the_two_terms():
    mixed = [
        photometric_loss(scene(), scene(1.0), identity(), everywhere(), ssim_weight=weight)
        for weight in (0.0, 0.85, 1.0)
    ]
    torch.testing.assert_close(mixed[0], (scene() - scene(1.0)).abs().mean())
    torch.testing.assert_close(mixed[1], 0.15 * mixed[0] + 0.85 * mixed[2])


def test_the_auto_mask_leaves_out_what_stands_still_in_the_image():
    image = scene().requires_grad_()
    loss = photometric_loss(image, scene(), shift(1.0), everywhere(), auto_mask=True)
    loss.backward()
    assert loss == 0 and (image.grad == 0).all()
    assert photometric_loss(scene(), scene(), shift(1.0), everywhere()) > 0.02


@pytest.mark.parametrize("auto_mask", [False, True])
def test_nothing_outside_the_mask_reaches_the_loss_or_its_gradient(auto_mask):
    valid = everywhere()
    valid[..., :5] = False
    options = dict(auto_mask=auto_mask)
    expected = photometric_loss(scene(), scene(2.0), shift(1.5), valid, **options)
    dirty = scene().masked_fill(~valid, torch.nan)
    correspondence = torch.where(valid, shift(1.5), torch.inf).requires_grad_()
    loss = photometric_loss(dirty, scene(2.0), correspondence, valid, **options)
    loss.backward()
    assert loss == expected and loss > 0
    assert correspondence.grad.isfinite().all() and (correspondence.grad != 0).any()


def test_a_pixel_counts_only_with_its_whole_window():
    valid = torch.zeros_like(everywhere())
    valid[..., 5:8, 9:12] = True
    loss = photometric_loss(scene(), scene(2.0), identity(), valid)
    ssim = structural_similarity(scene(), scene(2.0))[..., 6, 10].mean()
    absolute = (scene() - scene(2.0))[..., 6, 10].abs().mean()
    torch.testing.assert_close(loss, 0.85 * (1 - ssim) / 2 + 0.15 * absolute)


def test_no_valid_pixel_and_flow_outside_give_zero_with_a_gradient_of_zero():
    for correspondence, valid in ((identity(), ~everywhere()), (shift(100.0), everywhere())):
        correspondence = correspondence.clone().requires_grad_()
        loss = photometric_loss(scene(), scene(2.0), correspondence, valid)
        loss.backward()
        assert loss == 0 and (correspondence.grad == 0).all()


def test_one_pixel_is_compared():
    pixel = torch.full((1, 3, 1, 1), 0.5)
    correspondence = torch.full((1, 2, 1, 1), 0.5)
    valid = torch.ones(1, 1, 1, 1, dtype=torch.bool)
    assert photometric_loss(pixel, pixel, correspondence, valid) == 0
    assert photometric_loss(pixel, pixel + 0.2, correspondence, valid) > 0.02


def test_wrong_images_are_one_clear_line():
    with pytest.raises(ValueError, match="image_t and image_t1 must both be"):
        photometric_loss(scene(), scene()[..., :-1], identity(), everywhere())
    with pytest.raises(ValueError, match=r"correspondence must be \[1, 2, 16, 24\]"):
        photometric_loss(scene(), scene(), identity()[..., :-1], everywhere())
    with pytest.raises(ValueError, match="floats from 0 to 1"):
        photometric_loss(scene().byte(), scene().byte(), identity(), everywhere())


def test_the_class_weighs_and_masks_what_does_not_move():
    assert MODELS.module_dict["PhotometricLoss"] is PhotometricLoss
    expected = photometric_loss(scene(), scene(2.0), shift(1.5), everywhere(), auto_mask=True)
    assert PhotometricLoss(3.0)(scene(), scene(2.0), shift(1.5), everywhere()) == 3 * expected
