from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bevdepth_plus.geometry.z_buffer import nearest_depth, nearest_depth_map


@settings(derandomize=True, max_examples=40, deadline=None)
@given(st.data())
def test_the_nearest_point_wins_whatever_the_order(data):
    depths = data.draw(st.lists(st.floats(1, 60, width=32), min_size=1, max_size=12))
    pixels = torch.tensor([[7.9, 3.2]]).repeat(len(depths), 1)
    image = nearest_depth_map(pixels, torch.tensor(depths), (10, 20))
    assert image[3, 7].item() == min(depths)
    assert image.count_nonzero() == 1


def test_pixel_j_covers_j_to_j_plus_one():
    pixels = torch.tensor([[0.0, 0.0], [19.999, 9.999], [20.0, 5.0], [5.0, 10.0], [-0.001, 5.0]])
    image = nearest_depth_map(pixels, torch.full((5,), 2.0), (10, 20))
    assert image.nonzero().tolist() == [[0, 0], [9, 19]]


def test_no_point_leaves_an_empty_map():
    assert not nearest_depth_map(torch.zeros(0, 2), torch.zeros(0), (3, 4)).any()


def test_the_nearest_valid_depth_of_a_cell_wins():
    depth = torch.tensor([[[0.0, 9.0, 0.0, 0.0], [5.0, 7.0, 0.0, 0.0]]])
    assert nearest_depth(depth, stride=2).tolist() == [[[5.0, 0.0]]]
