"""Past frames at any interval, from key frames and the shots between them."""

from __future__ import annotations

import numpy as np
import pytest

from bevdepth_plus.datasets.past_shots import link_shots, parse_shots
from bevdepth_plus.datasets.sample_record import link_frames, parse_sample
from bevdepth_plus.datasets.standard_layout import standard_sample
from bevdepth_plus.errors import DataError

CAMERAS = ["CAM_FRONT", "CAM_BACK"]
DELAY = 0.02  # the cameras fire so long after the sample's moment
ROOT = "data"


def pose_at(seconds: float) -> np.ndarray:
    """Straight on at 6 m/s."""
    pose = np.eye(4)
    pose[0, 3] = 500 + 6 * seconds
    return pose


def drive(infos: list[dict]) -> list[dict]:
    """The key frames at 0, 0.5 and 1 s, straight on, and four shots a camera before each."""
    for number, info in enumerate(infos):
        moment = number / 2
        info["timestamp"] = 100 + moment
        info["ego2global"] = pose_at(moment).tolist()
        for name, camera in info["images"].items():
            camera["timestamp"] = 100 + moment + DELAY
            camera["ego2global"] = pose_at(moment + DELAY).tolist()
            pose = pose_at(moment + DELAY) @ np.array(camera["cam2ego"])
            global_T_lidar = pose_at(moment) @ np.array(info["lidar_points"]["lidar2ego"])
            camera["lidar2cam"] = (np.linalg.inv(pose) @ global_T_lidar).tolist()
            camera["sweeps"] = [sweep(name, moment + DELAY - 0.1 * back) for back in range(1, 5)]
    return infos


def sweep(name: str, moment: float) -> dict:
    return {
        "img_path": f"sweeps/{name}/{moment:.2f}.jpg",
        "timestamp": 100 + moment,
        "ego2global": pose_at(moment).tolist(),
    }


def records_of(infos: list[dict]) -> tuple[dict, dict]:
    labels = {label: label for label in range(-1, 10)}
    folders = {name: f"key/{name}" for name in CAMERAS}
    infos = [standard_sample(info, "data_list[0]") for info in infos]
    records = {i["token"]: parse_sample(i, CAMERAS, labels, folders, "") for i in infos}
    return records, {i["token"]: parse_shots(i, records[i["token"]], ROOT) for i in infos}


def link(infos: list[dict], token: str, num_frames: int, interval: float) -> dict:
    records, shots = records_of(infos)
    return link_shots(records[token], records, shots, num_frames, interval)


def test_frames_are_the_shots_nearest_to_the_times_asked_for(infos):
    record = link(drive(infos), "c", 4, 0.2)
    np.testing.assert_allclose(record["time_offset"], [0, -0.2, -0.4, -0.6], atol=1e-9)
    assert record["frame_mask"].all() and record["camera_mask"].all()
    assert record["img_path"][0] == "key/CAM_FRONT/c_CAM_FRONT.jpg"
    assert record["img_path"][2:4] == [f"data/sweeps/{name}/0.82.jpg" for name in CAMERAS]
    assert record["img_path"][6] == "data/sweeps/CAM_FRONT/0.42.jpg"  # before key frame b


def test_cameras_stand_where_the_vehicle_was(infos):
    infos = drive(infos)
    record = link(infos, "c", 4, 0.2)
    mount = np.array(infos[2]["images"]["CAM_FRONT"]["cam2ego"])
    for frame, offset in enumerate((0, -0.2, -0.4, -0.6)):
        expected = mount.copy()
        expected[0, 3] += 6 * (DELAY + offset)
        np.testing.assert_allclose(record["ego_T_cam"][frame, 0], expected, atol=1e-9)


def test_at_the_key_frames_interval_it_is_the_chain_of_key_frames(infos):
    infos = drive(infos)
    records, shots = records_of(infos)
    by_shots = link_shots(records["c"], records, shots, 3, 0.5)
    by_chain = link_frames(records["c"], records, 3)
    assert by_shots.keys() == by_chain.keys()
    for key in ("intrinsics", "ego_T_cam", "camera_mask", "frame_mask", "time_offset"):
        np.testing.assert_allclose(by_shots[key], by_chain[key], atol=1e-9)
    assert by_shots["img_path"] == by_chain["img_path"]


def test_frames_at_any_interval_have_no_sweep_of_their_own(infos):
    infos = drive(infos)
    for info in infos:
        info["lidar_points"]["lidar_path"] = f"{info['token']}.bin"
    record = link(infos, "c", 3, 0.2)
    assert record["frame_lidar_path"] == [record["lidar_path"], None, None]
    assert record["lidar_path"] is not None
    np.testing.assert_array_equal(record["key_T_lidar"], [record["lidar2ego"]] * 3)


def test_before_the_first_shot_there_is_no_frame(infos):
    record = link(drive(infos), "a", 4, 0.3)
    assert record["frame_mask"].tolist() == [True, True, False, False]  # four shots reach 0.4 s
    assert record["img_path"][4:6] == record["img_path"][:2]
    np.testing.assert_array_equal(record["ego_T_cam"][3], record["ego_T_cam"][0])
    assert record["time_offset"][2] == 0


def test_a_camera_without_a_shot_near_by_is_out_at_that_moment(infos):
    infos = drive(infos)
    infos[2]["images"]["CAM_BACK"]["sweeps"] = []
    record = link(infos, "c", 2, 0.2)
    assert record["camera_mask"].tolist() == [[True, True], [True, False]]
    assert record["img_path"][3] is None and record["frame_mask"].all()


def test_a_sweep_may_have_another_calibration(infos):
    infos = drive(infos)
    other = [[99.0, 0, 80], [0, 99, 45], [0, 0, 1]]
    infos[2]["images"]["CAM_FRONT"]["sweeps"][1]["cam2img"] = other
    record = link(infos, "c", 2, 0.2)
    np.testing.assert_array_equal(record["intrinsics"][1, 0], other)
    assert (record["intrinsics"][1, 1] == record["intrinsics"][0, 1]).all()


@pytest.mark.parametrize(
    ("key", "value", "complaint"),
    [
        ("timestamp", None, "timestamp must be numbers"),
        ("ego2global", np.zeros((4, 4)), "ego2global is not a rigid transform"),
        ("img_path", 3, "img_path must be a text"),
    ],
)
def test_a_wrong_sweep_is_named_with_its_place(infos, key, value, complaint):
    infos = drive(infos)
    infos[1]["images"]["CAM_BACK"]["sweeps"][2][key] = value
    with pytest.raises(
        DataError, match=rf"sample b: images.CAM_BACK.sweeps\[2\].*{complaint}"
    ) as error:
        records_of(infos)
    assert "\n" not in str(error.value)
