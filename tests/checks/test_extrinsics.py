"""Extrinsics from images: pairs of a data set, a network that knows the scene, and the words."""

from __future__ import annotations

import pickle
import runpy
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from torch import nn

from bevdepth_plus.checks.extrinsics import ExtrinsicCheck, check_extrinsics
from bevdepth_plus.datasets.create_infos import create_info_files
from bevdepth_plus.datasets.transforms.dense_depth import (
    depth_picture_path,
    read_depth,
    warp_nearest,
)
from bevdepth_plus.errors import DataError
from bevdepth_plus.geometry.depth_maps import depth_map_points
from bevdepth_plus.geometry.rigid import transform_points
from bevdepth_plus.pointmaps.calibration_pairs import (
    PairSettings,
    choose_pairs,
    match_pairs,
    one_calibration,
)
from bevdepth_plus.pointmaps.checkpoints import save_model
from bevdepth_plus.pointmaps.drives import Drive, drives_of_file
from bevdepth_plus.pointmaps.extrinsic_error import CameraError, ExtrinsicErrors
from bevdepth_plus.pointmaps.heads import Pointmap
from bevdepth_plus.pointmaps.images import load_image
from bevdepth_plus.pointmaps.pair_cache import content_key
from bevdepth_plus.pointmaps.two_view import TwoViewConfig, TwoViewModel

TOOL = Path(__file__).parents[2] / "tools" / "check_calibration.py"
SETTINGS = PairSettings(num=4, long_side=160, subsample=8)
WRONG = "CAM_FRONT_RIGHT"


class Oracle(nn.Module):
    """A network that knows the scene: a pixel's descriptor says which point of the world it is."""

    config = TwoViewConfig(descriptor_dim=64)

    def __init__(self, drives: list[Drive]) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.waves = 2.0 * torch.randn(3, 32, generator=generator)  # a point is 0.5 m wide
        self.maps = {}
        for shot in (shot for drive in drives for shot in drive.shots):
            image = load_image(shot.path, SETTINGS.long_side, upright=False)
            exact = read_depth(depth_picture_path(str(shot.path), "depth"), 0.01)
            depth = torch.from_numpy(warp_nearest(exact, image.image_aug.numpy(), image.size))
            matrix = image.image_aug @ torch.from_numpy(shot.intrinsics).float()
            points = depth_map_points(depth[None, None], matrix[None])[0].flatten(0, 1).double()
            world = transform_points(torch.from_numpy(shot.global_T_cam), points)
            self.maps[content_key(image.pixels)] = self.pointmap(world, depth)

    def pointmap(self, world: torch.Tensor, depth: torch.Tensor) -> Pointmap:
        phase = (world - world.new_tensor([400.0, 400.0, 0.0])) @ self.waves.double()
        values = torch.cat([phase.cos(), phase.sin()], dim=1).float() / 32**0.5
        values = torch.where(depth.flatten()[:, None] > 0, values, 0.0)
        ones = torch.ones(1, *depth.shape)
        return Pointmap(
            world.float().view(1, *depth.shape, 3), ones, values.view(1, *depth.shape, -1), ones
        )

    def symmetric(self, images1: torch.Tensor, images2: torch.Tensor) -> tuple[Pointmap, ...]:
        a, b = (self.maps[content_key(images[0])] for images in (images1, images2))
        return a, b, b, a


@pytest.fixture
def infos(synthetic_root, tmp_path) -> Path:
    root = shutil.copytree(synthetic_root, tmp_path / "root")
    return create_info_files(root, "v1.0-mini", progress=False)[0]


def turn_camera(infos: Path, degrees: float) -> None:
    """State another yaw for one camera than the images were taken with."""
    content = pickle.loads(infos.read_bytes())
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("z", -degrees, degrees=True).as_matrix()
    for info in content["data_list"]:
        camera = info["images"][WRONG]
        stated = np.array(camera["cam2ego"])
        turned = stated.copy()
        turned[:3, :3] = matrix[:3, :3] @ stated[:3, :3]
        camera["cam2ego"] = turned.tolist()
    infos.write_bytes(pickle.dumps(content))


