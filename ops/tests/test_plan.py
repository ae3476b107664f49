"""The plan for a fixed rig: the same sums, movable and savable."""

from __future__ import annotations

import copy
import io

import pytest
import torch

from bevdepth_plus_ops import BEVPoolPlan, bev_pool
from bevdepth_plus_ops.native import MISSING_REASON
from bevdepth_plus_ops.testing import random_case

needs_library = pytest.mark.skipif(
    MISSING_REASON is not None, reason=f"compiled library not in use: {MISSING_REASON}"
)

TILE = (8, 32)  # kTileY, kTileX in csrc/cpu/kernels.h


def test_planned_and_unplanned_pooling_give_the_same_bits():
    case = random_case(bins=30, width=19, cells="columns")
    plan = BEVPoolPlan.from_cells(case.cells, case.bev_size)
    assert torch.equal(plan(case.depth, case.context), bev_pool(*case.arguments))


def points_of_runs(plan: BEVPoolPlan, by_column: bool) -> list[tuple[int, int]]:
    """(point, cell) of every point in the plan's runs, point numbered as in cells.flatten()."""
    _, cameras, bins, height, width = plan.cells.shape
    size_y, size_x = plan.bev_size
    offsets, words = plan.offsets.tolist(), plan.runs
    if by_column:
        offsets, words = plan.column_offsets.tolist(), plan.column_runs
    shorts = words[:, 2:].contiguous().view(torch.int16)  # first bin, bins, first row, rows
    tiles_x = -(-size_x // TILE[1])
    tiles = -(-size_y // TILE[0]) * tiles_x
    points = []
    for group in range(len(offsets) - 1):
        for r in range(offsets[group], offsets[group + 1]):
            place, column = words[r, :2].tolist()
            image, w = divmod(column, width)
            if by_column:
                assert column == group
                cell = image // cameras * size_y * size_x + place
            else:
                item, tile = divmod(group, tiles)
                y = tile // tiles_x * TILE[0] + place // TILE[1]
                x = tile % tiles_x * TILE[1] + place % TILE[1]
                cell = (item * size_y + y) * size_x + x
            first_bin, run_bins, first_row, rows = shorts[r].tolist()
            for d in range(first_bin, first_bin + run_bins):
                for h in range(first_row, first_row + rows):
                    points.append((((image * bins + d) * height + h) * width + w, cell))
    return points


@pytest.mark.parametrize("by_column", [False, True])
@pytest.mark.parametrize("cells", ["random", "columns", "one", "none"])
def test_runs_cover_every_inside_point_exactly_once(cells, by_column):
    case = random_case(cells=cells, bins=9, height=70, width=5, batch=2, cameras=2,
                       bev_size=(11, 70))  # fmt: skip
    plan = BEVPoolPlan.from_cells(case.cells, case.bev_size)
    if plan.runs is None:
        pytest.skip("the compiled library is not in use")
    grid = case.bev_size[0] * case.bev_size[1]
    flat = case.cells.flatten(1).long()
    inside = (flat >= 0) & (flat < grid)
    global_cell = (flat + grid * torch.arange(len(flat)).view(-1, 1))[inside].tolist()
    expected = list(zip(inside.flatten().nonzero().flatten().tolist(), global_cell, strict=True))
    assert sorted(points_of_runs(plan, by_column)) == expected


ROW_TILE = 16  # kRowTile in csrc/shared_math.h


@needs_library
@pytest.mark.parametrize("cells", ["random", "columns", "one", "none"])
def test_the_runs_of_a_gpu_cover_every_inside_point_once_and_keep_to_row_tiles(cells):
    case = random_case(cells=cells, bins=9, height=37, width=5, bev_size=(11, 7))
    index = torch.ops.bevdepth_plus_ops.bev_pool_plan(case.cells, *case.bev_size, for_gpu=True)
    by_cell, column_offsets, column_runs = index[1:]
    _, cameras, bins, height, width = case.cells.shape
    tiles = -(-height // ROW_TILE)
    assert len(column_offsets) == case.cells.shape[0] * cameras * width * tiles + 1
    covered = torch.full((2 * cameras, bins, height, width), -1, dtype=torch.int32)
    for group in range(len(column_offsets) - 1):
        column, tile = divmod(group, tiles)
        for run in column_runs[column_offsets[group] : column_offsets[group + 1]]:
            place, run_column = run[:2].tolist()
            first_bin, run_bins, first_row, rows = run[2:].view(torch.int16).tolist()
            assert run_column == column
            assert tile * ROW_TILE <= first_row < first_row + rows <= (tile + 1) * ROW_TILE
            image, w = divmod(column, width)
            part = covered[image, first_bin : first_bin + run_bins, first_row : first_row + rows, w]
            assert (part == -1).all()
            part.fill_(by_cell[place, 0].item())
    inside = (case.cells >= 0) & (case.cells < 77)
    assert torch.equal(covered.view_as(case.cells), case.cells.where(inside, -1))


@needs_library
@pytest.mark.parametrize("cells", ["random", "columns", "one", "none"])
def test_the_places_of_a_gpus_runs_are_a_stable_sort_by_cell(cells):
    case = random_case(cells=cells, bins=9, height=20, width=5, bev_size=(11, 7))
    index = torch.ops.bevdepth_plus_ops.bev_pool_plan(case.cells, *case.bev_size, for_gpu=True)
    offsets, by_cell, _, by_column = index
    places = by_column[:, 0].long()
    assert torch.equal(by_cell[places][:, 1:], by_column[:, 1:])
    item = by_column[:, 1] // (case.cells.shape[4] * case.cells.shape[1])
    cell = item * 77 + by_cell[places, 0]
    assert torch.equal(places, cell.argsort(stable=True).argsort())
    assert torch.equal(offsets.diff().long(), torch.bincount(cell, minlength=2 * 77))


def test_upright_columns_need_few_runs():
    case = random_case(cells="columns", bins=24, height=12, width=10, batch=1, cameras=1)
    plan = BEVPoolPlan.from_cells(case.cells, case.bev_size)
    if plan.runs is None:
        pytest.skip("the compiled library is not in use")
    assert len(plan.runs) <= 10 * (24 // 2 + 1)


def test_a_saved_plan_loads_into_a_plan_of_the_same_shape():
    case = random_case(seed=5)
    plan = BEVPoolPlan.from_cells(case.cells, case.bev_size)
    buffer = io.BytesIO()
    torch.save(plan.state_dict(), buffer)
    buffer.seek(0)
    other = BEVPoolPlan.from_cells(torch.full_like(case.cells, -1), case.bev_size)
    other.load_state_dict(torch.load(buffer, weights_only=True))
    assert torch.equal(other(case.depth, case.context), plan(case.depth, case.context))


def test_loading_a_plan_of_another_grid_says_so():
    case = random_case()
    state = BEVPoolPlan.from_cells(case.cells, (6, 9)).state_dict()
    with pytest.raises(ValueError, match=r"\(6, 9\)"):
        BEVPoolPlan.from_cells(case.cells, (9, 6)).load_state_dict(state)


def test_casting_a_model_leaves_its_plan_exact():
    case = random_case()
    plan = BEVPoolPlan.from_cells(case.cells, case.bev_size)
    before = plan(case.depth, case.context)
    assert torch.equal(plan.half()(case.depth, case.context), before)


def test_a_plan_owns_its_cells():
    case = random_case()
    plan = BEVPoolPlan.from_cells(case.cells, case.bev_size)
    before = plan(case.depth, case.context)
    case.cells.fill_(-1)
    assert torch.equal(plan(case.depth, case.context), before)


def test_a_plan_moves_with_its_device(device):
    case = random_case(device=device)
    plan = BEVPoolPlan.from_cells(case.cells.cpu(), case.bev_size).to(device)
    torch.testing.assert_close(plan(case.depth, case.context), bev_pool(*case.arguments))


def test_a_copied_plan_and_one_on_meta_keep_their_size():
    case = random_case()
    plan = BEVPoolPlan.from_cells(case.cells, case.bev_size)
    assert torch.equal(copy.deepcopy(plan)(case.depth, case.context), bev_pool(*case.arguments))
    depth, context = case.depth.to("meta"), case.context.to("meta")
    assert plan.to("meta")(depth, context).shape == (2, 20, 6, 9)
