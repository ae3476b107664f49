from __future__ import annotations

import numpy as np
import pytest

from bevdepth_plus.datasets.sample_record import link_frames, parse_sample
from bevdepth_plus.errors import DataError

CAMERAS = ["CAM_FRONT", "CAM_BACK"]
LABELS = {label: label for label in range(-1, 10)}
FOLDERS = {name: f"images/{name}" for name in CAMERAS}


def parse(info: dict, cameras: list[str] = CAMERAS) -> dict:
    return parse_sample(info, cameras, LABELS, FOLDERS, "lidar")


def link(infos: list[dict], token: str, num_frames: int) -> dict:
    records = {info["token"]: parse(info) for info in infos}
    return link_frames(records[token], records, num_frames)


def pixel_of(point: np.ndarray, global_T_cam: np.ndarray, intrinsics: np.ndarray) -> np.ndarray:
    in_camera = np.linalg.inv(global_T_cam)[:3] @ [*point, 1.0]
    assert in_camera[2] > 0
    return (intrinsics @ in_camera)[:2] / in_camera[2]


def test_key_cameras_are_placed_at_their_own_shot(infos):
    record = parse(infos[2])
    for index, name in enumerate(CAMERAS):
        camera = infos[2]["images"][name]
        true = (
            np.linalg.inv(infos[2]["ego2global"])
            @ np.array(camera["ego2global"])
            @ np.array(camera["cam2ego"])
        )
        np.testing.assert_allclose(record["ego_T_cam"][index], true, atol=1e-9)
        # The vehicle moved while the camera waited: the mount alone is not where the camera was.
        assert np.abs(true - camera["cam2ego"]).max() > 0.1


def test_a_static_point_is_seen_alike_through_the_past_cameras_in_the_key_ego_frame(infos):
    record = link(infos, "c", 3)
    point_global = np.array([520.0, 901.0, 1.0])
    in_key_ego = (np.linalg.inv(infos[2]["ego2global"]) @ [*point_global, 1.0])[:3]
    for frame, info in enumerate(reversed(infos)):
        camera = info["images"]["CAM_FRONT"]
        true = pixel_of(
            point_global,
            np.array(camera["ego2global"]) @ np.array(camera["cam2ego"]),
            np.array(camera["cam2img"]),
        )
        seen = pixel_of(in_key_ego, record["ego_T_cam"][frame, 0], record["intrinsics"][frame, 0])
        np.testing.assert_allclose(seen, true, atol=1e-6)


def test_plain_infos_without_camera_poses_place_past_cameras_alike(infos):
    whole = link(infos, "c", 2)
    for info in infos:
        for camera in info["images"].values():
            del camera["ego2global"], camera["cam2ego"]
    plain = link(infos, "c", 2)
    np.testing.assert_allclose(plain["ego_T_cam"], whole["ego_T_cam"], atol=1e-9)


def test_past_frames_follow_the_chain_and_say_how_old_they_are(infos):
    record = link(infos, "c", 3)
    assert record["frame_mask"].tolist() == [True, True, True]
    np.testing.assert_allclose(record["time_offset"], [0, -0.5, -1.0])
    assert record["img_path"] == [
        f"images/{name}/{token}_{name}.jpg" for token in "cba" for name in CAMERAS
    ]


def test_a_missing_past_is_the_key_frame_again_without_motion(infos):
    record = link(infos, "b", 3)
    assert record["frame_mask"].tolist() == [True, True, False]
    assert record["img_path"][4:] == record["img_path"][:2]
    np.testing.assert_array_equal(record["ego_T_cam"][2], record["ego_T_cam"][0])
    assert record["time_offset"][2] == 0


def test_a_static_point_in_each_sweep_is_one_point_of_the_key_ego_frame(infos):
    record = link(infos, "c", 3)
    assert record["frame_lidar_path"] == [f"lidar/{token}.bin" for token in "cba"]
    point_global = np.array([520.0, 901.0, 1.0, 1.0])
    in_key_ego = np.linalg.inv(infos[2]["ego2global"]) @ point_global
    for frame, info in enumerate(reversed(infos)):
        global_T_lidar = np.array(info["ego2global"]) @ info["lidar_points"]["lidar2ego"]
        in_sweep = np.linalg.inv(global_T_lidar) @ point_global
        np.testing.assert_allclose(record["key_T_lidar"][frame] @ in_sweep, in_key_ego, atol=1e-9)
    np.testing.assert_array_equal(record["key_T_lidar"][0], record["lidar2ego"])
    assert np.abs(record["key_T_lidar"][1] - record["lidar2ego"]).max() > 2.9  # the way driven


def test_a_frame_without_a_sweep_and_one_that_does_not_exist_have_no_sweep(infos):
    infos[0]["lidar_points"]["lidar_path"] = None
    record = link(infos, "b", 3)
    assert record["frame_lidar_path"] == ["lidar/b.bin", None, None]
    np.testing.assert_array_equal(record["key_T_lidar"][2], record["key_T_lidar"][0])


def test_cameras_come_in_the_order_asked_for(infos):
    record = parse(infos[0], ["CAM_BACK"])
    np.testing.assert_array_equal(record["ego_T_cam"][0], parse(infos[0])["ego_T_cam"][1])
    assert record["cam_names"] == ["CAM_BACK"]


def test_velocity_that_the_devkit_does_not_know_stays_unknown(infos):
    boxes = parse(infos[0])["boxes"]
    assert boxes[0, 7:].tolist() == [3.0, 1.0]
    assert np.isnan(boxes[1, 7:]).all()


def test_a_sample_without_objects_has_no_boxes(infos):
    for empty in ({"instances": []}, {"instances": None}):
        record = parse({**infos[0], **empty})
        assert record["boxes"].shape == (0, 9) and record["labels"].shape == (0,)


