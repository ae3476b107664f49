"""While the ego vehicle drives and turns, what stands still stays in its BEV cell.

Objects of the synthetic scenes that do not move are projected into the cameras of the key frame
and of the one before by the data set's own poses, each camera's at its own shot. A pixel there,
sure of its depth, must fill the object's cell in both BEV maps.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import bevdepth_plus.models  # noqa: F401
from bevdepth_plus.datasets.create_infos import create_info_files
from bevdepth_plus.datasets.info_file import read_info_file
from bevdepth_plus.datasets.nuscenes_dataset import NuScenesBEVDataset
from bevdepth_plus.datasets.transforms import BEVAugmentation, ImageAugmentation
from bevdepth_plus.datasets.transforms.load_images import LoadMultiViewImages
from bevdepth_plus.geometry.cameras import CameraRig, Cameras
from bevdepth_plus.geometry.depth_bins import DepthBins
from bevdepth_plus.models.bev.view_transform import LiftSplat

BINS = DepthBins(2.0, 58.0, 0.5)
IMAGE_SIZE, STRIDE, CELL, REACH = (64, 160), 2, 0.8, 51.2
# Farther off, half a feature cell (one pixel of about 120 px focal length) is wider than half a
# BEV cell.
FARTHEST = 40.0  # metres
AUGMENTED = [
    LoadMultiViewImages(),
    ImageAugmentation(IMAGE_SIZE, scale=(0.9, 1.2)),
    BEVAugmentation(),
]
PLAIN = [LoadMultiViewImages(), ImageAugmentation(IMAGE_SIZE, training=False)]


@pytest.fixture(scope="module")
def view() -> LiftSplat:
    grid = dict(x=(-REACH, REACH, CELL), y=(-REACH, REACH, CELL), z=(-5.0, 3.0, 8.0))
    bins = dict(start=BINS.start, stop=BINS.stop, step=BINS.step)
    return LiftSplat(grid=grid, depth_bins=bins, image_size=IMAGE_SIZE, stride=STRIDE)


@pytest.fixture(scope="module")
def info_files(synthetic_root: Path, tmp_path_factory) -> list[Path]:
    folder = tmp_path_factory.mktemp("infos")
    return create_info_files(synthetic_root, "v1.0-mini", folder, progress=False)


def standing(info: dict) -> dict[str, np.ndarray]:
    """Global positions of what stands still, by instance."""
    return {
        item["instance_token"]: np.array(item["global_box"]["translation"])
        for item in info["instances"]
        if np.hypot(*item["velocity"]) < 0.05
    }


def pixel_and_depth(info: dict, camera: str, position: np.ndarray) -> tuple[np.ndarray, float]:
    """Where a camera sees a global position; straight from the poses in the file."""
    image = info["images"][camera]
    global_T_cam = np.array(image["ego2global"]) @ np.array(image["cam2ego"])
    in_camera = (np.linalg.inv(global_T_cam) @ [*position, 1.0])[:3]
    pixel = np.array(image["cam2img"]) @ in_camera
    return pixel[:2] / max(pixel[2], 1e-6), in_camera[2]


def peak(view: LiftSplat, camera: Cameras, cell: np.ndarray, depth: float):
    """The BEV cell (y, x) that a feature cell (u, v) sure of its depth fills, or None."""
    shape = (1, 1, BINS.num_bins, len(view.frustum.v), len(view.frustum.u))
    one_hot = torch.zeros(shape)
    one_hot[0, 0, BINS.index(torch.tensor(depth)), cell[1], cell[0]] = 1.0
    filled = view(one_hot, torch.ones(1, 1, 1, *shape[3:]), camera)[0, 0].nonzero()
    return filled[0].numpy() if len(filled) else None


def one_camera(cameras: Cameras, index: int) -> Cameras:
    pick = slice(index, index + 1)
    return Cameras(
        cameras.intrinsics[:, pick],
        cameras.ego_T_cam[:, pick],
        cameras.image_aug[:, pick],
        cameras.bev_aug,
    )


def peak_of(view: LiftSplat, sample: dict, rig: CameraRig, frame: int, info: dict, position):
    """The cell that the first camera to see this position at that moment fills, or None."""
    for index, camera in enumerate(sample["cam_names"]):
        pixel, depth = pixel_and_depth(info, camera, position)
        pixel = (sample["image_aug"][frame, index] @ [*pixel, 1.0])[:2]
        inside = (pixel >= 0).all() and (pixel < IMAGE_SIZE[::-1]).all()
        if inside and 2 <= depth < FARTHEST:
            cell = (pixel // STRIDE).astype(int)
            return peak(view, one_camera(rig.moment(frame), index), cell, depth)
    return None


def pairs_of_peaks(view, path: Path, root: Path, transforms, aligned: bool = True):
    """For each standing object seen at both moments its cell then and now, and its true one."""
    infos = {info["token"]: info for info in read_info_file(path)["data_list"]}
    dataset = NuScenesBEVDataset(str(path), data_root=str(root), num_frames=2, test_mode=True)
    for index in range(len(dataset)):
        sample = dataset.get_data_info(index)
        info, past = infos[sample["token"]], infos.get(infos[sample["token"]]["prev"])
        assert sample["frame_mask"].tolist() == [True, past is not None]
        if past is None:
            continue
        np.random.seed(index)
        for transform in transforms:
            sample = transform(sample)
        rig = CameraRig.from_metainfo([sample])
        if not aligned:  # the past as if the vehicle had not moved since
            unmoved = dataset.get_data_info(index - 1)["ego_T_cam"][0]
            poses = np.stack([sample["ego_T_cam"][0], unmoved])
            rig = replace(rig, ego_T_cam=torch.from_numpy(poses[None]).float())
        to_bev = sample["bev_aug"] @ np.linalg.inv(np.array(info["ego2global"]))
        for position in standing(info).values():
            x, y = (to_bev @ [*position, 1.0])[:2]
            now = peak_of(view, sample, rig, 0, info, position)
            then = peak_of(view, sample, rig, 1, past, position)
            if now is not None and then is not None:
                yield then, now, np.floor((np.array([y, x]) + REACH) / CELL)


def apart(cells, others) -> np.ndarray:
    return np.abs(np.array(cells) - np.array(others)).max(axis=1)


@pytest.mark.parametrize("transforms", [PLAIN, AUGMENTED], ids=["plain", "augmented"])
def test_a_standing_object_stays_in_its_cell(view, info_files, synthetic_root, transforms):
    found = [
        p for path in info_files for p in pairs_of_peaks(view, path, synthetic_root, transforms)
    ]
    then, now, truth = zip(*found, strict=True)
    assert len(found) > 50
    assert apart(then, now).max() <= 1
    assert apart(now, truth).max() <= 1 and apart(then, truth).max() <= 1


def test_without_alignment_it_moves(view, info_files, synthetic_root):
    found = [
        p
        for path in info_files
        for p in pairs_of_peaks(view, path, synthetic_root, PLAIN, aligned=False)
    ]
    then, now, truth = zip(*found, strict=True)
    assert apart(now, truth).max() <= 1
    assert np.median(apart(then, now)) >= 2


def test_the_vehicle_drives_and_turns_in_these_scenes(info_files):
    turns = []
    for path in info_files:
        poses = [np.array(info["ego2global"]) for info in read_info_file(path)["data_list"]]
        for before, after in zip(poses, poses[1:], strict=False):
            moved = np.linalg.inv(before) @ after
            assert np.hypot(*moved[:2, 3]) > CELL
            turns.append(np.degrees(abs(np.arctan2(moved[1, 0], moved[0, 0]))))
    assert max(turns) > 1.0
