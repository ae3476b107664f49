"""Camera geometry for the pooling benchmark: a real nuScenes key frame, or constants like it."""

from __future__ import annotations

import math
import os
import pickle
from pathlib import Path

import torch
from torch import Tensor

from bevdepth_plus_ops import frustum_cells

CAMERAS = ("CAM_FRONT_LEFT", "CAM_FRONT", "CAM_FRONT_RIGHT", "CAM_BACK_LEFT", "CAM_BACK",
           "CAM_BACK_RIGHT")  # fmt: skip
# Height, width and resize factor of the network image; features are 16 times smaller.
IMAGES = {"256x704": (256, 704, 0.44), "640x1600": (640, 1600, 1.0)}


def key_frame_matrices() -> tuple[Tensor, Tensor] | None:
    """(ego_T_cam, intrinsics) of the shared key frame, or None where it is absent."""
    root = Path(os.environ.get("BEVDEPTH_PLUS_SHARED", Path(__file__).parents[2] / "shared"))
    infos = sorted((root / "nuscenes_keyframe").glob("*.pkl"))
    if not infos:
        return None
    with infos[0].open("rb") as file:
        sample = pickle.load(file)["data_list"][0]
    images = [sample["images"][name] for name in CAMERAS]
    lidar2ego = torch.tensor(sample["lidar_points"]["lidar2ego"], dtype=torch.float64)
    lidar2cam = torch.tensor([image["lidar2cam"] for image in images], dtype=torch.float64)
    intrinsics = torch.tensor([image["cam2img"] for image in images], dtype=torch.float64)
    return lidar2ego @ torch.linalg.inv(lidar2cam), intrinsics


def constant_matrices() -> tuple[Tensor, Tensor]:
    """Six cameras with the yaws, heights and focal lengths usual on nuScenes cars."""
    yaws = torch.deg2rad(torch.tensor([55.0, 0.0, -55.0, 110.0, 180.0, -110.0]).double())
    forward = torch.tensor([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]], dtype=torch.float64)
    ego_T_cam = torch.eye(4, dtype=torch.float64).repeat(6, 1, 1)
    intrinsics = torch.eye(3, dtype=torch.float64).repeat(6, 1, 1)
    for n, yaw in enumerate(yaws.tolist()):
        turn = torch.eye(3, dtype=torch.float64)
        turn[:2, :2] = torch.tensor(
            [[math.cos(yaw), -math.sin(yaw)], [math.sin(yaw), math.cos(yaw)]]
        )
        ego_T_cam[n, :3, :3] = turn @ forward
        ego_T_cam[n, :3, 3] = torch.tensor([1.0 + 0.7 * math.cos(yaw), 0.5 * math.sin(yaw), 1.5])
        focal = 809.0 if n == 4 else 1266.0
        intrinsics[n] = torch.tensor([[focal, 0, 816], [0, focal, 491], [0, 0, 1]])
    return ego_T_cam, intrinsics


def frustum_arguments(image: str, batch: int, device: str) -> tuple[tuple, dict, str]:
    """Arguments of `frustum_cells` for BEVDepth's bins and grid, and where they come from."""
    height, width, resize = IMAGES[image]
    found = key_frame_matrices()
    ego_T_cam, intrinsics = found or constant_matrices()
    image_aug = torch.diag(torch.tensor([resize, resize, 1.0], dtype=torch.float64))
    image_aug[0, 2] = -(1600 * resize - width) / 2
    image_aug[1, 2] = -(900 * resize - height)
    matrices = [m.to(device).repeat(batch, 1, 1, 1) for m in
                (ego_T_cam[None], intrinsics[None], image_aug.expand(1, 6, 3, 3))]  # fmt: skip
    matrices.append(torch.eye(4, dtype=torch.float64, device=device).repeat(batch, 1, 1))
    options = dict(
        u=((torch.arange(width // 16) + 0.5) * 16).to(device),
        v=((torch.arange(height // 16) + 0.5) * 16).to(device),
        depths=(2.25 + 0.5 * torch.arange(112)).to(device),
        lower=(-51.2, -51.2, -5.0), cell_size=(0.8, 0.8, 8.0), grid_size=(128, 128, 1),
    )  # fmt: skip
    source = "nuScenes key frame" if found else "constants like nuScenes"
    return tuple(matrices), options, source


def make_cells(image: str, batch: int, device: str) -> Tensor:
    """BEV cells [batch, 6, 112, H / 16, W / 16] on a 128 x 128 grid."""
    matrices, options, _ = frustum_arguments(image, batch, device)
    return frustum_cells(*matrices, **options)