def test_a_sample_without_objects_is_not_one_without_labels(infos):
    assert parse({**infos[0], "instances": []})["labelled"]
    assert not parse({**infos[0], "instances": None})["labelled"]
    del infos[0]["instances"]
    assert not parse(infos[0])["labelled"]


def test_a_camera_that_a_sample_lacks_is_out_at_that_moment(infos):
    stand_in = infos[1]["images"].pop("CAM_BACK")
    records = {
        i["token"]: parse_sample(i, CAMERAS, LABELS, FOLDERS, "lidar", {"CAM_BACK": stand_in})
        for i in infos
    }
    record = link_frames(records["c"], records, 2)
    assert record["camera_mask"].tolist() == [[True, True], [True, False]]
    assert record["img_path"][3] is None and record["img_path"][1] is not None
    assert np.isfinite(record["ego_T_cam"]).all()


def test_a_vehicle_without_lidar_has_no_sweep(infos):
    infos[0]["lidar_points"] = {"lidar2ego": np.eye(4), "lidar_path": None}
    assert parse(infos[0])["lidar_path"] is None


def test_the_file_says_how_many_numbers_a_point_has(infos):
    assert parse(infos[0])["num_pts_feats"] == 5
    infos[0]["lidar_points"]["num_pts_feats"] = 4
    assert parse(infos[0])["num_pts_feats"] == 4
    infos[0]["lidar_points"]["num_pts_feats"] = 2
    with pytest.raises(DataError, match="sample a: lidar_points.num_pts_feats must be .* got 2"):
        parse(infos[0])


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"scene_token": "other"}, "of scene other, expected scene scene"),
        ({"timestamp": 50_000.0}, "is -49899.5 s earlier, expected more than 0"),
        ({"timestamp": 50.0}, "is 50.5 s earlier, .* at most 10 s"),
        ({"timestamp": 100.5}, "is 0 s earlier"),
    ],
)
def test_a_past_frame_from_another_scene_or_time_is_refused(infos, change, complaint):
    infos[0].update(change)
    with pytest.raises(DataError, match=f"sample b: prev names sample a.*{complaint}"):
        link(infos, "b", 2)
    link(infos, "b", 1)  # where no past frame is taken, the chain does not matter


@pytest.mark.parametrize(
    ("field", "value", "complaint"),
    [
        ("cam2img", [[np.nan, 0, 1], [0, 1, 1], [0, 0, 1]], "not finite"),
        ("cam2img", [[100, 0, 80], [0, 0, 45], [0, 0, 1]], "cannot be inverted"),
        ("cam2img", [[-100, 0, 80], [0, -100, 45], [0, 0, 1]], "focal length <= 0"),
        ("cam2img", [[100, 0], [0, 100]], r"must be \(3, 3\), got \(2, 2\)"),
        ("lidar2cam", np.full((4, 4), np.inf), "not finite"),
        ("lidar2cam", np.zeros((4, 4)), "not a rigid transform"),
        ("lidar2cam", np.diag([1.0, 1, -1, 1]), "not a rigid transform .det R = -1"),
        ("lidar2cam", np.diag([2.0, 2, 2, 1]), "not a rigid transform .det R = 8"),
        ("lidar2cam", np.eye(3), r"must be \(4, 4\)"),
        ("ego2global", np.full((4, 4), np.nan), "not finite"),
        ("cam2ego", np.zeros((4, 4)), "not a rigid transform"),
    ],
)
def test_a_bad_camera_calibration_is_named_by_sample_camera_and_field(
    infos, field, value, complaint
):
    infos[0]["images"]["CAM_BACK"][field] = value
    with pytest.raises(DataError, match=rf"sample a: images.CAM_BACK.{field} .*{complaint}") as e:
        parse(infos[0])
    assert "\n" not in str(e.value)


def test_a_bad_lidar_mount_or_ego_pose_is_named(infos):
    infos[0]["lidar_points"]["lidar2ego"] = np.full((4, 4), np.nan)
    with pytest.raises(DataError, match="sample a: lidar_points.lidar2ego is not finite"):
        parse(infos[0])
    infos[1]["ego2global"] = np.zeros((4, 4))
    with pytest.raises(DataError, match="sample b: ego2global is not a rigid transform"):
        parse(infos[1])


def test_a_missing_camera_is_named_with_those_that_are_there(infos):
    with pytest.raises(DataError, match="sample a has no camera CAM_LEFT .*CAM_FRONT, CAM_BACK"):
        parse_sample(infos[0], ["CAM_LEFT"], LABELS, {"CAM_LEFT": ""}, "")


def test_a_missing_field_is_named_with_its_place(infos):
    del infos[0]["images"]["CAM_BACK"]["lidar2cam"]
    with pytest.raises(DataError, match="sample a: images.CAM_BACK lacks lidar2cam"):
        parse(infos[0])
    del infos[1]["lidar_points"]["lidar2ego"]
    with pytest.raises(DataError, match="sample b: lidar_points lacks lidar2ego"):
        parse(infos[1])
    del infos[2]["instances"][3]["bbox_label_3d"]
    with pytest.raises(DataError, match=r"sample c: instances\[3\] lacks bbox_label_3d"):
        parse(infos[2])


def test_a_box_that_is_not_finite_is_named(infos):
    infos[0]["instances"][2]["bbox_3d"][0] = np.inf
    with pytest.raises(DataError, match=r"sample a: instances\[2\] has a box"):
        parse(infos[0])


def test_a_label_without_a_category_is_named(infos):
    infos[0]["instances"][0]["bbox_label_3d"] = 10
    with pytest.raises(
        DataError, match=r"sample a: instances\[0\]: bbox_label_3d 10 is not in metainfo.categories"
    ):
        parse(infos[0])
