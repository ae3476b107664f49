from __future__ import annotations

import pytest
import torch

from bevdepth_plus.geometry.cameras import CameraRig, Cameras
from bevdepth_plus.models.bev.plan_cache import PlanCache
from bevdepth_plus_ops import bev_pool

BEV_SIZE = (4, 5)


@pytest.fixture
def lifted():
    generator = torch.Generator().manual_seed(0)
    depth = torch.rand(1, 1, 3, 2, 2, generator=generator)
    context = torch.randn(1, 1, 6, 2, 2, generator=generator)
    return depth, context


class Cells:
    """Cells that depend on the camera's focal length, and how often they were asked for."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, cameras: Cameras) -> torch.Tensor:
        self.calls += 1
        first = int(cameras.intrinsics[0, 0, 0, 0])
        return (torch.arange(12, dtype=torch.int32) + first).view(1, 1, 3, 2, 2) % 20


def cameras_of(focal: float) -> Cameras:
    meta = dict(
        intrinsics=torch.diag(torch.tensor([focal, focal, 1.0])).expand(1, 1, 3, 3),
        ego_T_cam=torch.eye(4).expand(1, 1, 4, 4),
        image_aug=torch.eye(3).expand(1, 1, 3, 3),
        bev_aug=torch.eye(4),
    )
    return CameraRig.from_metainfo([meta]).moment(0)


def test_with_a_plan_the_sums_are_the_same_bits(lifted):
    cells, cache = Cells(), PlanCache(BEV_SIZE)
    expected = bev_pool(*lifted, cells(cameras_of(3.0)), BEV_SIZE)
    for _ in range(3):
        assert torch.equal(cache.pool(*lifted, cameras_of(3.0), cells), expected)


def test_cells_of_a_rig_that_does_not_change_are_computed_twice_and_no_more(lifted):
    cells, cache = Cells(), PlanCache(BEV_SIZE)
    for _ in range(5):
        cache.pool(*lifted, cameras_of(3.0), cells)
    assert cells.calls == 2


def test_a_new_rig_counts_at_once(lifted):
    cells, cache = Cells(), PlanCache(BEV_SIZE)
    for focal in (3.0, 3.0, 3.0, 4.0, 4.0, 3.0):
        found = cache.pool(*lifted, cameras_of(focal), cells)
        assert torch.equal(found, bev_pool(*lifted, Cells()(cameras_of(focal)), BEV_SIZE))


def test_cameras_without_a_fingerprint_never_meet_an_old_plan(lifted):
    cells, cache = Cells(), PlanCache(BEV_SIZE)
    known = cameras_of(3.0)
    cache.pool(*lifted, known, cells)
    cache.pool(*lifted, known, cells)
    unknown = Cameras(2 * known.intrinsics, known.ego_T_cam, known.image_aug, known.bev_aug)
    found = cache.pool(*lifted, unknown, cells)
    assert torch.equal(found, bev_pool(*lifted, Cells()(unknown), BEV_SIZE))
