from __future__ import annotations

import pytest
import torch

from bevdepth_plus.losses import (
    edge_aware_smoothness_loss,
    interest_point_loss,
    match_likelihood_loss,
    match_loss,
    multi_scale_depth_loss,
    repeatability_loss,
    triangulated_point_loss,
)


def test_interest_points_cost_least_where_they_are_the_teacher_s():
    teacher = torch.zeros(1, 16, 24)
    teacher[0, 3, 5] = 1.0  # block (0, 0), cell 3 * 8 + 5
    logits = torch.zeros(1, 65, 2, 3)
    logits[:, 64] = 10.0
    logits[0, :, 0, 0] = 0.0
    right, wrong = logits.clone(), logits.clone()
    right[0, 3 * 8 + 5, 0, 0] = 10.0
    wrong[0, 5 * 8 + 3, 0, 0] = 10.0
    assert interest_point_loss(right, teacher) < 0.01 < interest_point_loss(wrong, teacher)


def test_a_teacher_of_another_size_is_named():
    with pytest.raises(ValueError, match=r"teacher must be \[B, H, W\] = \(1, 16, 24\)"):
        interest_point_loss(torch.zeros(1, 65, 2, 3), torch.zeros(1, 16, 16))


def test_repeated_peaks_cost_less_than_flat_maps_and_other_peaks():
    valid = torch.ones(1, 32, 32, dtype=torch.bool)
    peaks = torch.zeros(1, 32, 32)
    peaks[0, 5::16, 7::16] = 1.0
    repeated = repeatability_loss(peaks, peaks, valid)
    assert repeated < 0.05
    assert repeatability_loss(peaks, peaks.roll(3, -1), valid) > repeated + 0.9
    flat = torch.full_like(peaks, 0.1)
    assert repeatability_loss(flat, flat, valid) > repeated + 0.9
    assert repeatability_loss(peaks, peaks, ~valid) == 0


def test_a_match_costs_its_distance_from_the_true_place_in_pixels():
    """Public attempts drew the match to the anchor's own pixel."""
    target = torch.zeros(1, 1, 3, 2)
    matches = torch.tensor([[[[3.0, 4.0], [0.0, 0.0], [torch.nan, 0.0]]]], requires_grad=True)
    mask = torch.tensor([[[True, True, False]]])
    loss = match_loss(matches, target, mask)
    assert loss.item() == 2.5
    loss.backward()
    assert matches.grad.isfinite().all()


def test_a_point_at_infinity_costs_at_most_its_whole_depth():
    target = torch.tensor([[10.0, 10.0, 0.0]])
    variance = torch.full_like(target, 1e-8)
    at_infinity = triangulated_point_loss(torch.tensor([[0.0, 0.1, 9.0]]), variance, target)
    torch.testing.assert_close(at_infinity, torch.tensor(0.5), rtol=1e-3, atol=0)


def test_a_point_without_parallax_costs_next_to_nothing():
    target, wrong = torch.tensor([[10.0]]), torch.tensor([[0.4]])
    told = triangulated_point_loss(wrong, torch.tensor([[1e-8]]), target)
    untold = triangulated_point_loss(wrong, torch.tensor([[1e9]]), target)
    assert told > 2.9 and untold < 1e-6


def test_the_finest_scale_is_taught_and_most():
    """A public attempt taught the coarse scales alone: abs_rel 133 at the one that is used."""
    target = torch.full((1, 1, 16, 16), 5.0)
    right = [torch.full((1, 1, 16 // s, 16 // s), 5.0) for s in (1, 2, 4, 8)]
    costs = []
    for index in range(4):
        depths = [depth + (number == index) for number, depth in enumerate(right)]
        costs.append(multi_scale_depth_loss(depths, target).item())
    assert costs == pytest.approx([2.0, 1.4, 0.98, 0.686])


def test_over_log_depth_a_tenth_costs_the_same_near_and_far():
    for metres in (0.5, 5.0, 50.0):
        target = torch.full((1, 1, 8, 8), metres)
        cost = multi_scale_depth_loss([1.1 * target], target, log=True)
        torch.testing.assert_close(cost, 2 * torch.tensor(1.1).log())
    depth = torch.full((1, 1, 8, 8), 5.0, requires_grad=True)
    multi_scale_depth_loss([depth], torch.zeros(1, 1, 8, 8), log=True).backward()
    assert (depth.grad == 0).all()


def test_a_coarse_cell_without_depth_is_not_taught():
    target = torch.zeros(1, 1, 16, 16)
    target[..., 0, 0] = 4.0
    coarse = torch.full((1, 1, 2, 2), 4.0)
    coarse[..., 1, 1] = 90.0
    assert multi_scale_depth_loss([coarse], target) == 0


def test_a_step_of_depth_costs_less_across_an_edge_of_the_image():
    depth = torch.full((1, 1, 8, 8), 4.0)
    depth[..., 4:] = 8.0
    flat, edge = torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 8)
    edge[..., 4:] = 3.0
    assert edge_aware_smoothness_loss(depth, edge) < 0.1 * edge_aware_smoothness_loss(depth, flat)
    torch.testing.assert_close(
        edge_aware_smoothness_loss(10 * depth, flat), edge_aware_smoothness_loss(depth, flat)
    )


def segment(peak: int, samples: int = 21) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits with a peak at one sample, and places 4 pixels apart along a row, one point."""
    logits = torch.zeros(1, 1, 1, samples + 1)
    logits[..., peak] = 10.0
    columns = 4.0 * torch.arange(samples)
    return logits, torch.stack([columns, torch.full_like(columns, 7.0)], dim=-1)[None, None, None]


def likelihood(logits, places, column: float, seen: bool = True, known: bool = True):
    target = torch.tensor([[[[column, 7.0]]]])
    return match_likelihood_loss(
        logits, places, target, torch.tensor([[[seen]]]), torch.tensor([[[known]]])
    )


def test_a_wrong_peak_is_drawn_to_a_true_place_far_away():
    """The distance of a match cannot: it is a mean over the wrong peak's neighbours alone."""
    logits, places = segment(peak=3)
    logits.requires_grad_()
    likelihood(logits, places, column=4.0 * 17).backward()
    gradient = logits.grad.flatten()
    assert gradient[3] > 0.5 and gradient[17] < -0.5
    assert likelihood(*segment(peak=17), column=4.0 * 17) < 0.3 * likelihood(logits, places, 68.0)


def test_a_place_outside_the_image_teaches_none():
    logits, places = segment(peak=3)
    assert likelihood(logits, places, column=-50.0, seen=False) > 9
    logits, places = segment(peak=21)
    assert likelihood(logits, places, column=float("nan"), seen=False) < 0.01


def test_matches_of_unknown_depth_teach_nothing():
    logits, places = segment(peak=3)
    logits.requires_grad_()
    loss = likelihood(logits, places, column=float("inf"), known=False)
    loss.backward()
    assert loss == 0 and (logits.grad == 0).all()
