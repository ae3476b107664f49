"""frustum_cells against explicit points in float64."""

from __future__ import annotations

import math

import pytest
import torch

from bevdepth_plus_ops import frustum_cells, frustum_cells_reference, frustum_points

BEV = dict(lower=(-51.2, -51.2, -5.0), cell_size=(0.8, 0.8, 8.0), grid_size=(128, 128, 1))


def rotation(axis: int, angle: float) -> torch.Tensor:
    i, j = [k for k in range(3) if k != axis]
    matrix = torch.eye(3, dtype=torch.float64)
    matrix[i, i] = matrix[j, j] = math.cos(angle)
    matrix[i, j], matrix[j, i] = -math.sin(angle), math.sin(angle)
    return matrix


def rig(batch: int = 2, cameras: int = 3, tilt: float = 0.02, device: str = "cpu"):
    """Cameras around a car, slightly tilted; each item has its own augmentations."""
    forward = torch.tensor([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]], dtype=torch.float64)
    ego_T_cam = torch.eye(4, dtype=torch.float64).repeat(batch, cameras, 1, 1)
    image_aug = torch.eye(3, dtype=torch.float64).repeat(batch, cameras, 1, 1)
    bev_aug = torch.eye(4, dtype=torch.float64).repeat(batch, 1, 1)
    intrinsics = torch.tensor([[1266.4, 0, 816.3], [0, 1266.4, 491.5], [0, 0, 1]]).double()
    for b in range(batch):
        bev_aug[b, :3, :3] = rotation(2, 0.3 * b) * (1 + 0.05 * b)
        bev_aug[b, 1] *= (-1) ** b  # a flip
        for n in range(cameras):
            turn = rotation(2, 2 * math.pi * n / cameras) @ rotation(0, tilt * n)
            ego_T_cam[b, n, :3, :3] = turn @ forward
            ego_T_cam[b, n, :3, 3] = torch.tensor([1.5, 0.2 * n, 1.6])
            image_aug[b, n, :2, :2] = 0.44 * rotation(2, 0.05 * b)[:2, :2]
            image_aug[b, n, :2, 2] = torch.tensor([3.0 * n, -140.0])
    intrinsics = intrinsics.repeat(batch, cameras, 1, 1)
    return tuple(m.to(device) for m in (ego_T_cam, intrinsics, image_aug, bev_aug))


def pixels(width: int = 22, height: int = 8, bins: int = 28, device: str = "cpu"):
    return dict(
        u=((torch.arange(width) + 0.5) * 32).to(device),
        v=((torch.arange(height) + 0.5) * 32).to(device),
        depths=(3.0 + 2 * torch.arange(bins)).to(device),
    )


def near_a_border(matrices, axes, margin: float = 1e-4) -> torch.Tensor:
    points = frustum_points(*(m.cpu() for m in matrices), **{k: v.cpu() for k, v in axes.items()})
    coordinates = (points - torch.tensor(BEV["lower"])) / torch.tensor(BEV["cell_size"])
    return ((coordinates - coordinates.round()).abs() < margin).any(-1)


@pytest.mark.parametrize("rounding", ["floor", "truncate"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_cells_match_explicit_points_away_from_borders(rounding, dtype, device):
    matrices = tuple(m.to(dtype) for m in rig(device=device))
    axes = pixels(device=device)
    got = frustum_cells(*matrices, **axes, **BEV, rounding=rounding).cpu()
    expected = frustum_cells_reference(*matrices, **axes, **BEV, rounding=rounding).cpu()
    unsure = near_a_border(matrices, axes)
    assert unsure.float().mean() < 0.01
    assert torch.equal(got[~unsure], expected[~unsure])
    inside = (got >= 0).float().mean()
    assert 0.1 < inside < 0.99


def test_truncation_only_adds_points_to_the_first_cells(device):
    matrices, axes = rig(device=device), pixels(device=device)
    floor = frustum_cells(*matrices, **axes, **BEV)
    truncate = frustum_cells(*matrices, **axes, **BEV, rounding="truncate")
    assert torch.equal(floor[floor >= 0], truncate[floor >= 0])
    assert (truncate >= 0).sum() > (floor >= 0).sum()


def test_cpu_and_cuda_give_the_same_bits(device):
    axes = pixels(width=44, height=16, bins=112)
    on_cpu = frustum_cells(*rig(), **axes, **BEV)
    there = {name: value.to(device) for name, value in axes.items()}
    assert torch.equal(frustum_cells(*rig(device=device), **there, **BEV).cpu(), on_cpu)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 1e38])
def test_wild_depths_lie_outside(value, device):
    axes = pixels(device=device)
    axes["depths"] = torch.full((3,), value, device=device)
    cells = frustum_cells(*rig(device=device), **axes, **BEV)
    assert (cells == -1).all()


def test_a_singular_camera_matrix_puts_all_points_outside(device):
    matrices = list(rig(device=device))
    matrices[1] = torch.zeros_like(matrices[1])
    assert (frustum_cells(*matrices, **pixels(device=device), **BEV) == -1).all()


def test_layers_above_each_other_share_their_bev_cell(device):
    matrices, axes = rig(device=device), pixels(device=device)
    layered = {**BEV, "cell_size": (0.8, 0.8, 1.0), "grid_size": (128, 128, 8)}
    assert torch.equal(
        frustum_cells(*matrices, **axes, **layered), frustum_cells(*matrices, **axes, **BEV)
    )


def test_no_camera_gives_no_cells(device):
    matrices = rig(device=device)
    cells = frustum_cells(
        *(m[:, :0] for m in matrices[:3]), matrices[3], **pixels(device=device), **BEV
    )
    assert cells.shape == (2, 0, 28, 8, 22)
