"""What the one door of info files makes sure of: units, tokens, 3x3 intrinsics, plain data."""

from __future__ import annotations

import copy
import os
import pickle

import numpy as np
import pytest

from bevdepth_plus.datasets.info_file import read_info_file
from bevdepth_plus.datasets.sample_record import parse_sample
from bevdepth_plus.datasets.standard_layout import pinhole_with_baseline, seconds
from bevdepth_plus.errors import DataError

CAMERAS = ["CAM_FRONT", "CAM_BACK"]


def parse(info: dict) -> dict:
    return parse_sample(
        info, CAMERAS, {n: n for n in range(-1, 10)}, dict.fromkeys(CAMERAS, ""), ""
    )


def with_baseline(info: dict, baseline: np.ndarray) -> dict:
    """As KITTI writes it: matrices to a reference camera, the step from it in the projection."""
    info = copy.deepcopy(info)
    for camera in info["images"].values():
        projection = np.eye(4)
        projection[:3, :3] = camera["cam2img"]
        projection[:3, 3] = projection[:3, :3] @ baseline
        step = np.eye(4)
        step[:3, 3] = baseline
        camera["lidar2cam"] = (np.linalg.inv(step) @ camera["lidar2cam"]).tolist()
        camera["cam2ego"] = (camera["cam2ego"] @ step).tolist()
        camera["cam2img"] = projection.tolist()
    return info


def test_the_fourth_column_of_a_projection_is_a_step_between_cameras(write_infos, infos):
    shifted = [with_baseline(info, np.array([-0.54, 0.02, 0.003])) for info in infos]
    record = parse(read_info_file(write_infos(shifted))["data_list"][0])
    plain = parse(read_info_file(write_infos(infos))["data_list"][0])
    for key in ("intrinsics", "ego_T_cam", "global_T_cam"):
        np.testing.assert_allclose(record[key], plain[key], atol=1e-9)


@pytest.mark.parametrize("rows", [3, 4])
def test_a_projection_is_split_without_loss(rows):
    intrinsics = np.array([[700.0, 0, 600], [0, 710, 170], [0, 0, 1]])
    step = np.array([0.06, -0.2, 0.003])
    projection = np.vstack([np.column_stack([intrinsics, intrinsics @ step]), [0, 0, 0, 1]])[:rows]
    found, offset = pinhole_with_baseline(projection.tolist(), "cam2img")
    np.testing.assert_allclose(found, intrinsics)
    np.testing.assert_allclose(offset, step, atol=1e-12)


def test_a_projection_with_another_last_row_is_refused():
    matrix = np.eye(4) * 500
    with pytest.raises(DataError, match="cam2img: the last row must be 0 0 0 1"):
        pinhole_with_baseline(matrix, "cam2img")


@pytest.mark.parametrize("unit", [1, 1e3, 1e6, 1e9])
def test_a_time_since_1970_says_its_unit_by_its_size(unit):
    assert seconds(1_532_402_927.647951 * unit, "t") == pytest.approx(1_532_402_927.647951)


def test_a_time_that_is_no_number_is_refused():
    for value in ("now", None, float("nan"), [1.0]):
        with pytest.raises(DataError, match="timestamp"):
            seconds(value, "sample a: timestamp")


def test_microseconds_are_seconds_for_every_reader(write_infos, infos):
    for info in infos:
        info["timestamp"] = (info["timestamp"] + 1.5e9) * 1e6
        for camera in info["images"].values():
            camera["timestamp"] = info["timestamp"] + 20_000
    first = read_info_file(write_infos(infos))["data_list"][0]
    assert first["timestamp"] == pytest.approx(1.5e9 + 100)
    camera = first["images"]["CAM_FRONT"]
    assert camera["timestamp"] - first["timestamp"] == pytest.approx(0.02, abs=1e-6)


def test_two_samples_with_one_token_are_refused(write_infos, infos):
    infos[2]["token"] = "a"
    with pytest.raises(
        DataError, match=r"data_list\[0\] and data_list\[2\] have the same token 'a'"
    ):
        read_info_file(write_infos(infos))


def test_numbers_as_tokens_are_texts_everywhere(write_infos, infos):
    for number, info in enumerate(infos):
        info.update(token=number, prev=number - 1 if number else None, scene_token=7)
    read = read_info_file(write_infos(infos))["data_list"]
    assert [(info["token"], info.get("prev"), info["scene_token"]) for info in read] == [
        ("0", None, "7"), ("1", "0", "7"), ("2", "1", "7"),
    ]  # fmt: skip


def test_a_vehicle_without_lidar_has_its_boxes_in_the_ego_frame(write_infos, infos):
    for info in infos:
        del info["lidar_points"]
    record = parse(read_info_file(write_infos(infos))["data_list"][0])
    assert record["lidar_path"] is None
    np.testing.assert_array_equal(record["lidar2ego"], np.eye(4))


def test_an_empty_lidar_path_is_no_sweep(write_infos, infos):
    infos[0]["lidar_points"]["lidar_path"] = ""
    first = read_info_file(write_infos(infos))["data_list"][0]
    assert parse(first)["lidar_path"] is None
    assert first["lidar_points"]["lidar2ego"] == infos[0]["lidar_points"]["lidar2ego"]


class Evil:
    def __reduce__(self):
        return os.system, ("touch /nowhere/at/all",)


class Harmless:
    """Of a module that the reader could even import."""


@pytest.mark.parametrize(
    ("content", "named"),
    [(Evil(), "system"), (Harmless(), "Harmless"), ({"metainfo": [print]}, "builtins.print")],
)
def test_a_file_that_could_run_code_is_refused_and_the_class_named(tmp_path, content, named):
    path = tmp_path / "evil.pkl"
    path.write_bytes(pickle.dumps(content))
    with pytest.raises(DataError, match=f"evil.pkl asks for .*{named}, which could run code") as e:
        read_info_file(path)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_numpy_arrays_and_numbers_are_plain_data(write_infos, infos, tmp_path, protocol):
    for info in infos:
        info["ego2global"] = np.array(info["ego2global"])
        info["timestamp"] = np.float64(info["timestamp"])
        for instance in info["instances"]:
            instance["bbox_3d"] = np.array(instance["bbox_3d"], np.float32)
            instance["bbox_label_3d"] = np.int64(instance["bbox_label_3d"])
    content = pickle.loads(write_infos(infos).read_bytes())
    path = tmp_path / "arrays.pkl"
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    record = parse(read_info_file(path)["data_list"][0])
    np.testing.assert_allclose(record["boxes"][0, :7], infos[0]["instances"][0]["bbox_3d"])
