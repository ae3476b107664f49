from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bevdepth_plus.pointmaps.canonical_views import block_index, canonical_view, num_blocks
from bevdepth_plus.pointmaps.focal import (
    estimate_focal,
    estimate_focal_and_principal_point,
)


def wall(height: int, width: int, focal: float = 60.0, centre=None) -> torch.Tensor:
    """Exact points of a wavy surface, ``[1, H, W, 3]``."""
    cx, cy = (width / 2, height / 2) if centre is None else centre
    v, u = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    z = 5 + torch.sin(u / 7) + torch.cos(v / 5)
    return torch.stack([(u - cx) / focal * z, (v - cy) / focal * z, z], dim=-1)[None]


@pytest.mark.parametrize("average", ["angle", "ratio"])
@pytest.mark.parametrize("size", [(48, 64), (20, 23), (3, 5), (48, 1)])
def test_exact_pointmaps_of_any_size_keep_their_depth(size, average):
    points = wall(*size)
    view = canonical_view(points.repeat(3, 1, 1, 1), torch.full((3, *size), 2.0), average=average)
    assert view.valid.all()
    depth = points[0, ..., 2]
    at_anchor = depth.flatten()[view.anchor.flatten()[block_index(size, 8)]]
    torch.testing.assert_close(view.relative_depth, depth / at_anchor)


@pytest.mark.parametrize("average", ["angle", "ratio"])
def test_pairs_of_different_scale_agree_on_relative_depth(average):
    points = torch.cat([wall(16, 16), 2 * wall(16, 16)])
    confidence = torch.full((2, 16, 16), 3.0)
    view = canonical_view(points, confidence, average=average)
    alone = canonical_view(points[:1], confidence[:1], average=average)
    torch.testing.assert_close(view.relative_depth, alone.relative_depth)


def test_a_masked_centre_gives_way_to_the_nearest_valid_pixel():
    points, valid = wall(16, 16), torch.ones(1, 16, 16, dtype=torch.bool)
    valid[0, 4, 4] = valid[0, 3, 4] = valid[0, 4, 3] = valid[0, 5, 4] = False
    view = canonical_view(points, torch.full((1, 16, 16), 2.0), valid)
    assert view.anchor[0, 0] == 4 * 16 + 5
    assert view.anchor_valid.all()
    assert view.anchor[1, 1] == 12 * 16 + 12


def test_a_block_without_a_valid_pixel_drops_out():
    valid = torch.ones(1, 16, 16, dtype=torch.bool)
    valid[0, :8, 8:] = False
    view = canonical_view(wall(16, 16), torch.full((1, 16, 16), 2.0), valid)
    assert view.anchor_valid.tolist() == [[True, False], [True, True]]
    assert view.anchor_depth[0, 1] == 0
    index, ratio, usable = view.offsets(torch.tensor([[12, 3], [3, 3]]))
    assert usable.tolist() == [False, True]
    assert ratio.isfinite().all()
    assert index.tolist() == [1, 0]


def test_a_pixel_valid_in_one_pair_takes_its_depth_from_that_pair():
    points = torch.cat([wall(16, 16), wall(16, 16) + 0.3])
    valid = torch.ones(2, 16, 16, dtype=torch.bool)
    valid[1, :, 8:] = False
    view = canonical_view(points, torch.full((2, 16, 16), 2.0), valid)
    alone = canonical_view(points[:1], torch.full((1, 16, 16), 2.0))
    torch.testing.assert_close(view.points[:, 8:], alone.points[:, 8:])


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    bad=st.sampled_from([float("nan"), float("inf"), 0.0, -1.0]),
    average=st.sampled_from(["angle", "ratio"]),
    size=st.sampled_from([(24, 40), (21, 19)]),
)
def test_half_of_every_image_masked_leaves_nothing_that_is_not_finite(seed, bad, average, size):
    generator = torch.Generator().manual_seed(seed)
    valid = torch.rand(3, *size, generator=generator) > 0.5
    points = torch.where(valid[..., None], wall(*size).repeat(3, 1, 1, 1), bad)
    confidence = torch.where(valid, 1 + torch.rand(3, *size, generator=generator), bad)
    view = canonical_view(points, confidence, valid, average=average)
    for values in (view.points, view.relative_depth, view.confidence, view.anchor_depth):
        assert values.isfinite().all()
    assert (view.relative_depth > 0).all()
    assert (view.anchor_depth[view.anchor_valid] > 0).all()
    assert valid.any(0)[view.valid].all()
    focal, support = estimate_focal(view.points[None], view.valid[None])
    assert abs(focal.item() - 60) < 0.02 * 60
    assert support.item() == view.valid.sum()


