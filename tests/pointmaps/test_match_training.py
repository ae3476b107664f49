"""How far off the choices of descriptors are, on a wall whose matches are known."""

from __future__ import annotations

import pytest
import torch

from bevdepth_plus.pointmaps.heads import Pointmap
from bevdepth_plus.pointmaps.match_training import match_errors
from bevdepth_plus.pointmaps.pair_targets import PosedPair

HEIGHT, WIDTH, SHIFT = 6, 10, 3


def wall(count: int = 1) -> PosedPair:
    """10 m away; view 2 stands so that it sees pixel u of view 1 at u - SHIFT."""
    matrix = torch.tensor([[20.0, 0, WIDTH / 2], [0, 20, HEIGHT / 2], [0, 0, 1]])
    pose = torch.eye(4).repeat(count, 1, 1)
    pose[:, 0, 3] = SHIFT * 10 / 20
    depth = torch.full((count, HEIGHT, WIDTH), 10.0)
    return PosedPair((depth, depth.clone()), (matrix.expand(count, 3, 3),) * 2, pose)


def maps(first: torch.Tensor, second: torch.Tensor) -> tuple[Pointmap, Pointmap]:
    confidence = torch.ones(first.shape[:-1])
    return tuple(
        Pointmap(torch.zeros(*d.shape[:-1], 3), confidence, d, confidence) for d in (first, second)
    )


@pytest.fixture
def names() -> torch.Tensor:
    """A descriptor of its own for each point of the wall, [1, H, W + SHIFT, C]."""
    draw = torch.Generator().manual_seed(0)
    values = torch.randn(1, HEIGHT, WIDTH + SHIFT, 64, generator=draw)
    return torch.nn.functional.normalize(values, dim=-1)


def test_descriptors_of_the_same_points_make_no_error(names):
    (errors,) = match_errors(maps(names[:, :, :WIDTH], names[:, :, SHIFT:]), wall())
    assert errors.tolist() == [0.0] * (HEIGHT * (WIDTH - SHIFT))


def test_a_match_that_is_off_counts_its_pixels(names):
    # Two columns too far to the right; the last two columns wrap round.
    second = names[:, :, SHIFT:].roll(2, dims=2)
    (errors,) = match_errors(maps(names[:, :, :WIDTH], second), wall())
    assert set(errors.tolist()) == {2.0}


def test_the_draw_depends_on_the_pair_alone(names):
    one = maps(names[:, :, :WIDTH], names[:, :, SHIFT:].flip(1))
    two = maps(*(each.descriptors.repeat(2, 1, 1, 1) for each in one))
    (alone,) = match_errors(one, wall(), num=7)
    for among in match_errors(two, wall(2), num=7):
        assert torch.equal(among, alone) and len(among) == 7


def test_an_unusable_descriptor_is_a_miss_and_nothing_seen_is_no_match(names):
    first, second = names[:, :, :WIDTH].clone(), names[:, :, SHIFT:].clone()
    first[:, 0] = torch.nan
    (errors,) = match_errors(maps(first, second), wall())
    assert errors.isinf().sum() == WIDTH - SHIFT and (errors[errors.isfinite()] == 0).all()
    second[:] = 0
    (errors,) = match_errors(maps(first, second), wall())
    assert errors.isinf().all() and len(errors)
    unseen = wall()
    unseen.depths[1][:] = 0
    assert match_errors(maps(first, second), unseen)[0].shape == (0,)
