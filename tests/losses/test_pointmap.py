from __future__ import annotations

import pytest
import torch

from bevdepth_plus.losses.descriptor_matching import descriptor_matching_loss
from bevdepth_plus.losses.pointmap import (
    confident_pointmap_loss,
    pointmap_errors,
    pointmap_loss,
)


def views(*shape: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.rand(*shape, generator=generator) + 0.5 for _ in range(2))


@pytest.mark.parametrize("mode", ["mean", "median", "sqrt", "log", "log_warp", None])
def test_what_is_masked_never_matters(mode):
    predicted, target = views(2, 4, 6, 3), views(2, 4, 6, 3, seed=1)
    valid = tuple(mask > 1 for mask in views(2, 4, 6, seed=2))
    spoilt = [
        tuple(torch.where(m[..., None], p, bad) for p, m in zip(pair, valid, strict=True))
        for pair, bad in ((predicted, torch.nan), (target, torch.inf))
    ]
    spoilt[0] = tuple(p.requires_grad_() for p in spoilt[0])
    clean = pointmap_loss(pointmap_errors(predicted, target, valid, normalise=mode))
    loss = pointmap_loss(pointmap_errors(*spoilt, valid, normalise=mode))
    loss.backward()
    torch.testing.assert_close(loss, clean)
    assert all(p.grad.isfinite().all() for p in spoilt[0])
    assert loss > 0


@pytest.mark.parametrize("mode", ["mean", "median", "sqrt", "log", "log_warp", None])
def test_nothing_valid_is_zero_with_a_gradient_of_zero(mode):
    predicted = tuple(p.requires_grad_() for p in views(1, 4, 6, 3))
    confidence = tuple(c.requires_grad_() for c in views(1, 4, 6))
    none = (torch.zeros(1, 4, 6, dtype=torch.bool),) * 2
    errors = pointmap_errors(predicted, views(1, 4, 6, 3, seed=1), none, normalise=mode)
    loss = confident_pointmap_loss(errors, confidence) + pointmap_loss(errors)
    loss.backward()
    assert loss == 0
    assert all((x.grad == 0).all() for x in (*predicted, *confidence))


def test_scale_is_free_unless_metres_are_known():
    target = views(2, 4, 6, 3)
    predicted = tuple(3 * points for points in target)
    valid = (torch.ones(2, 4, 6, dtype=torch.bool),) * 2
    assert pointmap_loss(pointmap_errors(predicted, target, valid)) < 1e-5
    metric = torch.tensor([True, False])
    errors = pointmap_errors(predicted, target, valid, metric=metric).errors[0]
    assert (errors[0] > 0.5).all()
    assert (errors[1] < 1e-5).all()


def test_a_metric_item_with_a_far_point_is_not_metric_and_the_flag_stays():
    target = views(2, 4, 6, 3)
    target[1][0, 2, 3] = 50.0
    predicted = tuple(3 * points for points in target)
    valid = (torch.ones(2, 4, 6, dtype=torch.bool),) * 2
    metric = torch.tensor([True, True])
    errors = pointmap_errors(predicted, target, valid, metric=metric, max_metric_distance=20)
    assert (errors.errors[0][0] < 1e-5).all()
    assert (errors.errors[0][1] > 0.5).all()
    assert metric.tolist() == [True, True]


def test_sky_teaches_the_confidence_alone():
    predicted = tuple(p.requires_grad_() for p in views(1, 4, 6, 3))
    confidence = tuple((1 + c).requires_grad_() for c in views(1, 4, 6))
    none = (torch.zeros(1, 4, 6, dtype=torch.bool),) * 2
    sky = (torch.ones(1, 4, 6, dtype=torch.bool),) * 2
    errors = pointmap_errors(predicted, views(1, 4, 6, 3, seed=1), none, sky=sky)
    confident_pointmap_loss(errors, confidence).backward()
    assert all((p.grad == 0).all() for p in predicted)
    assert all((c.grad > 0).all() for c in confidence)


def test_shapes_and_options_are_checked():
    points, valid = views(1, 4, 6, 3), (torch.ones(1, 4, 6, dtype=torch.bool),) * 2
    with pytest.raises(ValueError, match=r"view 2: .* got \(1, 4, 6, 3\), \(1, 4, 5, 3\)"):
        pointmap_errors(points, (points[0], points[1][:, :, :5]), valid)
    with pytest.raises(ValueError, match="got 'max'"):
        pointmap_errors(points, points, valid, normalise="max")
    with pytest.raises(ValueError, match="got 'before'"):
        pointmap_errors(points, points, valid, compress="before")


def matching_batch() -> dict:
    generator = torch.Generator().manual_seed(0)
    descriptors = torch.nn.functional.normalize(
        torch.randn(2, 1, 4, 6, 8, generator=generator), dim=-1
    )
    pixels = torch.stack([torch.arange(6), torch.arange(6) % 4], dim=1)[None]
    return dict(descriptors=tuple(descriptors), pixels=(pixels, pixels))


def test_equal_descriptors_cost_less_than_others():
    batch = matching_batch()
    valid = torch.ones(1, 6, dtype=torch.bool)
    other = descriptor_matching_loss(**batch, valid=valid)
    batch["descriptors"] = (batch["descriptors"][0],) * 2
    assert descriptor_matching_loss(**batch, valid=valid) < other / 10


def test_an_invalid_match_stays_a_wrong_answer():
    batch = matching_batch()
    valid = torch.tensor([[True] * 5 + [False]])
    with_it = descriptor_matching_loss(**batch, valid=valid)
    without = {**batch, "pixels": tuple(p[:, :5] for p in batch["pixels"])}
    assert with_it > descriptor_matching_loss(**without, valid=valid[:, :5])


def test_nan_descriptors_do_not_count_and_leave_gradients_finite():
    batch = matching_batch()
    broken = batch["descriptors"][0].clone()
    broken[0, 1, 1] = torch.nan
    leaf = broken.requires_grad_()
    valid = torch.ones(1, 6, dtype=torch.bool)
    confidence = (torch.ones(1, 4, 6), torch.ones(1, 4, 6))
    loss = descriptor_matching_loss(
        (leaf, batch["descriptors"][1]), batch["pixels"], valid, confidence
    )
    loss.backward()
    assert loss.isfinite()
    assert leaf.grad.isfinite().all()


def test_no_valid_match_is_zero_with_a_gradient_of_zero():
    batch = matching_batch()
    leaf = batch["descriptors"][0].clone().requires_grad_()
    for pixels in (batch["pixels"], tuple(p[:, :0] for p in batch["pixels"])):
        leaf.grad = None
        valid = torch.zeros(1, pixels[0].shape[1], dtype=torch.bool)
        loss = descriptor_matching_loss((leaf, batch["descriptors"][1]), pixels, valid)
        loss.backward()
        assert loss == 0
        assert (leaf.grad == 0).all()


def test_matches_and_flags_of_different_number_are_refused():
    batch = matching_batch()
    with pytest.raises(ValueError, match=r"valid \[B, M\], got"):
        descriptor_matching_loss(**batch, valid=torch.ones(1, 5, dtype=torch.bool))