def test_an_empty_mask_gives_an_empty_view():
    none = torch.zeros(1, 16, 16, dtype=torch.bool)
    view = canonical_view(wall(16, 16), torch.full((1, 16, 16), 2.0), none)
    assert not view.valid.any()
    assert not view.anchor_valid.any()
    assert (view.points == 0).all()
    focal, support = estimate_focal(view.points[None], view.valid[None])
    assert focal.isfinite().all()
    assert support.item() == 0


def test_shapes_and_options_are_checked():
    confidence = torch.ones(1, 16, 16)
    with pytest.raises(ValueError, match=r"valid must be \(1, 16, 16\), got \(1, 16, 8\)"):
        canonical_view(wall(16, 16), confidence, torch.ones(1, 16, 8, dtype=torch.bool))
    with pytest.raises(ValueError, match="got 'median'"):
        canonical_view(wall(16, 16), confidence, average="median")
    with pytest.raises(ValueError, match=r"confidence \[N, H, W\]"):
        canonical_view(wall(16, 16), confidence[0])
    with pytest.raises(ValueError, match=r"valid must be \(1, 16, 16\)"):
        estimate_focal(wall(16, 16), torch.ones(16, 16, dtype=torch.bool))
    with pytest.raises(ValueError, match="got 'mean'"):
        estimate_focal(wall(16, 16), method="mean")


def test_blocks_cover_every_pixel_of_narrow_images():
    assert num_blocks(3, 8) == 1
    assert num_blocks(20, 8) == 2
    assert block_index((20, 20), 8).max() == 3
    assert block_index((20, 20), 8)[19, 19] == 3


@pytest.mark.parametrize("method", ["weiszfeld", "median"])
def test_points_with_a_depth_near_zero_do_not_spoil_the_focal_length(method):
    points = wall(48, 64)
    spoilt = torch.rand(48, 64, generator=torch.Generator().manual_seed(0)) < 0.15
    points[0, spoilt, 2] = 1e-6
    focal, _ = estimate_focal(points, method=method)
    assert abs(focal.item() - 60) < 0.02 * 60
    plain, _ = estimate_focal(points, robust=False, limits=(0, torch.inf))
    assert plain.item() < 10


def test_background_and_foreground_are_the_callers_choice():
    points = wall(48, 64)
    points[:, :, :32, :2] *= 1.5  # the left half looks like a focal length of 40
    left = torch.zeros(1, 48, 64, dtype=torch.bool)
    left[..., :32] = True
    assert abs(estimate_focal(points, left)[0].item() - 40) < 1
    assert abs(estimate_focal(points, ~left)[0].item() - 60) < 1


def test_the_principal_point_is_found_with_the_focal_length():
    points = wall(48, 64, centre=(36.0, 21.0))
    focal, centre, support = estimate_focal_and_principal_point(points)
    assert abs(focal.item() - 60) < 0.1
    torch.testing.assert_close(centre, torch.tensor([[36.0, 21.0]]), atol=0.1, rtol=0)
    assert support.item() == 48 * 64
    nothing = torch.zeros(1, 48, 64, dtype=torch.bool)
    focal, centre, _ = estimate_focal_and_principal_point(points, nothing)
    assert focal.isfinite().all()
    assert centre.tolist() == [[32.0, 24.0]]
