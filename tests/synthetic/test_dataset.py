"""The written data set, through the eyes of the unmodified devkit."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.lib import NumpyVersion
from nuscenes import NuScenes
from nuscenes.eval.common.config import config_factory
from nuscenes.eval.common.loaders import load_gt
from nuscenes.eval.detection.data_classes import DetectionBox
from nuscenes.eval.detection.evaluate import NuScenesEval
from nuscenes.utils.data_classes import Box, LidarPointCloud
from nuscenes.utils.geometry_utils import points_in_box
from pyquaternion import Quaternion

from bevdepth_plus.synthetic.scene import build_scene
from bevdepth_plus.synthetic.shots import DEPTH_UNIT

# The devkit turns arrays of one element into numbers there, which numpy 2.4 refuses.
DEVKIT_DRAWS_MAPS = NumpyVersion(np.__version__) < "2.4.0"


def _matrix(record: dict) -> np.ndarray:
    pose = np.eye(4)
    pose[:3, :3] = Quaternion(record["rotation"]).rotation_matrix
    pose[:3, 3] = record["translation"]
    return pose


def _sensor_pose(nusc: NuScenes, data: dict) -> np.ndarray:
    """global_T_sensor at the moment of this sample_data."""
    calibrated = nusc.get("calibrated_sensor", data["calibrated_sensor_token"])
    return _matrix(nusc.get("ego_pose", data["ego_pose_token"])) @ _matrix(calibrated)


def _cloud(nusc: NuScenes, sample: dict) -> np.ndarray:
    """LiDAR points of a sample in the global frame, [P, 3]."""
    data = nusc.get("sample_data", sample["data"]["LIDAR_TOP"])
    points = LidarPointCloud.from_file(str(Path(nusc.dataroot) / data["filename"])).points[:3].T
    pose = _sensor_pose(nusc, data)
    return points @ pose[:3, :3].T + pose[:3, 3]


def _cameras(nusc: NuScenes, sample: dict) -> list[tuple[dict, np.ndarray, np.ndarray]]:
    """(sample_data, cam_T_global, intrinsics) of every camera."""
    cameras = []
    for channel, data_token in sample["data"].items():
        if channel != "LIDAR_TOP":
            data = nusc.get("sample_data", data_token)
            calibrated = nusc.get("calibrated_sensor", data["calibrated_sensor_token"])
            cameras.append(
                (
                    data,
                    np.linalg.inv(_sensor_pose(nusc, data)),
                    np.array(calibrated["camera_intrinsic"]),
                )
            )
    return cameras


def test_every_table_is_there_with_the_right_number_of_rows(nusc: NuScenes) -> None:
    rows = {name: len(getattr(nusc, name)) for name in nusc.table_names}
    assert rows["scene"] == rows["log"] == 2
    assert rows["map"] == 4  # of each scene the drivable area and the lane marks
    assert rows["sample"] == 6
    assert rows["sample_data"] == rows["ego_pose"] == 6 * 7
    assert (rows["sensor"], rows["calibrated_sensor"]) == (7, 14)
    assert (rows["category"], rows["attribute"], rows["visibility"]) == (23, 8, 4)
    assert rows["sample_annotation"] > 200


def test_every_reference_leads_to_a_row_of_its_table(nusc: NuScenes) -> None:
    """A field ``x_token`` or ``x_tokens`` names rows of table x."""
    special = {
        "first_sample_token": "sample",
        "last_sample_token": "sample",
        "first_annotation_token": "sample_annotation",
        "last_annotation_token": "sample_annotation",
    }
    checked = set()
    for table in nusc.table_names:
        stored = json.loads((Path(nusc.table_root) / f"{table}.json").read_text())
        for row in stored:
            assert len(row["token"]) == 32 or table == "visibility"
            for field, value in row.items():
                if not field.endswith(("_token", "_tokens")):
                    continue
                target = special.get(field, field.rsplit("_", 1)[0])
                for token in value if isinstance(value, list) else [value]:
                    nusc.get(target, token)
                    checked.add(field)
    assert len(checked) >= 14


@pytest.mark.parametrize("table", ["sample", "sample_data", "sample_annotation"])
def test_prev_and_next_are_each_others_inverse_and_go_forward_in_time(
    nusc: NuScenes, table: str
) -> None:
    links = 0
    for row in getattr(nusc, table):
        if row["next"]:
            following = nusc.get(table, row["next"])
            assert following["prev"] == row["token"]
            moments = [
                nusc.get("sample", r.get("sample_token") or r["token"])["timestamp"]
                for r in (row, following)
            ]
            assert moments[0] < moments[1]
            links += 1
    assert links > 0


def test_key_frames_are_half_a_second_apart(nusc: NuScenes) -> None:
    for sample in nusc.sample:
        if sample["next"]:
            gap = nusc.get("sample", sample["next"])["timestamp"] - sample["timestamp"]
            assert gap == 500_000


def test_instances_know_their_first_and_last_annotation(nusc: NuScenes) -> None:
    for instance in nusc.instance:
        row, count = nusc.get("sample_annotation", instance["first_annotation_token"]), 1
        assert row["prev"] == ""
        while row["next"]:
            row, count = nusc.get("sample_annotation", row["next"]), count + 1
        assert row["token"] == instance["last_annotation_token"]
        assert count == instance["nbr_annotations"]


def test_files_have_the_size_their_record_names(nusc: NuScenes) -> None:
    for data in nusc.sample_data:
        path = Path(nusc.dataroot) / data["filename"]
        if data["sensor_modality"] == "camera":
            assert cv2.imread(str(path)).shape == (data["height"], data["width"], 3)
        else:
            points = np.fromfile(path, np.float32).reshape(-1, 5)
            assert len(points) > 10_000
            assert set(np.unique(points[:, 4])) <= set(range(32))
            assert np.linalg.norm(points[:, :3], axis=1).max() < 101


def test_cameras_shoot_at_their_own_time_from_their_own_ego_pose(nusc: NuScenes) -> None:
    data = nusc.get("sample_data", nusc.sample[1]["data"]["CAM_FRONT_LEFT"])
    lidar = nusc.get("sample_data", nusc.sample[1]["data"]["LIDAR_TOP"])
    assert data["timestamp"] - lidar["timestamp"] == -43_100
    gap = (
        np.array(nusc.get("ego_pose", lidar["ego_pose_token"])["translation"])
        - nusc.get("ego_pose", data["ego_pose_token"])["translation"]
    )
    assert 0.02 < np.linalg.norm(gap) < 1.0


def test_the_devkit_renders_a_sample_with_boxes_map_and_points(
    nusc: NuScenes, tmp_path: Path
) -> None:
    import matplotlib.pyplot as plt

    sample = nusc.sample[0]
    nusc.render_sample_data(
        sample["data"]["CAM_FRONT"], out_path=str(tmp_path / "camera.png"), verbose=False
    )
    nusc.render_sample_data(
        sample["data"]["LIDAR_TOP"],
        out_path=str(tmp_path / "lidar.png"),
        verbose=False,
        underlay_map=DEVKIT_DRAWS_MAPS,
    )
    nusc.render_pointcloud_in_image(sample["token"], out_path=str(tmp_path / "points.png"))
    plt.close("all")
    assert len(list(tmp_path.glob("*.png"))) == 3


def test_the_ego_vehicle_drives_on_the_maps_drivable_area(nusc: NuScenes) -> None:
    for scene in nusc.scene:
        mask = nusc.get("map", nusc.get("log", scene["log_token"])["map_token"])["mask"]
        sample = nusc.get("sample", scene["first_sample_token"])
        data = nusc.get("sample_data", sample["data"]["LIDAR_TOP"])
        x, y, _ = nusc.get("ego_pose", data["ego_pose_token"])["translation"]
        assert mask.is_on_mask(x, y)[0]
        assert not mask.is_on_mask(x + 45, y)[0] or not mask.is_on_mask(x, y + 45)[0]


def test_ground_truth_as_predictions_is_perfect(
    nusc: NuScenes, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    # the devkit scores only boxes with a LiDAR point inside
    boxes = load_gt(nusc, "mini_val", DetectionBox)
    fields = (
        "sample_token",
        "translation",
        "size",
        "rotation",
        "velocity",
        "detection_name",
        "detection_score",
        "attribute_name",
    )
    results = {}
    for token in boxes.sample_tokens:
        rows = [{**b.serialize(), "detection_score": 1.0} for b in boxes[token] if b.num_pts > 0]
        results[token] = [{f: row[f] for f in fields} for row in rows]
        for row in results[token]:
            row["velocity"] = np.nan_to_num(row["velocity"]).tolist()
    path = tmp_path / "results.json"
    meta = dict.fromkeys(["use_camera", "use_lidar", "use_radar", "use_map", "use_external"], False)
    path.write_text(json.dumps({"meta": meta, "results": results}))
    metrics = NuScenesEval(
        nusc,
        config_factory("detection_cvpr_2019"),
        str(path),
        "mini_val",
        str(tmp_path),
        verbose=False,
    ).main(render_curves=False)
    assert metrics["mean_ap"] == pytest.approx(1.0)
    assert metrics["nd_score"] > 0.99


def test_lidar_points_in_a_box_project_into_it_in_every_camera(nusc: NuScenes) -> None:
    checked = 0
    for sample in nusc.sample[::2]:
        cloud = _cloud(nusc, sample)
        for token in sample["anns"]:
            box = nusc.get_box(token)
            inside = cloud[points_in_box(box, cloud.T)]
            for data, cam_T_global, k in _cameras(nusc, sample):
                corners = _project(box.corners().T, cam_T_global, k)
                points = _project(inside, cam_T_global, k)
                if len(points) == 0 or corners[:, 2].min() < 0.1:
                    continue
                hull = cv2.convexHull(corners[:, :2].astype(np.float32))
                for u, v, _ in points:
                    if 0 <= u < data["width"] and 0 <= v < data["height"]:
                        assert cv2.pointPolygonTest(hull, (float(u), float(v)), True) > -0.05
                        checked += 1
    assert checked > 1000


def _project(
    points: np.ndarray,
    cam_T_global: np.ndarray,
    intrinsics: np.ndarray,
) -> np.ndarray:
    """[P, 3] of column, row and depth."""
    seen = points @ cam_T_global[:3, :3].T + cam_T_global[:3, 3]
    pixels = seen @ intrinsics.T
    return np.column_stack([pixels[:, :2] / pixels[:, 2:], seen[:, 2]])


def test_num_lidar_pts_is_what_the_devkit_counts(nusc: NuScenes) -> None:
    sample = nusc.sample[1]
    cloud = _cloud(nusc, sample)
    counts = []
    for token in sample["anns"]:
        row = nusc.get("sample_annotation", token)
        counted = int(points_in_box(nusc.get_box(token), cloud.T).sum())
        assert abs(counted - row["num_lidar_pts"]) <= 1  # a point may sit on a face
        counts.append(counted)
    assert max(counts) > 200 and min(counts) == 0


def test_velocity_agrees_with_how_the_object_really_moves(nusc: NuScenes) -> None:
    moving = 0
    for scene_row in nusc.scene:
        scene = build_scene(scene_row["name"], 0, 3)
        sample = nusc.get("sample", nusc.get("sample", scene_row["first_sample_token"])["next"])
        truth = np.array([item.pose(scene.road, 0.5)[:2] for item in scene.objects])
        ahead = np.array([item.pose(scene.road, 0.51)[:2] for item in scene.objects])
        for token in sample["anns"]:
            row = nusc.get("sample_annotation", token)
            number = np.abs(truth - row["translation"][:2]).sum(axis=1).argmin()
            real = (ahead[number] - truth[number]) / 0.01
            velocity = nusc.box_velocity(token)[:2]
            if row["prev"] and row["next"]:
                np.testing.assert_allclose(velocity, real, atol=0.15)
            names = [nusc.get("attribute", t)["name"] for t in row["attribute_tokens"]]
            moving_name = names and names[0] in (
                "vehicle.moving",
                "pedestrian.moving",
                "cycle.with_rider",
            )
            assert bool(moving_name) == (np.linalg.norm(real) > 0.2)
            moving += bool(moving_name)
    assert moving > 10


def test_visibility_levels_follow_what_hides_an_object(nusc: NuScenes) -> None:
    levels = {row["visibility_token"] for row in nusc.sample_annotation}
    assert levels == {"1", "2", "3", "4"}
    # a box that the LiDAR missed and whose object is hardly seen cannot be fully visible
    seen = [r["num_lidar_pts"] for r in nusc.sample_annotation if r["visibility_token"] == "4"]
    hidden = [r["num_lidar_pts"] for r in nusc.sample_annotation if r["visibility_token"] == "1"]
    assert np.median(seen) > 2 * np.median(hidden)


def test_dense_depth_equals_lidar_range_where_both_see(depth_root: Path) -> None:
    nusc = NuScenes("v1.0-mini", str(depth_root), verbose=False)
    sample = nusc.sample[0]
    cloud = _cloud(nusc, sample)
    for data, cam_T_global, k in _cameras(nusc, sample):
        path = depth_root / "depth" / data["channel"] / Path(data["filename"]).name
        stored = cv2.imread(str(path.with_suffix(".png")), cv2.IMREAD_UNCHANGED)
        assert stored.dtype == np.uint16 and stored.shape == (data["height"], data["width"])
        depth = stored * DEPTH_UNIT
        u, v, z = _project(cloud, cam_T_global, k).T
        inside = (z > 1) & (u >= 1) & (v >= 1) & (u < data["width"] - 1) & (v < data["height"] - 1)
        columns, rows, z = u[inside].astype(int), v[inside].astype(int), z[inside]
        around = np.stack([depth[rows + i, columns + j] for i in (-1, 0, 1) for j in (-1, 0, 1)])
        low, high = around.min(axis=0), around.max(axis=0)
        smooth = (low > 0) & (high - low < 0.05 * high)
        assert smooth.sum() > 300
        agree = (z > low - 0.1) & (z < high + 0.1)
        # the rest are points that something nearer hides from the camera, never from the LiDAR
        assert agree[smooth].mean() > 0.85
        assert (z < low - 0.1)[smooth].mean() < 0.01


def test_boxes_are_upright_with_nuscenes_sizes(nusc: NuScenes) -> None:
    for row in nusc.sample_annotation:
        box = Box(row["translation"], row["size"], Quaternion(row["rotation"]))
        assert box.corners()[2].min() == pytest.approx(0, abs=1e-3)  # stands on the ground
        if row["category_name"] == "vehicle.car":
            width, length, _ = row["size"]
            assert 1.6 < width < 2.3 and 3.9 < length < 5.3
