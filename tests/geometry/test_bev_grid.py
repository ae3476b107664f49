from __future__ import annotations

import math

import pytest
import torch

from bevdepth_plus.geometry.bev_grid import BEVGrid

GRID = BEVGrid((-2.0, 4.0, 1.0), (-1.0, 1.0, 0.5), (-1.0, 3.0, 4.0))


def test_maps_have_a_row_for_each_y_and_a_column_for_each_x():
    assert GRID.size == (6, 4, 1)
    assert GRID.bev_size == (4, 6)
    assert GRID.cell_centres().shape == (4, 6, 2)


def test_each_cells_centre_lies_in_that_cell():
    centres = torch.cat([GRID.cell_centres(), torch.zeros(4, 6, 1)], dim=-1)
    assert torch.equal(GRID.flat_index(centres).flatten(), torch.arange(24, dtype=torch.int32))


def test_a_cell_owns_its_lower_border_and_not_its_upper_one():
    lower = torch.tensor([[-2.0, -1.0, -1.0]])
    assert GRID.flat_index(lower).tolist() == [0]
    for axis, upper in enumerate((4.0, 1.0, 3.0)):
        point = lower.clone()
        point[0, axis] = upper
        assert GRID.flat_index(point).tolist() == [-1]


@pytest.mark.parametrize("axis", range(3))
def test_a_point_just_below_the_grid_is_dropped(axis):
    point = torch.tensor([[-2.0, -1.0, -1.0]])
    point[0, axis] -= 1e-3
    assert GRID.flat_index(point).tolist() == [-1]


def test_reach_is_the_distance_of_the_farthest_side():
    assert GRID.reach == 4.0
    assert GRID.half_size == 3.0


@pytest.mark.parametrize(
    ("axis", "complaint"),
    [
        ((1.0, -1.0, 0.5), "lower < upper"),
        ((-1.0, 1.0, 0.0), "cell > 0"),
        ((-1.0, 1.0, 0.3), "whole number of cells"),
        ((math.nan, 1.0, 0.5), "lower < upper"),
    ],
)
def test_an_axis_that_cannot_be_meant_is_refused(axis, complaint):
    with pytest.raises(ValueError, match=complaint):
        BEVGrid(axis, (-1.0, 1.0, 0.5), (-1.0, 3.0, 4.0))
