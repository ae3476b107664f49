from __future__ import annotations

import pytest
import torch

from bevdepth_plus.pointmaps.pair_graphs import (
    complete_pairs,
    rig_pairs,
    spanning_tree,
    window_pairs,
)


def test_complete_pairs_hold_every_pair_once():
    assert complete_pairs(4) == [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]
    assert complete_pairs(1) == []


def test_window_pairs_reach_as_far_as_the_window():
    assert window_pairs(4, 1) == [(0, 1), (1, 2), (2, 3)]
    assert window_pairs(4, 2) == [(0, 1), (0, 2), (1, 2), (1, 3), (2, 3)]
    assert window_pairs(4, 1, closed=True) == [(0, 1), (0, 3), (1, 2), (2, 3)]
    assert window_pairs(2, 3, closed=True) == [(0, 1)]


def test_rig_pairs_link_neighbours_and_the_same_camera_over_time():
    assert rig_pairs(2, 3, [(0, 1), (2, 1)]) == [
        (0, 1),
        (0, 3),
        (1, 2),
        (1, 4),
        (2, 5),
        (3, 4),
        (4, 5),
    ]
    with pytest.raises(ValueError, match=r"cameras of 0..2, got \(0, 3\)"):
        rig_pairs(2, 3, [(0, 3)])


@pytest.mark.parametrize("method", ["ward", "maximum"])
def test_a_chain_of_overlaps_becomes_a_tree_from_its_middle(method):
    scores = torch.zeros(5, 5)
    for i in range(4):
        scores[i, i + 1] = scores[i + 1, i] = 40 + i
    root, edges = spanning_tree(scores, [48] * 5, method)
    assert root in (1, 2, 3)
    assert sorted(child for _, child in edges) == [i for i in range(5) if i != root]
    reached = {root}
    for parent, child in edges:
        assert parent in reached
        assert method == "ward" or scores[parent, child] > 0
        reached.add(child)


def test_images_without_overlap_are_named():
    scores = torch.zeros(4, 4)
    scores[0, 2] = scores[2, 0] = scores[1, 3] = scores[3, 1] = 9
    with pytest.raises(ValueError, match=r"images \[1, 3\] to image 0: they do not overlap"):
        spanning_tree(scores, [48] * 4)
    with pytest.raises(ValueError, match="got 'kruskal'"):
        spanning_tree(torch.ones(4, 4), [48] * 4, "kruskal")
