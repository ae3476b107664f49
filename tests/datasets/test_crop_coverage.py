"""What the crop leaves, told by camera: a flat strip keeps far cars with the horizon's crop."""

from __future__ import annotations

import numpy as np
import pytest

from bevdepth_plus.datasets.crop_coverage import CameraCoverage, coverage_table, crop_coverage
from bevdepth_plus.datasets.nuscenes_dataset import NuScenesBEVDataset

WIDTH, HEIGHT = 160, 90  # of the images that write_sensor_files makes


def dataset(path, crop: str, final_dim: tuple[int, int]) -> NuScenesBEVDataset:
    pipeline = [
        {"type": "LoadMultiViewImages"},
        {"type": "ImageAugmentation", "final_dim": final_dim, "crop": crop},
        {"type": "LoadLidarPoints"},
    ]
    prefix = {"img": "", "pts": ""}
    return NuScenesBEVDataset(
        path.name, data_root=str(path.parent), data_prefix=prefix, pipeline=pipeline
    )


@pytest.fixture
def far_ahead(write_infos, write_sensor_files, infos):
    """A car and a pedestrian far ahead of the front camera in each of three samples."""
    write_sensor_files(infos)
    for info in infos:
        for instance in info["instances"]:
            instance["bbox_3d"][:3] = [0.0, 30.0, -1.0]
    return write_infos(infos)


def test_a_flat_strip_at_the_bottom_loses_what_is_far_away(far_ahead):
    counts = {}
    for crop in ("horizon", "bottom"):
        rows = crop_coverage(dataset(far_ahead, crop, (20, WIDTH)))
        counts[crop] = {row.name: row for row in rows}["CAM_FRONT"]
    assert counts["bottom"].boxes == counts["horizon"].boxes == 6
    assert (counts["bottom"].boxes_left, counts["horizon"].boxes_left) == (0, 6)
    assert counts["horizon"].points_left > 0


def test_the_whole_image_keeps_all(far_ahead):
    for row in crop_coverage(dataset(far_ahead, "horizon", (HEIGHT, WIDTH))):
        assert (row.boxes_left, row.points_left) == (row.boxes, row.points)


def test_asking_changes_no_random_number(far_ahead):
    np.random.seed(0)
    before = np.random.get_state()[1].copy()
    crop_coverage(dataset(far_ahead, "horizon", (20, WIDTH)))
    np.testing.assert_array_equal(np.random.get_state()[1], before)


def test_the_table_warns_of_a_camera_that_loses_most_of_its_boxes():
    rows = [CameraCoverage("FRONT", 84, 3, 1000, 700), CameraCoverage("REAR", 5, 0, 0, 0)]
    lines = coverage_table(rows).splitlines()
    assert lines[2].split() == ["FRONT", "84", "4", "%", "1000", "70", "%"]
    assert lines[3].split() == ["REAR", "5", "0", "%", "0", "-"]
    assert lines[4].startswith("Warning: the crop of FRONT leaves 3 of 84 box centres")
    assert len(lines) == 5


def test_a_dataset_of_another_kind_has_no_table():
    assert crop_coverage([1, 2, 3]) == []
