"""Which frames are seen together."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bevdepth_plus.datasets.sequences.folders import frame_indices, nearest_in_time
from bevdepth_plus.datasets.sequences.frames import DepthPicture, Frame, FrameSequence
from bevdepth_plus.datasets.sequences.views import windows


def sequence(indices, without_depth=()) -> FrameSequence:
    frames = [
        Frame(
            f"s/{index}",
            index,
            f"{index}.jpg",
            None if index in without_depth else DepthPicture(f"{index}.png", 1e-3, np.eye(3)),
            np.eye(3),
            np.eye(4),
        )
        for index in indices
    ]
    return FrameSequence("s", tuple(frames))


def chosen(indices, num_views, gap, without_depth=(), source_depth=False) -> list[list[int]]:
    found = windows(sequence(indices, without_depth), num_views, gap, source_depth)
    return [[frame.index for frame in views] for views in found]


def test_sources_lie_on_both_sides_and_at_the_ends_on_one():
    assert chosen(range(5), 3, 1) == [[0, 1, 2], [1, 0, 2], [2, 1, 3], [3, 2, 4], [4, 3, 2]]
    assert chosen(range(5), 2, 2) == [[0, 2], [1, 3], [2, 0], [3, 1], [4, 2]]


def test_the_gap_counts_frames_and_never_takes_a_neighbour_of_a_missing_one():
    holes = [0, 1, 2, 5, 6, 7]  # 3 and 4 are missing or lost
    assert chosen(holes, 3, 1) == [[0, 1, 2], [1, 0, 2], [2, 1, 0], [5, 6, 7], [6, 5, 7], [7, 6, 5]]
    assert chosen([0, 2], 2, 1) == []


def test_a_frame_without_depth_is_a_source_alone():
    assert chosen(range(3), 3, 1, without_depth=[0, 2]) == [[1, 0, 2]]


def test_sources_have_depth_where_it_is_asked_for():
    assert chosen(range(4), 2, 1, without_depth=[1], source_depth=True) == [[2, 3], [3, 2]]


@pytest.mark.parametrize(
    ("case", "frames", "gap"),
    [
        ("n30_gap1_len3", 30, 1),
        ("n70_gap20_len3", 70, 20),
        ("n40_gap5_len5", 40, 5),
        ("n30_gap4_len2", 30, 4),
        ("n33_gap3_len4", 33, 3),
    ],
)
def test_sources_are_those_of_the_public_code(shared_dir, case, frames, gap):
    content = torch.load(shared_dir / "golden/deltas/deltas_data.pth", weights_only=True)
    table = content[f"sequence_table/{case}"].tolist()
    found = {views[0]: set(views) for views in chosen(range(frames), len(table[0]), gap)}
    assert len(found) == frames
    differing = [row for row in table if found[row[0]] != set(row)]
    assert not differing


def test_exports_of_each_tenth_frame_count_as_neighbours():
    assert frame_indices([0, 10, 20, 40]) == ([0, 1, 2, 4], 1)
    assert frame_indices([7]) == ([0], 0)
    assert frame_indices([4755, 4756, 7438]) == ([0, 1, 2683], 2681)


def test_times_are_matched_to_the_nearest_within_the_limit():
    times = np.array([0.2, 0.0, 0.1])
    assert nearest_in_time(times, [-0.01, 0.04, 0.06, 0.209, 0.3], 0.05) == [1, 1, 2, 0, None]
    assert nearest_in_time(np.array([]), [0.0]) == [None]
