"""A mirrored sample shows a mirrored world, and colours do not move it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bevdepth_plus.datasets.sequences.augmentation import JitterColours, MirrorViews, mirrored
from bevdepth_plus.geometry.pinhole import project, unproject
from bevdepth_plus.geometry.rigid import invert_rigid, transform_points

HEIGHT, WIDTH = 6, 10


@pytest.fixture
def sample() -> dict:
    draw = torch.Generator().manual_seed(0)
    pose = torch.eye(4)
    pose[:3, :3] = torch.linalg.matrix_exp(
        torch.tensor([[0, -0.1, 0.2], [0.1, 0, 0], [-0.2, 0, 0]])
    )
    pose[:3, 3] = torch.tensor([0.5, -0.1, 0.8])
    return {
        "images": torch.randint(30, 220, (2, 3, HEIGHT, WIDTH), generator=draw, dtype=torch.uint8),
        "intrinsics": torch.tensor(
            [[[8.0, 0, 4.2], [0, 8.5, 3.1], [0, 0, 1]], [[9.0, 0, 5.7], [0, 9, 2.9], [0, 0, 1]]]
        ),
        "depth": 2 + 3 * torch.rand(HEIGHT, WIDTH, generator=draw),
        "source_depths": 2 + 3 * torch.rand(1, HEIGHT, WIDTH, generator=draw),
        "anchor_T_source": pose[None],
        "token": "a",
    }


def seen_by_the_source(sample: dict, pixels: torch.Tensor, depth: torch.Tensor) -> torch.Tensor:
    """Pixels of the source where it sees pixels of the anchor, [P, 2]."""
    points = unproject(pixels, depth, sample["intrinsics"][0])
    moved = transform_points(invert_rigid(sample["anchor_T_source"][0]), points)
    return project(moved, sample["intrinsics"][1])[0]


def test_a_mirrored_point_is_seen_at_the_mirrored_pixel(sample):
    pixels = torch.tensor([[2.5, 3.5], [7.5, 1.5]])
    depth = sample["depth"][[3, 1], [2, 7]]
    before = seen_by_the_source(sample, pixels, depth)
    turned = mirrored(sample)
    there = pixels * torch.tensor([-1.0, 1.0]) + torch.tensor([WIDTH, 0.0])
    columns, rows = there.long().unbind(-1)
    assert torch.equal(turned["depth"][rows, columns], depth)
    assert torch.equal(turned["images"][..., rows, columns], sample["images"][..., [3, 1], [2, 7]])
    source_depths = sample["source_depths"][:, [3, 1], [2, 7]]
    assert torch.equal(turned["source_depths"][:, rows, columns], source_depths)
    after = seen_by_the_source(turned, there, depth)
    expected = before * torch.tensor([-1.0, 1.0]) + torch.tensor([WIDTH, 0.0])
    torch.testing.assert_close(after, expected, rtol=0, atol=1e-4)


def test_mirrored_twice_is_itself(sample):
    again = mirrored(mirrored(sample))
    for name in ("images", "depth", "source_depths"):
        assert torch.equal(again[name], sample[name])
    for name in ("intrinsics", "anchor_T_source"):
        torch.testing.assert_close(again[name], sample[name])
    assert torch.linalg.det(mirrored(sample)["anchor_T_source"][0, :3, :3]) > 0.99


def test_mirroring_happens_as_often_as_asked(sample):
    assert MirrorViews(0.0)(sample) is sample
    assert torch.equal(MirrorViews(1.0)(sample)["images"], sample["images"].flip(-1))


def test_colours_change_and_nothing_else(sample):
    np.random.seed(0)
    jittered = JitterColours()(sample)
    assert jittered["images"].dtype == torch.uint8
    assert not torch.equal(jittered["images"], sample["images"])
    assert all(jittered[name] is sample[name] for name in sample if name != "images")


def test_what_is_common_to_all_views_changes_all_alike(sample):
    sample["images"][1] = sample["images"][0]
    np.random.seed(0)
    common = JitterColours(own=0.0)(sample)["images"]
    own = JitterColours(own=1.0)(sample)["images"]
    assert torch.equal(common[0], common[1]) and not torch.equal(own[0], own[1])


def test_options_out_of_range_are_refused():
    with pytest.raises(ValueError, match="contrast < 1"):
        JitterColours(contrast=1.5)
