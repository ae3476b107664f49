from __future__ import annotations

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from bevdepth_plus.datasets.transforms.map_layers import LoadMapLayers
from bevdepth_plus.errors import DataError

GRID = dict(x=(-8.0, 8.0, 1.0), y=(-4.0, 4.0, 1.0), z=(-5.0, 3.0, 8.0))
SIZE = 400  # mask pixels of 0.1 m to each side


def results_of(path, position=(20.0, 20.0), yaw=0.0, bev_aug=None) -> dict:
    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_euler("z", yaw).as_matrix()
    pose[:2, 3] = position
    return dict(
        token="here",
        ego2global=pose,
        bev_aug=np.eye(4) if bev_aug is None else bev_aug,
        map_layer_paths=dict(road=str(path)),
    )


@pytest.fixture
def draw(tmp_path):
    """``draw(x0, x1, y0, y1)``: a mask that is set in that box of global metres."""

    def make(x0, x1, y0, y1):
        mask = np.zeros((SIZE, SIZE), np.uint8)
        rows = slice(SIZE - round(10 * y1), SIZE - round(10 * y0))  # y upwards
        mask[rows, round(10 * x0) : round(10 * x1)] = 255
        path = tmp_path / f"{x0}-{x1}-{y0}-{y1}.png"
        cv2.imwrite(str(path), mask)
        return path

    return make


def layer(path, kind="area", **pose) -> np.ndarray:
    return LoadMapLayers(GRID, dict(road=kind)).transform(results_of(path, **pose))["map_layers"][0]


def filled(cells: np.ndarray) -> set[tuple[int, int]]:
    return {tuple(cell) for cell in np.argwhere(cells == 1).tolist()}


def test_a_patch_ahead_to_the_left_fills_the_cell_there(draw):
    # 3 to 4 m ahead and 1 to 2 m to the left of a vehicle at (20, 20) that looks along x.
    assert filled(layer(draw(23, 24, 21, 22))) == {(5, 11)}


def test_it_turns_with_the_vehicle(draw):
    # Looking along y, ahead is +y and left is -x.
    assert filled(layer(draw(18, 19, 23, 24), yaw=np.pi / 2)) == {(5, 11)}


def test_it_is_mirrored_with_the_bev_frame(draw):
    mirror = np.diag([1.0, -1.0, 1.0, 1.0])
    assert filled(layer(draw(23, 24, 21, 22), bev_aug=mirror)) == {(2, 11)}


@pytest.mark.parametrize(("kind", "expected"), [("area", set()), ("line", {(4, 11)})])
def test_a_thin_line_fills_cells_as_a_line_but_not_as_an_area(draw, kind, expected):
    assert filled(layer(draw(23, 24, 20.4, 20.6), kind)) == expected


def test_half_a_cell_is_enough_for_an_area(draw):
    assert filled(layer(draw(23, 24, 20.0, 20.6))) == {(4, 11)}


def test_beyond_the_mask_cells_are_unknown(draw):
    cells = layer(draw(0, 1, 0, 1), position=(2.0, 20.0))
    assert (cells[:, :6] == 255).all() and (cells[:, 6:] == 0).all()


def test_a_layer_that_the_sample_lacks_is_named(draw):
    with pytest.raises(DataError, match="sample here has no map layer 'lane'"):
        LoadMapLayers(GRID, dict(lane="line")).transform(results_of(draw(0, 1, 0, 1)))


def test_a_mask_that_is_missing_or_broken_is_named(tmp_path):
    with pytest.raises(DataError, match="gone.png does not exist"):
        layer(tmp_path / "gone.png")
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    with pytest.raises(DataError, match="broken.png is not a picture"):
        layer(broken)


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="must be one of .*'area', 'line'.*, got 'point'"):
        LoadMapLayers(GRID, dict(road="point"))
