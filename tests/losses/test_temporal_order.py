"""Order over time between two frames, called as the detector would call it."""

from __future__ import annotations

import pytest
import torch
from mmdet3d.registry import MODELS

from bevdepth_plus.geometry.pinhole import pixel_centres
from bevdepth_plus.losses import (
    MatchedDepthLoss,
    TemporalOrderLoss,
    matched_depths,
    ordinal_depth_loss,
    pearson_depth_loss,
    temporal_order_loss,
)

BOTH = torch.tensor([[[[0, 0], [0, 1]]]])  # the pair of a map of 1 x 2 pixels


def row(*values: float) -> torch.Tensor:
    return torch.tensor(values).reshape(1, 1, 1, -1)


def identity(depth: torch.Tensor) -> torch.Tensor:
    """Every pixel is seen again where it was."""
    centres = pixel_centres(tuple(depth.shape[-2:])).movedim(-1, 0)
    return centres.expand(len(depth), -1, -1, -1)


def cost(depth_t, depth_t1, **options) -> torch.Tensor:
    options.setdefault("pairs", BOTH)
    return temporal_order_loss(depth_t, depth_t1, identity(depth_t), depth_t > 0, **options)


def frames(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Two frames of noise, correspondences of which some leave the image, and a mask."""
    generator = torch.Generator().manual_seed(seed)
    depth_t = 5 + 40 * torch.rand(2, 1, 12, 20, generator=generator)
    depth_t1 = 5 + 40 * torch.rand(2, 1, 12, 20, generator=generator)
    shift = 3 * torch.randn(2, 2, 12, 20, generator=generator)
    valid = torch.rand(2, 1, 12, 20, generator=generator) < 0.8
    return depth_t, depth_t1, identity(depth_t) + shift, valid


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(3)


@pytest.fixture(scope="module")
def golden(shared_dir) -> dict[str, torch.Tensor]:
    return torch.load(shared_dir / "golden/deltas/temporal_order_losses.pth", weights_only=True)


@pytest.mark.parametrize("form", ["summed", "pairwise"])
@pytest.mark.parametrize(("record", "sign"), [("note_abs_min_plus_eps", -1), ("margin_hinge", 1)])
def test_the_recorded_costs_and_gradients_are_met(golden, record, sign, form):
    for index, (depth_t, depth_t1) in enumerate(zip(golden["D_t"], golden["D_t1"], strict=True)):
        asked = row(*depth_t1.tolist()).requires_grad_()
        margin = sign * golden["eps"].item()
        loss = cost(row(*depth_t.tolist()), asked, margin=margin, form=form)
        loss.backward()
        # The record's last pair is a tie, which costs a constant there and does not count here.
        expected = golden[f"{record}/loss"][index] if depth_t[0] != depth_t[1] else 0.0
        assert loss.item() == pytest.approx(float(expected), abs=1e-5)
        torch.testing.assert_close(
            asked.grad.flatten(), golden[f"{record}/grad"][index].float(), atol=1e-5, rtol=0
        )


def test_the_recorded_signs_are_met(golden):
    for depth_t, depth_t1, expected in zip(
        golden["D_t"], golden["D_t1"], golden["sign_sign/loss"], strict=True
    ):
        margin = -golden["eps"].item()
        loss = cost(row(*depth_t.tolist()), row(*depth_t1.tolist()), margin=margin, form="sign")
        assert loss.item() == pytest.approx(expected.item(), abs=1e-5)


@pytest.mark.parametrize("form", ["summed", "pairwise", "sign"])
def test_order_that_is_kept_costs_exactly_nothing(form):
    depth_t, _, _, valid = frames()
    scaled = (1.7 * depth_t + 3).requires_grad_()
    with torch.autograd.detect_anomaly(check_nan=True):
        loss = temporal_order_loss(
            depth_t, scaled, identity(depth_t), valid, form=form, generator=seeded()
        )
        loss.backward()
    assert loss == 0 and (scaled.grad == 0).all()


def test_a_reversed_pair_costs_what_it_is_reversed_by():
    assert cost(row(10.0, 12.0), row(14.0, 11.0)).item() == pytest.approx(3.0)
    assert cost(row(12.0, 10.0), row(11.0, 14.0)).item() == pytest.approx(3.0)


@pytest.mark.parametrize("relative", [False, True])
def test_a_step_against_the_gradient_brings_the_order_back(relative):
    depth_t, asked = row(10.0, 12.0), row(14.0, 11.0).requires_grad_()
    cost(depth_t, asked, relative=relative).backward()
    near, far = asked.grad.flatten()
    assert near > 0 and far < 0  # the near point comes nearer, the far one goes off


def test_a_pair_nearer_than_the_margin_costs_what_is_missing():
    assert cost(row(10.0, 12.0), row(10.0, 10.5), margin=2.0).item() == pytest.approx(1.5)
    assert cost(row(10.0, 12.0), row(10.0, 12.5), margin=2.0) == 0


def test_a_pair_that_was_near_in_the_reference_can_be_left_out():
    depth_t, depth_t1 = row(10.0, 10.5), row(10.0, 10.5)
    assert cost(depth_t, depth_t1, margin=2.0).item() == pytest.approx(1.5)
    assert cost(depth_t, depth_t1, margin=2.0, min_gap=2.0) == 0


def test_a_relative_gap_is_a_share_of_the_nearer_depth():
    reversed_later = row(12.0, 10.0)
    options = dict(relative=True, min_gap=0.1)
    assert cost(row(10.0, 11.02), reversed_later, **options) > 0.1
    assert cost(row(10.0, 10.98), reversed_later, **options) == 0


def test_a_negative_margin_forgives_small_reversals():
    assert cost(row(10.0, 12.0), row(10.4, 10.0), margin=-0.5) == 0
    assert cost(row(10.0, 12.0), row(11.0, 10.0), margin=-0.5).item() == pytest.approx(0.5)


def test_a_relative_margin_is_a_share_of_depth():
    for scale in (1.0, 10.0):  # the same at any distance
        assert cost(row(4, 5) * scale, row(4, 4.41) * scale, margin=0.1, relative=True) == 0
        missing = cost(row(4, 5) * scale, row(4, 4.2) * scale, margin=0.1, relative=True)
        assert missing.item() == pytest.approx(torch.tensor(1.1 / 1.05).log().item(), abs=1e-6)


def test_pairwise_weighs_the_worst_pair_most():
    depth_t, depth_t1 = row(1.0, 2.0, 3.0), row(5.0, 4.0, 2.0)
    pairs = torch.tensor([[[[0, 0], [0, 1]], [[0, 0], [0, 2]]]])  # reversed by 1 and by 3
    assert cost(depth_t, depth_t1, pairs=pairs).item() == pytest.approx(2.0)
    root = cost(depth_t, depth_t1, pairs=pairs, form="pairwise")
    assert root.item() == pytest.approx(5**0.5)


def test_sign_is_the_share_of_reversed_pairs_and_has_no_gradient():
    depth_t, depth_t1, _, _ = frames()
    depth_t1.requires_grad_()
    pairs = torch.randint(0, 12, (2, 400, 2, 2), generator=seeded())
    loss = cost(depth_t, depth_t1, pairs=pairs, form="sign")
    loss.backward()
    index = pairs[..., 0] * 20 + pairs[..., 1]
    before, after = (
        values.flatten(1).gather(1, index.flatten(1)).reshape(2, 400, 2).diff(dim=-1)
        for values in (depth_t, depth_t1.detach())
    )
    expected = (before * after < 0).sum() / (before != 0).sum()
    assert loss.item() == pytest.approx(expected.item(), abs=1e-6)
    assert (depth_t1.grad == 0).all()


def test_the_reference_gets_no_gradient_unless_symmetric():
    depth_t, depth_t1, correspondence, valid = frames()
    depth_t.requires_grad_(), depth_t1.requires_grad_()
    options = dict(margin=0.5, num_pairs=200, generator=seeded())
    temporal_order_loss(depth_t, depth_t1, correspondence, valid, **options).backward()
    assert depth_t.grad is None and (depth_t1.grad != 0).any()
    temporal_order_loss(
        depth_t, depth_t1, correspondence, valid, symmetric=True, **options
    ).backward()
    assert (depth_t.grad != 0).any()


def test_depth_is_looked_up_at_the_matched_pixel():
    depth_t, depth_t1 = row(10.0, 20.0, 30.0), row(30.0, 5.0, 15.0)
    # Pixel 0 is seen again in pixel 1, and pixel 1 in pixel 2: the order is kept.
    moved = torch.tensor([[1.2, 2.9, 7.0], [0.5, 0.5, 0.5]]).reshape(1, 2, 1, 3)
    assert temporal_order_loss(depth_t, depth_t1, moved, depth_t > 0, pairs=BOTH) == 0
    assert cost(depth_t, depth_t1).item() == pytest.approx(25.0)


def test_flow_that_points_outside_does_not_count():
    # Whatever took the place of the missing depth would cost something here.
    depth_t, depth_t1 = row(10.0, 0.5, 30.0), row(0.5, 10.0, 30.0)
    outside = identity(depth_t).clone()
    for value in (-0.5, 3.0, torch.nan, torch.inf, -torch.inf, 1e30):
        outside[0, 0, 0, 1] = value
        pairs = torch.tensor([[[[0, 0], [0, 1]]]])
        asked = depth_t1.clone().requires_grad_()
        loss = temporal_order_loss(depth_t, asked, outside, depth_t > 0, pairs=pairs)
        loss.backward()
        assert loss == 0 and (asked.grad == 0).all()


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("form", ["summed", "pairwise", "sign"])
def test_no_valid_correspondence_gives_zero_with_a_gradient_of_zero(form, symmetric):
    depth_t, depth_t1, correspondence, valid = frames()
    depth_t1.requires_grad_()
    loss = temporal_order_loss(
        depth_t, depth_t1, correspondence, torch.zeros_like(valid), 0.5, form, symmetric=symmetric
    )
    loss.backward()
    assert loss == 0 and (depth_t1.grad == 0).all()


@pytest.mark.parametrize("relative", [False, True])
def test_constant_depth_has_no_order_to_keep(relative):
    _, depth_t1, correspondence, valid = frames()
    depth_t1.requires_grad_()
    flat = torch.full_like(depth_t1, 8.0)
    loss = temporal_order_loss(flat, depth_t1, correspondence, valid, 0.5, relative=relative)
    loss.backward()
    assert loss == 0 and (depth_t1.grad == 0).all()


def test_constant_depth_in_the_frame_that_is_asked_costs_the_margin():
    asked = row(8.0, 8.0).requires_grad_()
    loss = cost(row(3.0, 4.0), asked, margin=0.5)
    loss.backward()
    assert loss.item() == pytest.approx(0.5) and asked.grad.flatten().tolist() == [1.0, -1.0]


def test_one_pixel_has_no_pair():
    asked = row(8.0).requires_grad_()
    loss = temporal_order_loss(row(3.0), asked, identity(asked), asked > 0, margin=1.0)
    loss.backward()
    assert loss == 0 and asked.grad.item() == 0


@pytest.mark.parametrize("rubbish", [torch.nan, torch.inf, -torch.inf, 0.0, -3.0])
@pytest.mark.parametrize("relative", [False, True])
def test_nothing_outside_the_mask_reaches_the_loss_or_its_gradient(relative, rubbish):
    depth_t, depth_t1, correspondence, valid = frames()
    options = dict(margin=0.3, relative=relative, symmetric=True, num_pairs=300)
    expected = temporal_order_loss(
        depth_t, depth_t1, correspondence, valid, generator=seeded(), **options
    )
    _, _, usable = matched_depths(depth_t, depth_t1, correspondence, valid)
    dirty_t = depth_t.masked_fill(~usable, rubbish).requires_grad_()
    hit = torch.zeros_like(depth_t1, dtype=torch.bool)
    pixels = correspondence.floor().long()
    for b, _, y, x in usable.nonzero().tolist():
        hit[b, 0, pixels[b, 1, y, x], pixels[b, 0, y, x]] = True
    dirty_t1 = depth_t1.masked_fill(~hit, rubbish).requires_grad_()
    dirty_flow = torch.where(usable, correspondence, torch.nan)
    loss = temporal_order_loss(dirty_t, dirty_t1, dirty_flow, valid, generator=seeded(), **options)
    loss.backward()
    assert loss == expected and loss > 0
    for grad, counts in ((dirty_t.grad, usable), (dirty_t1.grad, hit)):
        assert grad.isfinite().all() and (grad[~counts] == 0).all() and (grad != 0).any()


def test_frames_of_unequal_size_are_one_clear_line():
    depth_t, depth_t1, correspondence, valid = frames()
    with pytest.raises(ValueError, match=r"depth_t, depth_t1 and valid must all be \[B, 1, H, W\]"):
        temporal_order_loss(depth_t, depth_t1[..., :-1], correspondence, valid)
    with pytest.raises(ValueError, match=r"correspondence must be \(2, 2, 12, 20\)"):
        temporal_order_loss(depth_t, depth_t1, correspondence[..., :-1], valid)


def test_unknown_forms_and_impossible_margins_are_refused():
    with pytest.raises(ValueError, match="form must be one of summed, pairwise, sign, got 'sum'"):
        cost(row(1.0, 2.0), row(1.0, 2.0), form="sum")
    with pytest.raises(ValueError, match="must be above -1"):
        cost(row(1.0, 2.0), row(1.0, 2.0), margin=-1.0, relative=True)
    with pytest.raises(ValueError, match="cannot be trained with"):
        TemporalOrderLoss(form="sign")


def test_one_seed_gives_one_result_and_autocast_changes_nothing():
    depth_t, depth_t1, correspondence, valid = frames()
    loss = TemporalOrderLoss(loss_weight=2.0, num_pairs=300)
    expected = loss(depth_t, depth_t1, correspondence, valid, seeded())
    single = TemporalOrderLoss(num_pairs=300)(depth_t, depth_t1, correspondence, valid, seeded())
    assert expected == 2 * single and single > 0
    with torch.autocast("cpu", torch.bfloat16):
        assert loss(depth_t, depth_t1, correspondence, valid, seeded()) == expected


def test_configs_find_the_classes_by_name():
    for kind in (TemporalOrderLoss, MatchedDepthLoss):
        assert MODELS.module_dict[kind.__name__] is kind


def test_a_loss_of_depth_maps_is_asked_at_the_matched_pixels():
    depth_t, depth_t1, correspondence, valid = frames()
    depth_t.requires_grad_(), depth_t1.requires_grad_()
    reference, matched, usable = matched_depths(depth_t, depth_t1, correspondence, valid)
    pearson = MatchedDepthLoss(dict(type="PearsonDepthLoss", patch=6))
    loss = pearson(depth_t, depth_t1, correspondence, valid)
    torch.testing.assert_close(loss, pearson_depth_loss(matched, reference, usable, patch=6))
    loss.backward()
    assert depth_t.grad is None and (depth_t1.grad != 0).any()
    ordinal = MatchedDepthLoss(dict(type="OrdinalDepthLoss", alpha=0.3, num_pairs=300))
    torch.testing.assert_close(
        ordinal(depth_t, depth_t1, correspondence, valid, seeded()),
        ordinal_depth_loss(
            matched, reference, usable, alpha=0.3, num_pairs=300, generator=seeded()
        ),
    )
