from __future__ import annotations

import pytest
import torch

from bevdepth_plus.triangulation.densify import DepthDensifier, SparseDepth, sparse_depth_map
from bevdepth_plus.triangulation.encoder import PyramidEncoder
from bevdepth_plus.triangulation.up_projection import UpProjection, unpool

CHANNELS = (4, 4, 8, 8, 16)


def densifier(compat: str | None = None) -> DepthDensifier:
    encoder = PyramidEncoder(18, 1 if compat else 2, base_channels=4)
    return DepthDensifier(CHANNELS, (0.5, 60.0), encoder, (16, 12, 8, 8, 4), 4, compat)


def levels(height: int, width: int) -> list[torch.Tensor]:
    return [
        torch.randn(2, channels, -(-height // stride), -(-width // stride))
        for channels, stride in zip(CHANNELS, (2, 4, 8, 16, 32), strict=True)
    ]


def sparse(height: int, width: int) -> SparseDepth:
    depth = torch.zeros(2, 1, height, width)
    depth[:, :, ::9, ::7] = 5.0
    return SparseDepth(depth, (depth > 0).float())


def test_points_are_written_where_they_are():
    pixels = torch.tensor([[[3.5, 1.5], [0.5, 7.5], [9.5, 0.5], [-0.5, 2.5]]])
    depth = torch.tensor([[2.0, 0.0, 4.0, 5.0]])
    found = sparse_depth_map(pixels, depth, torch.tensor([[0.5, 0.6, 0.7, 0.8]]), (8, 10))
    assert found.depth.nonzero().tolist() == [[0, 0, 0, 9], [0, 0, 1, 3]]
    assert found.depth[0, 0, 1, 3] == 2.0 and found.confidence[0, 0, 1, 3] == 0.5
    assert found.confidence.count_nonzero() == 2


def test_depth_of_a_point_has_a_gradient():
    depth = torch.tensor([[2.0, 0.0]], requires_grad=True)
    pixels = torch.tensor([[[3.5, 1.5], [4.5, 1.5]]])
    sparse_depth_map(pixels, depth, torch.ones(1, 2), (8, 10)).depth.sum().backward()
    assert depth.grad.tolist() == [[1.0, 0.0]]


@pytest.mark.parametrize("size", [(64, 96), (96, 64), (32, 160)])
def test_every_output_is_a_depth_of_the_range_at_any_multiple_of_32(size):
    """The public decoder has no activation: its depth may be negative."""
    with torch.no_grad():
        found = densifier().eval()([50 * level for level in levels(*size)], sparse(*size))
    assert [depth.shape[-2:] for depth in found] == [
        (size[0] // scale, size[1] // scale) for scale in (1, 2, 4, 8)
    ]
    assert all(((depth >= 0.49) & (depth <= 60.1)).all() for depth in found)


def test_a_size_that_is_no_multiple_of_32_is_named():
    with pytest.raises(ValueError, match="multiple of 32 pixels high and wide, got 72 x 104"):
        densifier()(levels(72, 104), sparse(72, 104))


def test_the_operator_does_not_depend_on_the_height_of_the_image():
    """Public limit: 240 rows are resized in the first block, 256 are filled with zeros."""
    x = torch.randn(1, 2, 8, 10)
    exact = unpool(x, (16, 20), "zeros")
    assert torch.equal(unpool(x, (15, 20), "zeros"), exact[:, :, :15])
    assert not torch.equal(unpool(x, (15, 20), "deltas"), exact[:, :, :15])
    assert densifier().ups[0].unpool == "zeros" and densifier("deltas").ups[0].unpool == "deltas"


def test_without_a_single_point_the_image_alone_gives_depth():
    nothing = SparseDepth(torch.zeros(2, 1, 64, 96), torch.zeros(2, 1, 64, 96))
    assert all(depth.isfinite().all() for depth in densifier().eval()(levels(64, 96), nothing))


def test_bad_options_are_named():
    with pytest.raises(ValueError, match='compat must be None or "deltas"'):
        densifier("superpoint")
    with pytest.raises(ValueError, match="unpool must be one of"):
        UpProjection(4, 4, unpool="ones")
