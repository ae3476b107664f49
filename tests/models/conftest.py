"""A detector small enough to train a step in a fraction of a second, and batches for it."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from mmdet3d.registry import MODELS
from mmdet3d.structures import Det3DDataSample, LiDARInstance3DBoxes
from mmdet3d.utils import register_all_modules
from mmengine.structures import InstanceData
from torch.utils._python_dispatch import TorchDispatchMode

import bevdepth_plus.plugin  # noqa: F401
from bevdepth_plus.official.config import model_config

SMALL = dict(
    context=8,
    final_dim=(64, 96),
    cell=3.2,
    d_bound=(2.0, 34.0, 2.0),
    depth=18,
    base=8,
    neck_in=[8, 16, 32, 64],
    neck=8,
    mid=16,
    sweeps=1,
    bev_base=16,
    bev_neck=8,
)


@pytest.fixture(scope="session")
def small_config():
    """``small_config(frames)``: our own options, none of the public code's quirks."""
    register_all_modules()

    def build(frames: int = 1) -> dict:
        from bevdepth_plus.classes import CLASSES

        config = copy.deepcopy(model_config({**SMALL, "sweeps": frames}))
        config["depth_bins"].pop("plane")
        config["depth"]["depth_net"].pop("image_level_norm")
        config["depth"].pop("key_cameras_for_past")
        config["view_transform"] = dict(type="LiftSplat")
        config["heads"]["boxes"]["classes"] = CLASSES
        config["data_preprocessor"] = dict(
            type="MultiViewPreprocessor", mean=(120.0, 120.0, 120.0), std=(60.0, 60.0, 60.0)
        )
        return config

    return build


@pytest.fixture
def small_model(small_config):
    def build(frames: int = 1):
        torch.manual_seed(0)
        model = MODELS.build(small_config(frames))
        model.init_weights()
        return model

    return build


class HostWaits(TorchDispatchMode):
    """Collects the operators for which a GPU and its host would wait for each other.

    Values read back, masks turned into indices, and tensors made of Python numbers, which would be
    copied to the device.
    """

    names = ("_local_scalar_dense", "nonzero", "masked_select", "lift_fresh", "equal", "bincount")

    def __init__(self) -> None:
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        by_mask = name.startswith("index") and any(
            index is not None and index.dtype in (torch.bool, torch.uint8)
            for index in (args[1] if isinstance(args[1], (list, tuple)) else ())
        )
        if name in self.names or by_mask:
            self.found.append(name)
        return func(*args, **(kwargs or {}))


@pytest.fixture
def host_waits() -> type[HostWaits]:
    return HostWaits


def forward_camera(yaw: float = 0.0) -> np.ndarray:
    """``ego_T_cam`` of a camera 1.5 m up that looks along ``yaw``."""
    level = np.array([[0.0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 1.5], [0, 0, 0, 1]])
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]]
    return turn @ level


@pytest.fixture
def make_batch():
    """``make_batch(batch, cameras, frames, objects)``: what the loader hands to the model."""

    def make(batch: int = 1, cameras: int = 1, frames: int = 1, objects: int = 2) -> dict:
        rng = np.random.default_rng(0)
        intrinsics = np.array([[60.0, 0, 48], [0, 60, 32], [0, 0, 1]])
        poses = np.stack([forward_camera(2 * np.pi * i / cameras) for i in range(cameras)])
        inputs = dict(img=[], depth=[])
        samples = []
        for index in range(batch):
            image = rng.integers(0, 255, (frames * cameras, 3, 64, 96), dtype=np.uint8)
            depth = rng.uniform(0, 30, (cameras, 64, 96)).astype(np.float32)
            inputs["img"].append(torch.from_numpy(image))
            inputs["depth"].append(torch.from_numpy(depth))
            sample = Det3DDataSample(
                metainfo=dict(
                    token=f"sample-{index}",
                    intrinsics=np.tile(intrinsics, (frames, cameras, 1, 1)),
                    ego_T_cam=np.tile(poses, (frames, 1, 1, 1)),
                    image_aug=np.tile(np.eye(3), (frames, cameras, 1, 1)),
                    bev_aug=np.eye(4),
                    box_type_3d=LiDARInstance3DBoxes,
                )
            )
            boxes = np.tile([10.0, 1.0, 0.5, 4.0, 2.0, 1.5, 0.1, 0.0, 0.0], (objects, 1))
            boxes[:, 0] += np.arange(objects)
            sample.gt_instances_3d = InstanceData(
                bboxes_3d=LiDARInstance3DBoxes(
                    torch.from_numpy(boxes).float(), box_dim=9, origin=(0.5, 0.5, 0.5)
                ),
                labels_3d=torch.arange(objects) % 10,
            )
            samples.append(sample)
        return dict(inputs=inputs, data_samples=samples)

    return make
