"""LiDAR files of any width, and what a wrong width looks like."""

from __future__ import annotations

import numpy as np
import pytest

from bevdepth_plus.datasets.sweeps import read_points
from bevdepth_plus.errors import DataError


def street(count: int = 6000) -> np.ndarray:
    """Points as a LiDAR sees them, [P, 6]: x, y, z, intensity (0 to 255), ring, time."""
    rng = np.random.default_rng(0)
    angle, distance = rng.uniform(-np.pi, np.pi, count), rng.gamma(2.0, 8.0, count)
    x, y, z = distance * np.cos(angle), distance * np.sin(angle), rng.normal(-1.2, 0.8, count)
    intensity, ring = rng.gamma(2.0, 12.0, count), np.arange(count) % 32
    points = np.stack([x, y, z, intensity, ring, np.linspace(0, 0.1, count)], axis=1)
    return points.astype(np.float32)


def test_a_missing_sweep_is_named(tmp_path):
    with pytest.raises(DataError, match="LiDAR file .*gone.bin does not exist"):
        read_points(str(tmp_path / "gone.bin"), 5)


@pytest.mark.parametrize("numbers", [0, 12])
def test_an_empty_sweep_or_one_cut_inside_a_point_is_named(tmp_path, numbers):
    np.zeros(numbers, np.float32).tofile(tmp_path / "cut.bin")
    with pytest.raises(DataError, match=f"cut.bin is truncated: {4 * numbers} bytes") as error:
        read_points(str(tmp_path / "cut.bin"), 5)
    assert "\n" not in str(error.value)


def test_points_that_are_not_finite_are_counted(tmp_path):
    points = np.ones((9, 5), np.float32)
    points[3, 1], points[5, 2] = np.nan, np.inf
    points.tofile(tmp_path / "nan.bin")
    with pytest.raises(DataError, match="LiDAR file .*nan.bin has 2 points that are not finite"):
        read_points(str(tmp_path / "nan.bin"), 5)


@pytest.mark.parametrize("width", [3, 4, 5, 6])
def test_a_sweep_read_with_its_own_width_is_accepted(tmp_path, width):
    points = street()[:, :width]
    np.ascontiguousarray(points).tofile(tmp_path / "a.bin")
    np.testing.assert_array_equal(read_points(str(tmp_path / "a.bin"), width), points)


# Points of 3 numbers read as 6 are every second point, with the right coordinates.
@pytest.mark.parametrize(
    ("width", "read_as"),
    [(w, r) for w in (3, 4, 5, 6) for r in (3, 4, 5, 6) if w != r and (w, r) != (3, 6)],
)
def test_a_sweep_read_with_another_width_is_refused(tmp_path, width, read_as):
    np.ascontiguousarray(street()[:, :width]).tofile(tmp_path / "a.bin")
    with pytest.raises(DataError, match=f"a.bin, read as {read_as} float32 a point, has") as error:
        read_points(str(tmp_path / "a.bin"), read_as)
    assert "num_pts_feats" in str(error.value) and "\n" not in str(error.value)


def test_float64_is_refused(tmp_path):
    street()[:, :5].astype(np.float64).tofile(tmp_path / "a.bin")
    with pytest.raises(DataError, match="a.bin, read as 5 float32 a point, has a coordinate of"):
        read_points(str(tmp_path / "a.bin"), 5)


def test_points_that_are_not_finite_can_be_dropped(tmp_path):
    points = np.concatenate([street(20)[:, :5], np.full((3, 5), np.nan, np.float32)])
    points.tofile(tmp_path / "nan.bin")
    kept = read_points(str(tmp_path / "nan.bin"), 5, drop_not_finite=True)
    np.testing.assert_array_equal(kept, points[:20])


def test_sweeps_of_other_data_sets_have_the_width_their_files_say(shared_dir):
    folder = shared_dir / "other_datasets"
    for name, width in (("kitti_000008/000008.bin", 4), ("waymo/training/velodyne/0000000.bin", 6)):
        assert len(read_points(str(folder / name), width)) > 500
    (nuscenes,) = (shared_dir / "nuscenes_keyframe").glob("*.bin")
    assert len(read_points(str(nuscenes), 5)) == 34_688
    with pytest.raises(DataError, match="read as 4 float32"):
        read_points(str(nuscenes), 4)
