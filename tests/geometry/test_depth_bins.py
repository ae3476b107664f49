from __future__ import annotations

import math

import pytest
import torch

from bevdepth_plus.geometry.depth_bins import DepthBins, mass_below

BINS = DepthBins(2.0, 6.0, 0.5)


def test_planes_lie_in_the_middle_of_their_bins_or_on_the_left_edges():
    assert BINS.num_bins == 8
    assert BINS.planes().tolist() == [2.25 + 0.5 * i for i in range(8)]
    assert DepthBins(2.0, 6.0, 0.5, "left").planes().tolist() == [2.0 + 0.5 * i for i in range(8)]
    assert BINS.edges().tolist() == [2.0 + 0.5 * i for i in range(9)]


def test_a_depth_in_no_bin_has_index_minus_one():
    depth = torch.tensor([0.0, 1.999, 2.0, 2.49, 5.999, 6.0, 80.0])
    assert BINS.index(depth).tolist() == [-1, -1, 0, 0, 7, -1, -1]


def test_expected_depth_is_that_of_the_bins_even_where_mass_is_missing():
    probabilities = torch.zeros(8, 1, 2)
    probabilities[2, 0, 0] = 1.0
    probabilities[(1, 3), :, 1] = 0.25  # half of the mass lies beyond the bins
    assert BINS.expectation(probabilities).tolist() == [[3.25, 3.25]]


def test_mass_below_spreads_each_bins_mass_evenly():
    probabilities = torch.tensor([0.5, 0.25, 0.25])[None, None, :, None, None]
    coordinate = torch.tensor([-1.0, 0.0, 0.5, 1.0, 2.5, 3.0, 9.0])[None, None, :, None, None]
    below = mass_below(probabilities, coordinate).flatten()
    torch.testing.assert_close(below, torch.tensor([0.0, 0.0, 0.25, 0.5, 0.875, 1.0, 1.0]))


@pytest.mark.parametrize(
    "arguments", [(0.0, 6.0, 0.5), (6.0, 2.0, 0.5), (2.0, 6.0, 0.0), (math.nan, 6.0, 0.5)]
)
def test_bins_that_cannot_be_meant_are_refused(arguments):
    with pytest.raises(ValueError, match="0 < start < stop"):
        DepthBins(*arguments)


def test_an_unknown_plane_is_refused():
    with pytest.raises(ValueError, match="'centre' or 'left', got 'middle'"):
        DepthBins(2.0, 6.0, 0.5, "middle")