def test_a_camera_that_is_stated_wrong_is_found_from_images(infos):
    model = Oracle(drives_of_file(infos))
    right = check_extrinsics(infos, model, SETTINGS)
    turn_camera(infos, 3.0)
    found = check_extrinsics(infos, model, SETTINGS)
    index = found.cameras.index(WRONG)
    change = found.errors.cameras[index].rotation - right.errors.cameras[index].rotation
    np.testing.assert_allclose(change, [0, 0, 3.0], atol=0.4)
    assert [line.split(":")[0] for line in found.problems()] == [WRONG]
    assert "yaw is off by +" in found.problems()[0]
    assert WRONG in found.table() and f"{found.pairs} image pairs" in found.table()


def test_pairs_are_of_one_camera_over_time_and_of_neighbours_at_one_moment(infos):
    drives = drives_of_file(infos)
    pairs = choose_pairs(drives, PairSettings(num=2))
    over_time = [pair for pair in pairs if pair.cameras[0] == pair.cameras[1]]
    assert {pair.cameras[0] for pair in over_time} == set(range(6))
    for pair in over_time:
        before, after = (shot.global_T_cam[:3, 3] for shot in pair.shots)
        assert 0.5 <= np.linalg.norm(after - before) <= 8
    beside = [pair for pair in pairs if pair.cameras[0] != pair.cameras[1]]
    assert len(beside) >= 6
    with pytest.raises(DataError, match="no two images to match"):
        one = replace(drives[0], shots=tuple(replace(s, path=None) for s in drives[0].shots))
        choose_pairs([one], SETTINGS)


def test_drives_of_another_calibration_are_left_out(infos):
    (drive, *_) = drives_of_file(infos)
    moved = [replace(shot, ego_T_cam=shot.ego_T_cam + 0.01) for shot in drive.shots]
    other = replace(drive, shots=tuple(moved))
    assert one_calibration([drive, other, drive]) == [drive, drive]


def test_a_network_without_descriptors_is_refused():
    class Blind(nn.Module):
        config = TwoViewConfig()

    with pytest.raises(DataError, match="no descriptors"):
        match_pairs(Blind(), [], SETTINGS)


def test_what_nothing_shows_is_a_dash_and_no_problem():
    seen = np.array([True] * 5 + [False])
    error = CameraError(
        np.array([0.1, 1.0, 0.0]),
        np.full(3, 0.05),
        np.array([0, 0, 0.5]),
        np.full(3, 0.01),
        seen,
        120,
    )
    check = ExtrinsicCheck(("CAM",), ExtrinsicErrors((error,), 0.4), 2, 1, 9)
    (line,) = check.problems()
    assert line.startswith("CAM: pitch is off by +1.00 +- 0.05 degrees: turn and move")
    row = next(row for row in check.table().splitlines() if row.strip().startswith("CAM "))
    assert "+1.00 +- 0.05" in row and "+0.50" not in row and "-" in row
    assert "1 drives have other extrinsics" in check.table()


def run_tool(monkeypatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["check_calibration.py", *map(str, arguments)])
    runpy.run_path(str(TOOL))["main"]()


def test_the_tool_refuses_rig_files_and_weights_without_descriptors(infos, tmp_path, monkeypatch):
    rig = tmp_path / "rig.yaml"
    rig.write_text("cameras: {}\n")
    with pytest.raises(DataError, match="give an info file, no rig file"):
        run_tool(monkeypatch, rig, "--pointmaps", "any.pth")
    with pytest.raises(DataError, match="--pairs must be 1 or more"):
        run_tool(monkeypatch, infos, "--pairs", 0)
    weights = tmp_path / "linear.pth"
    small = dict(encoder_dim=16, encoder_depth=1, encoder_heads=1)
    small |= dict(decoder_dim=16, decoder_depth=1, decoder_heads=1, head="linear")
    save_model(TwoViewModel(TwoViewConfig(**small)), weights)
    with pytest.raises(DataError, match="no descriptors"):
        run_tool(monkeypatch, infos, "--pointmaps", weights)
