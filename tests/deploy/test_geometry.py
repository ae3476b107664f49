"""Geometry in numpy is the pooling op's, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bevdepth_plus.datasets.info_file import read_info_file
from bevdepth_plus.deploy.description import FrustumAxes
from bevdepth_plus.deploy.gather_index import gather_index
from bevdepth_plus.deploy.geometry import frustum_cells, pixel_to_grid
from bevdepth_plus.errors import DataError
from bevdepth_plus.geometry.cameras import Cameras
from bevdepth_plus.geometry.grid_axes import GridAxes
from bevdepth_plus.models.bev.frustum import Frustum

GRID = dict(x=(-51.2, 51.2, 0.8), y=(-40.0, 40.0, 0.8), z=(-5.0, 3.0, 8.0))
BINS = dict(start=2.0, stop=58.0, step=0.5)


def random_rig(count: int, seed: int) -> tuple[np.ndarray, ...]:
    """Intrinsics, poses and image augmentations that have nothing in common."""
    rng = np.random.default_rng(seed)
    K = np.tile(np.eye(3), (count, 1, 1))
    K[:, 0, 0], K[:, 1, 1] = rng.uniform(300, 2000, (2, count))
    K[:, 0, 2], K[:, 1, 2] = rng.uniform(200, 900, (2, count))
    pose = np.tile(np.eye(4), (count, 1, 1))
    turns = np.linalg.qr(rng.normal(size=(count, 3, 3)))[0]
    pose[:, :3, :3] = turns * np.linalg.det(turns)[:, None, None]
    pose[:, :3, 3] = rng.uniform(-2, 2, (count, 3))
    aug = np.tile(np.eye(3), (count, 1, 1))
    aug[:, :2, :2] = rng.uniform(-0.5, 0.5, (count, 2, 2)) + 0.4 * np.eye(2)
    aug[:, :2, 2] = rng.uniform(-200, 50, (count, 2))
    return K, pose, aug


def cells_of_both(rig: tuple[np.ndarray, ...], rounding: str, rays: str) -> list[np.ndarray]:
    frustum = Frustum(GRID, BINS, (256, 704), 16, rays=rays, rounding=rounding)
    K, pose, aug = (torch.tensor(matrix, dtype=torch.float32)[None] for matrix in rig)
    expected = frustum.cells(Cameras(K, pose, aug, torch.eye(4)[None]))[0].numpy()
    axes = FrustumAxes(
        *(tuple(axis.tolist()) for axis in (frustum.u, frustum.v, frustum.depths)), rounding
    )
    grid = GridAxes(**GRID)
    return [expected, frustum_cells(pixel_to_grid(*rig, grid), axes, grid)]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("rounding", "rays"), [("floor", "centres"), ("truncate", "corners")])
def test_cells_of_any_rig_are_the_ops(seed, rounding, rays):
    expected, found = cells_of_both(random_rig(7, seed), rounding, rays)
    assert (expected >= 0).any()
    np.testing.assert_array_equal(found, expected)


def test_cells_of_the_real_key_frame_are_the_ops(shared_dir):
    path = shared_dir / "nuscenes_keyframe" / "n015-2018-07-24-11-22-45+0800.pkl"
    (info,) = read_info_file(str(path))["data_list"]
    images = list(info["images"].values())
    K = np.stack([np.array(image["cam2img"])[:3, :3] for image in images])
    lidar_T_cam = np.stack([np.linalg.inv(np.array(image["lidar2cam"])) for image in images])
    pose = np.array(info["lidar_points"]["lidar2ego"]) @ lidar_T_cam
    aug = np.tile(np.array([[0.44, 0, 0], [0, 0.44, -140], [0, 0, 1]]), (len(K), 1, 1))
    expected, found = cells_of_both((K, pose, aug), "floor", "centres")
    assert found.size == 6 * 112 * 16 * 44
    np.testing.assert_array_equal(found, expected)


def test_a_camera_without_an_image_has_no_point_in_the_grid():
    K, pose, aug = random_rig(2, 0)
    grid = GridAxes(**GRID)
    matrix = pixel_to_grid(np.full_like(K, np.nan), pose, aug, grid)
    axes = FrustumAxes((8.0, 24.0), (8.0,), (2.0, 10.0), "floor")
    assert (frustum_cells(matrix, axes, grid) == -1).all()


def test_unequal_numbers_of_matrices_are_refused_with_their_names():
    K, pose, aug = random_rig(3, 0)
    with pytest.raises(DataError, match=r"intrinsics are of \(2,\) cameras, ego_T_cam of \(3,\)"):
        pixel_to_grid(K[:2], pose, aug, GridAxes(**GRID))
    with pytest.raises(DataError, match=r"ego_T_cam must be \[..., N, 4, 4\], got \(3, 3, 3\)"):
        pixel_to_grid(K, pose[:, :3, :3], aug, GridAxes(**GRID))


def test_every_point_of_a_cell_is_in_exactly_one_run_of_the_gather_index():
    """The index arrays, read back: every point's cell is that of the run it lies in."""
    expected, cells = cells_of_both(random_rig(3, 1), "floor", "centres")
    rows, columns = GridAxes(**GRID).bev_size
    index = gather_index(cells, rows * columns)
    lists = [index[name] for name in ("rows_1", "rows_4", "rows_16", "rows_all")]
    none = index["first_bin"].shape[0] * index["first_bin"].shape[1]
    run_cell = np.full(none + 1, -1)
    row_of = {row: cell for cell, row in enumerate(index["cell_rows"])}
    row = 0
    for runs in lists:
        for one in runs:
            for run in one[one < none]:
                assert run_cell[run] == -1  # no run is added twice
                run_cell[run] = row_of[row]
            row += 1
    found = np.full(expected.transpose(0, 3, 1, 2).reshape(-1, 112, 16).shape, -1)
    for (column, slot, h), first in np.ndenumerate(index["first_bin"]):
        last = index["last_bin"][column, slot, h]
        if last > first:
            found[column, first:last, h] = run_cell[column * index["first_bin"].shape[1] + slot]
    shape = (expected.shape[0], expected.shape[3], *expected.shape[1:3])
    np.testing.assert_array_equal(found.reshape(shape).transpose(0, 2, 3, 1), expected)
