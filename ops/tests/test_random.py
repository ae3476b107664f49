"""Random shapes and cells, and an independent oracle: a sparse matrix product."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bevdepth_plus_ops import BEVPoolPlan, bev_pool
from bevdepth_plus_ops.testing import PoolCase, assert_matches_reference, random_case

hypothesis = pytest.importorskip("hypothesis")
st = hypothesis.strategies


@st.composite
def cases(draw) -> PoolCase:
    size = dict(
        batch=draw(st.integers(0, 3)),
        cameras=draw(st.integers(0, 3)),
        bins=draw(st.integers(0, 20)),
        channels=draw(st.integers(0, 40)),
        height=draw(st.integers(0, 6)),
        width=draw(st.integers(0, 20)),
    )
    case = random_case(
        **size,
        bev_size=(draw(st.integers(1, 9)), draw(st.integers(1, 20))),
        cells=draw(st.sampled_from(["random", "columns", "one", "none"])),
        dtype=draw(st.sampled_from([torch.float32, torch.bfloat16])),
        seed=draw(st.integers(0, 2**31)),
    )
    if draw(st.booleans()):  # any int32 at all
        generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
        wild = torch.randint(-(2**31), 2**31, case.cells.shape, generator=generator)
        hit = torch.rand(case.cells.shape, generator=generator) < 0.3
        case.cells = torch.where(hit, wild.int(), case.cells)
    return case


@hypothesis.settings(max_examples=60, deadline=None, derandomize=True)
@hypothesis.given(cases())
def test_any_shape_and_any_cells_match_the_reference(case):
    assert_matches_reference(bev_pool, case)
    planned = BEVPoolPlan.from_cells(case.cells, case.bev_size)(case.depth, case.context)
    assert torch.equal(planned, bev_pool(*case.arguments))


@pytest.mark.parametrize("cells", ["random", "columns"])
def test_pooling_is_the_sparse_matrix_product_of_scipy(cells):
    sparse = pytest.importorskip("scipy.sparse")
    case = random_case(batch=1, bins=30, channels=24, height=8, width=11, cells=cells)
    _, _, bins, height, width = case.depth.shape
    grid = case.bev_size[0] * case.bev_size[1]
    row = case.cells.flatten().numpy()
    # Point (n, d, h, w) reads pixel (n, h, w).
    pixel = np.arange(3 * height * width).reshape(3, 1, height * width)
    pixel = np.broadcast_to(pixel, (3, bins, height * width)).ravel()
    inside = (row >= 0) & (row < grid)
    matrix = sparse.csr_matrix(
        (case.depth.flatten().numpy()[inside], (row[inside], pixel[inside])),
        shape=(grid, 3 * height * width),
    )
    product = matrix @ case.context[0].permute(0, 2, 3, 1).reshape(-1, 24).numpy()
    expected = torch.from_numpy(product.T.copy()).view(1, 24, *case.bev_size)
    torch.testing.assert_close(bev_pool(*case.arguments), expected)
