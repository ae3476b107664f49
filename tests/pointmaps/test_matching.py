from __future__ import annotations

import pytest
import torch
from torch.nn.functional import normalize

from bevdepth_plus.pointmaps import matching
from bevdepth_plus.pointmaps.matching import Descriptors, Matches


def smooth_descriptors(height: int, width: int, shift: float = 0.0) -> torch.Tensor:
    """Unit descriptors that change slowly over the image, shifted to the right."""
    rows, columns = torch.meshgrid(
        torch.arange(height) * 1.0, torch.arange(width) - shift, indexing="ij"
    )
    phases = torch.stack([columns * f for f in (0.05, 0.11)] + [rows * f for f in (0.07, 0.13)])
    return normalize(torch.cat([phases.sin(), phases.cos()]).movedim(0, -1), dim=-1)


def pair(shift: float = 8.0, mask1=None, mask2=None) -> tuple[Descriptors, Descriptors]:
    ones = torch.ones(32, 48)
    return (
        Descriptors(smooth_descriptors(32, 48), ones, mask1),
        Descriptors(smooth_descriptors(32, 48, shift), 4 * ones, mask2),
    )


def test_a_shifted_image_matches_with_its_shift():
    matches = matching.match_images([pair()])
    assert len(matches) > 20
    inside = matches.pixels1[:, 0] < 40
    shift = (matches.pixels2 - matches.pixels1)[inside]
    assert (shift == torch.tensor([8, 0])).all()
    torch.testing.assert_close(matches.confidence, torch.full((len(matches),), 2.0))


def test_only_valid_pixels_match():
    generator = torch.Generator().manual_seed(0)
    mask1, mask2 = (torch.rand(32, 48, generator=generator) > 0.5 for _ in range(2))
    matches = matching.match_images([pair(8.0, mask1, mask2)], subsample=2)
    assert len(matches) > 20
    assert mask1[matches.pixels1[:, 1], matches.pixels1[:, 0]].all()
    assert mask2[matches.pixels2[:, 1], matches.pixels2[:, 0]].all()


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, 0.0])
def test_bad_descriptors_match_nothing_and_leave_the_others_alone(bad):
    image1, image2 = pair()
    rotten1, rotten2 = image1.values.clone(), image2.values.clone()
    rotten1[:8], rotten2[:8] = bad, bad
    ones = torch.ones(32, 48)
    found = matching.fast_reciprocal(Descriptors(rotten1, ones), Descriptors(rotten2, ones))
    keep = torch.arange(32)[:, None].expand(32, 48) >= 8
    masked = matching.fast_reciprocal(
        Descriptors(image1.values, ones, keep), Descriptors(image2.values, ones, keep)
    )
    assert len(found) > 10
    assert (found >= 8 * 48).all()
    torch.testing.assert_close(found, masked)


@pytest.mark.parametrize("empty", [0, 1])
def test_an_empty_mask_gives_no_match(empty):
    masks = [None, None]
    masks[empty] = torch.zeros(32, 48, dtype=torch.bool)
    image1, image2 = pair(8.0, *masks)
    assert len(matching.match_images([(image1, image2)])) == 0
    assert len(matching.mutual_nearest(image1, image2)) == 0
    assert len(matching.within_tolerance(image1, image2, torch.tensor([[3, 4]]), 5)) == 0
    nothing = matching.match_images([(image1, image2)])
    assert matching.away_from_border(nothing, image1.size, image2.size).shape == (0,)


def test_fast_matches_are_among_the_exact_ones():
    generator = torch.Generator().manual_seed(0)
    ones = torch.ones(16, 24)
    image1, image2 = (
        Descriptors(torch.randn(16, 24, 5, generator=generator), ones) for _ in range(2)
    )
    exact = {tuple(one) for one in matching.mutual_nearest(image1, image2).tolist()}
    fast = {tuple(one) for one in matching.fast_reciprocal(image1, image2, 4).tolist()}
    assert fast
    assert fast <= exact


def test_blocks_change_nothing(monkeypatch):
    image1, image2 = pair()
    whole = matching.fast_reciprocal(image1, image2, 4)
    monkeypatch.setattr(matching, "_QUERIES", 7)
    monkeypatch.setattr(matching, "_TARGETS", 13)
    torch.testing.assert_close(matching.fast_reciprocal(image1, image2, 4), whole)


def test_of_equal_targets_the_first_wins_across_blocks(monkeypatch):
    monkeypatch.setattr(matching, "_TARGETS", 2)
    targets = torch.ones(6, 3)
    valid = torch.tensor([False, True, True, True, True, True])
    assert matching.nearest(torch.ones(1, 3), targets, torch.tensor([0]), valid).item() == 1


def test_subpixel_finds_half_a_pixel():
    image1, image2 = pair(shift=8.4)
    matches = matching.match_images([(image1, image2)], subsample=4)
    at1, at2 = matching.refine_subpixel(matches, image1, image2)
    inside = (
        (matches.pixels1[:, 0] < 36)
        & (matches.pixels2[:, 1] > 0)
        & (matches.pixels2[:, 1] < 31)
        & (matches.pixels2[:, 0] < 47)
    )
    error = (at2 - at1)[inside] - torch.tensor([8.4, 0.0])
    whole = (matches.pixels2 - matches.pixels1)[inside] - torch.tensor([8.4, 0.0])
    assert error.abs().mean() < 0.2 * whole.abs().mean()


def test_subpixel_beside_a_masked_pixel_stays():
    mask2 = torch.ones(32, 48, dtype=torch.bool)
    mask2[:, 21] = False
    image1, image2 = pair(8.4, None, mask2)
    matches = Matches(torch.tensor([[12, 9]]), torch.tensor([[20, 9]]), torch.ones(1))
    _, at2 = matching.refine_subpixel(matches, image1, image2)
    assert at2[0, 0] == 20.5


def test_matches_near_the_border_are_told():
    pixels1 = torch.tensor([[2, 5], [3, 5], [44, 28], [45, 5], [10, 29]])
    matches = Matches(pixels1, torch.full_like(pixels1, 10), torch.ones(5))
    kept = matching.away_from_border(matches, (32, 48), (32, 48))
    assert kept.tolist() == [False, True, True, False, False]


def test_a_mask_of_another_size_is_named():
    with pytest.raises(ValueError, match=r"mask must be \(32, 48\), got \(48, 32\)"):
        pair(8.0, torch.ones(48, 32, dtype=torch.bool))
