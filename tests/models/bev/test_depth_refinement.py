from __future__ import annotations

import torch

from bevdepth_plus.models.bev.depth_refinement import DepthRefinement, lift_rows, pool_rows
from bevdepth_plus_ops import bev_pool

BEV_SIZE = (6, 7)


def lifted(dtype=torch.float32):
    """Depth, context and cells of two samples with three cameras; some points lie outside."""
    generator = torch.Generator().manual_seed(0)
    depth = torch.rand(2, 3, 5, 4, 6, generator=generator, dtype=dtype)
    context = torch.randn(2, 3, 8, 4, 6, generator=generator, dtype=dtype)
    cells = torch.randint(-1, 42, (2, 3, 5, 4, 6), generator=generator, dtype=torch.int32)
    return depth, context, cells


def test_pooling_an_unrefined_volume_is_the_usual_pooling():
    depth, context, cells = lifted(torch.float64)
    expected = bev_pool(depth, context, cells, BEV_SIZE)
    torch.testing.assert_close(pool_rows(lift_rows(depth, context), cells, BEV_SIZE), expected)


def test_gradients_reach_depth_and_context_alike():
    depth, context, cells = lifted(torch.float64)
    weight = torch.randn(2, 8, *BEV_SIZE, generator=torch.Generator().manual_seed(1)).double()
    found = []
    for pool in (
        lambda d, c: pool_rows(lift_rows(d, c), cells, BEV_SIZE),
        lambda d, c: bev_pool(d, c, cells, BEV_SIZE),
    ):
        inputs = depth.clone().requires_grad_(), context.clone().requires_grad_()
        found.append(torch.autograd.grad((pool(*inputs) * weight).sum(), inputs))
    for ours, expected in zip(*found, strict=True):
        torch.testing.assert_close(ours, expected)


def test_a_pixel_is_refined_by_its_row_and_its_depth_but_not_by_other_rows():
    torch.manual_seed(0)
    refine = DepthRefinement(8).eval()
    depth, context, _ = lifted()
    changed = context.clone()
    changed[0, 0, :, 1, 2] += 1.0  # one pixel of row 1
    with torch.no_grad():
        before, after = (
            refine(lift_rows(depth, c)).unflatten(0, (2, 3, 4)) for c in (context, changed)
        )
    moved = (before != after).flatten(3).any(dim=3)  # [B, N, H]
    assert moved.nonzero().tolist() == [[0, 0, 1]]
    columns = (before != after)[0, 0, 1].any(dim=0).any(dim=1)
    assert columns.sum() > 1


def test_a_detector_with_refinement_trains(small_config, make_batch):
    from mmdet3d.registry import MODELS

    config = small_config(2)
    config["view_transform"]["refinement"] = dict(type="DepthRefinement", channels=8)
    torch.manual_seed(0)
    model = MODELS.build(config).train()
    batch = model.data_preprocessor(make_batch(cameras=2, frames=2), training=True)
    sum(model(**batch, mode="loss").values()).backward()
    refinement = model.view_transform.refinement
    assert all(p.grad.abs().sum() > 0 for p in refinement.parameters())
