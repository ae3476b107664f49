from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from mmdet3d.registry import DATASETS
from mmdet3d.structures import LiDARInstance3DBoxes
from torch.utils.data import DataLoader

import bevdepth_plus.datasets.transforms  # noqa: F401  registers
from bevdepth_plus.classes import CLASSES
from bevdepth_plus.datasets import nuscenes_dataset
from bevdepth_plus.datasets.nuscenes_dataset import NuScenesBEVDataset
from bevdepth_plus.errors import DataError
from bevdepth_plus.geometry.boxes import transform_boxes

LOCAL = {"img": "", "pts": ""}
PIPELINE = [
    {"type": "LoadMultiViewImages"},
    {"type": "ImageAugmentation", "final_dim": (32, 64)},
    {"type": "BEVAugmentation"},
    {"type": "LoadLidarPoints"},
    {"type": "LidarDepthMaps"},
    {"type": "PackBEVInputs"},
]


@pytest.fixture
def notes(monkeypatch) -> list[str]:
    """What a dataset logs."""
    said: list[str] = []
    monkeypatch.setattr(nuscenes_dataset, "print_log", lambda message, **_: said.append(message))
    return said


def make(path, **options) -> NuScenesBEVDataset:
    options = {"data_prefix": LOCAL, **options}
    return NuScenesBEVDataset(ann_file=path.name, data_root=str(path.parent), **options)


def test_mmdet3d_builds_the_dataset_from_a_config(write_infos, infos):
    path = write_infos(infos)
    dataset = DATASETS.build({"type": "NuScenesBEVDataset", "ann_file": str(path)})
    assert len(dataset) == 3
    assert dataset.metainfo["classes"] == CLASSES
    assert dataset.metainfo["version"] == "v1.0-mini"


def test_a_sample_has_what_the_model_is_promised(write_infos, infos, tmp_path):
    info = make(write_infos(infos), num_frames=2).get_data_info(1)
    assert (info["token"], info["sample_idx"], info["scene_token"]) == ("b", 1, "scene")
    assert info["timestamp"] == 100.5
    assert info["lidar_path"] == str(tmp_path / "b.bin")
    assert info["cam_names"] == ["CAM_FRONT", "CAM_BACK"]
    assert info["img_path"] == [
        str(tmp_path / f"{token}_{name}.jpg") for token in "ba" for name in info["cam_names"]
    ]
    shapes = {key: info[key].shape for key in info if isinstance(info[key], np.ndarray)}
    assert shapes == {
        "ego2global": (4, 4),
        "lidar2ego": (4, 4),
        "intrinsics": (2, 2, 3, 3),
        "ego_T_cam": (2, 2, 4, 4),
        "image_aug": (2, 2, 3, 3),
        "bev_aug": (4, 4),
        "frame_mask": (2,),
        "camera_mask": (2, 2),
        "time_offset": (2,),
        "key_T_lidar": (2, 4, 4),
    }
    assert info["frame_lidar_path"] == [str(tmp_path / f"{token}.bin") for token in "ba"]
    assert info["ego_T_cam"].dtype == np.float64
    assert info["num_frames"] == 2
    assert info["box_type_3d"] is LiDARInstance3DBoxes


def test_boxes_are_in_the_ego_frame_and_return_to_the_lidar_frame(write_infos, infos):
    info = make(write_infos(infos)).get_data_info(0)
    boxes = info["ann_info"]["gt_bboxes_3d"]
    expected = (info["lidar2ego"] @ [10.0, 2.0, -1.0, 1.0])[:3]
    np.testing.assert_allclose(boxes.gravity_center[0].numpy(), expected, atol=1e-5)
    # The LiDAR looks to the right: 0.4 rad there is 0.4 - pi / 2 in the ego frame.
    assert boxes.yaw[0].item() == pytest.approx(0.4 - np.pi / 2, abs=1e-3)
    by_gravity = torch.cat([boxes.gravity_center, boxes.tensor[:, 3:]], dim=1).double()
    back = transform_boxes(by_gravity, torch.linalg.inv(torch.from_numpy(info["lidar2ego"])))
    np.testing.assert_allclose(
        back[0], [10, 2, -1, 4.5, 1.9, 1.6, 0.4, 3, 1], atol=5e-3
    )  # the LiDAR's tilt of 0.02 rad enters heading and velocity squared
    np.testing.assert_allclose(back[0, :6], [10, 2, -1, 4.5, 1.9, 1.6], atol=1e-5)


def test_training_keeps_boxes_that_lidar_or_radar_hit_and_the_config_knows(write_infos, infos):
    labels = make(write_infos(infos)).get_data_info(0)["ann_info"]["gt_labels_3d"]
    assert labels.tolist() == [0, 7]


def test_testing_keeps_boxes_that_no_point_hit(write_infos, infos):
    dataset = make(write_infos(infos), test_mode=True)
    assert dataset.get_data_info(0)["ann_info"]["gt_labels_3d"].tolist() == [0, 9, 7]


def test_labels_follow_the_order_of_the_config(write_infos, infos):
    dataset = make(write_infos(infos), metainfo={"classes": CLASSES[::-1]})
    assert dataset.get_data_info(0)["ann_info"]["gt_labels_3d"].tolist() == [9, 2]


def test_a_subset_still_has_its_past_frames(write_infos, infos):
    dataset = make(write_infos(infos), num_frames=2, indices=[2])
    info = dataset.get_data_info(0)
    assert info["token"] == "c" and info["frame_mask"].tolist() == [True, True]


def test_default_folders_are_those_of_nuscenes(write_infos, infos, tmp_path):
    info = make(write_infos(infos), data_prefix=None).get_data_info(0)
    assert info["img_path"][1] == str(tmp_path / "samples/CAM_BACK/a_CAM_BACK.jpg")
    assert info["lidar_path"] == str(tmp_path / "samples/LIDAR_TOP/a.bin")


def test_a_folder_of_one_camera_goes_before_that_of_all(write_infos, infos, tmp_path):
    prefix = {"img": "all", "CAM_BACK": "rear", "pts": "lidar"}
    info = make(write_infos(infos), data_prefix=prefix).get_data_info(0)
    assert info["img_path"] == [
        str(tmp_path / "all/a_CAM_FRONT.jpg"),
        str(tmp_path / "rear/a_CAM_BACK.jpg"),
    ]


@pytest.mark.parametrize("num_frames", [1, 2])
@pytest.mark.parametrize("cameras", [None, ["CAM_BACK"]])
def test_the_whole_pipeline_gives_packed_tensors(
    write_infos, write_sensor_files, infos, num_frames, cameras
):
    write_sensor_files(infos)
    np.random.seed(0)
    dataset = make(
        write_infos(infos), pipeline=PIPELINE, num_frames=num_frames, camera_names=cameras
    )
    packed = dataset[1]
    num_cameras = len(cameras or infos[0]["images"])
    assert packed["inputs"]["img"].shape == (num_frames * num_cameras, 3, 32, 64)
    assert packed["inputs"]["img"].dtype == torch.uint8
    assert packed["inputs"]["depth"].shape == (num_cameras, 32, 64)
    assert packed["inputs"]["depth"].dtype == torch.float32
    sample = packed["data_samples"]
    assert sample.gt_instances_3d.bboxes_3d.tensor.shape == (2, 9)
    assert sample.gt_instances_3d.labels_3d.tolist() == [0, 7]
    assert len(sample.img_path) == num_cameras
    assert sample.image_aug.shape == (num_frames, num_cameras, 3, 3)
    assert sample.token == "b"


@pytest.mark.parametrize("test_mode", [False, True])
def test_a_sample_without_objects_goes_through_the_pipeline(
    write_infos, write_sensor_files, infos, test_mode
):
    infos[0]["instances"] = []
    write_sensor_files(infos)
    packed = make(write_infos(infos), pipeline=PIPELINE, test_mode=test_mode)[0]
    assert packed["data_samples"].token == "a"
    assert packed["data_samples"].gt_instances_3d.bboxes_3d.tensor.shape == (0, 9)
    assert packed["data_samples"].gt_instances_3d.labels_3d.shape == (0,)


def test_two_reads_of_one_sample_are_equal_and_independent(write_infos, infos):
    dataset = make(write_infos(infos))
    first = dataset.get_data_info(0)
    first["ego_T_cam"][:] = 0
    first["ann_info"]["gt_bboxes_3d"].tensor[:] = 0
    second = dataset.get_data_info(0)
    assert np.abs(second["ego_T_cam"]).max() > 0
    assert second["ann_info"]["gt_bboxes_3d"].tensor[:, :7].abs().max() > 0


def test_the_dataset_survives_pickling_for_worker_processes(write_infos, infos):
    dataset = pickle.loads(pickle.dumps(make(write_infos(infos), pipeline=PIPELINE)))
    assert dataset.get_data_info(2)["token"] == "c"


def test_a_class_of_the_config_that_the_file_lacks_is_named(write_infos, infos):
    with pytest.raises(DataError, match="class 'tram' of the config .* is not in .*infos.pkl"):
        make(write_infos(infos), metainfo={"classes": [*CLASSES, "tram"]})


def test_a_class_of_the_file_that_the_config_does_not_know_is_named(write_infos, infos):
    with pytest.raises(
        DataError, match="infos.pkl: metainfo.categories has class 'barrier'"
    ) as error:
        make(write_infos(infos), metainfo={"classes": CLASSES[:-1]})
    assert "\n" not in str(error.value)


def test_a_category_marked_as_ignored_may_be_unknown_to_the_config(write_infos, infos, metainfo):
    path = write_infos(infos, categories={**metainfo["categories"], "animal": -1})
    assert len(make(path)) == 3


def test_labels_with_gaps_and_an_ignored_class_reach_the_config_by_name(
    write_infos, infos, metainfo
):
    categories = {name: 10 + 3 * label for name, label in metainfo["categories"].items()}
    categories["trailer"] = -1
    for info in infos:
        for instance in info["instances"]:
            label = instance["bbox_label_3d"]
            instance["bbox_label_3d"] = 10 + 3 * label if label >= 0 else -1
    classes = [name for name in CLASSES if name != "trailer"]
    dataset = make(
        write_infos(infos, categories=categories), metainfo={"classes": classes}, test_mode=True
    )
    labels = dataset.get_data_info(0)["ann_info"]["gt_labels_3d"]
    assert [classes[label] for label in labels] == ["car", "barrier", "pedestrian"]


def test_a_class_that_the_config_ignores_is_left_out(write_infos, infos):
    metainfo = {"classes": CLASSES[:-1], "ignored_classes": ["barrier"]}
    dataset = make(write_infos(infos), metainfo=metainfo, test_mode=True)
    assert dataset.get_data_info(0)["ann_info"]["gt_labels_3d"].tolist() == [0, 7]


@pytest.mark.parametrize("count", [{"num_lidar_pts": -1}, {}])
def test_training_keeps_boxes_with_an_unknown_number_of_points(write_infos, infos, count):
    for instance in infos[0]["instances"]:
        del instance["num_lidar_pts"], instance["num_radar_pts"]
        instance.update(count)
    assert make(write_infos(infos)).get_data_info(0)["ann_info"]["gt_labels_3d"].tolist() == [
        0, 9, 7,
    ]  # fmt: skip


def test_a_bad_calibration_stops_at_loading(write_infos, infos):
    infos[1]["images"]["CAM_FRONT"]["cam2img"][0][0] = float("nan")
    with pytest.raises(DataError, match="sample b: images.CAM_FRONT.cam2img is not finite"):
        make(write_infos(infos))


def test_an_error_in_a_worker_process_is_still_one_line(write_infos, infos):
    dataset = make(write_infos(infos), pipeline=PIPELINE)
    loader = DataLoader(dataset, num_workers=1, collate_fn=list)
    with pytest.raises(DataError) as error:
        next(iter(loader))
    assert str(error.value).startswith("camera CAM_FRONT: image ") and "\n" not in str(error.value)


def test_an_unknown_velocity_stays_unknown_through_all_transforms(
    write_infos, write_sensor_files, infos
):
    write_sensor_files(infos)
    np.random.seed(0)
    sample = make(write_infos(infos), pipeline=PIPELINE)[0]["data_samples"]
    boxes = sample.gt_instances_3d.bboxes_3d.tensor
    assert boxes[1, 7:].isnan().all() and boxes[0].isfinite().all()
    assert boxes[:, :7].isfinite().all()


def test_the_official_recipe_teaches_an_unknown_velocity_as_zero(write_infos, infos):
    info = make(write_infos(infos), unknown_velocity="zero").get_data_info(0)
    velocities = info["ann_info"]["gt_bboxes_3d"].tensor[:, 7:]
    assert velocities[1].tolist() == [0.0, 0.0] and velocities[0].abs().min() > 0
    with pytest.raises(ValueError, match="unknown_velocity must be"):
        make(write_infos(infos), unknown_velocity="guess")


@pytest.mark.parametrize("velocity", [[3.0, 1.0, 0.2], (3.0, 1.0), np.array([3.0, 1.0])])
def test_a_velocity_of_two_or_three_numbers_is_read(write_infos, infos, velocity):
    infos[0]["instances"][0]["velocity"] = velocity
    boxes = make(write_infos(infos)).get_data_info(0)["ann_info"]["gt_bboxes_3d"].tensor
    assert boxes[0, 7:].norm().item() == pytest.approx(10**0.5, rel=1e-3)


def test_a_box_of_nine_numbers_brings_its_velocity(write_infos, infos):
    car = infos[0]["instances"][0]
    car["bbox_3d"] = [*car["bbox_3d"], *car.pop("velocity")]
    boxes = make(write_infos(infos)).get_data_info(0)["ann_info"]["gt_bboxes_3d"].tensor
    assert boxes[0, 7:].norm().item() == pytest.approx(10**0.5, rel=1e-3)


def test_a_camera_that_one_sample_lacks_is_out_there_and_said_once(
    write_infos, write_sensor_files, infos, notes
):
    write_sensor_files(infos)
    del infos[1]["images"]["CAM_BACK"]
    dataset = make(write_infos(infos), pipeline=PIPELINE, num_frames=2)
    assert sum("1 of 3 samples lack a camera, first sample b" in note for note in notes) == 1
    packed = dataset[2]
    assert packed["data_samples"].camera_mask.tolist() == [[True, True], [True, False]]
    alone = dataset[1]
    assert alone["data_samples"].camera_mask[0].tolist() == [True, False]
    assert alone["inputs"]["img"][1].sum() == 0 and alone["inputs"]["depth"][1].sum() == 0


def test_training_on_samples_without_labels_is_refused(write_infos, infos):
    del infos[1]["instances"]
    with pytest.raises(DataError, match="1 of 3 samples have no instances, first sample b"):
        make(write_infos(infos))
    assert len(make(write_infos(infos), test_mode=True)) == 3


def test_training_on_boxes_that_no_point_hits_is_refused(write_infos, infos):
    for info in infos:
        for instance in info["instances"]:
            instance.update(num_lidar_pts=0, num_radar_pts=0)
    with pytest.raises(DataError, match="none of 9 objects has 1 LiDAR or radar points") as error:
        make(write_infos(infos))
    assert "min_lidar_points=0" in str(error.value) and "\n" not in str(error.value)
    assert len(make(write_infos(infos), min_lidar_points=0)) == 3
    assert len(make(write_infos(infos), test_mode=True)) == 3


def test_training_on_no_object_of_the_configs_classes_is_refused(write_infos, infos):
    for info in infos:
        info["instances"] = [item for item in info["instances"] if item["bbox_label_3d"] == -1]
    with pytest.raises(DataError, match="none of 3 objects is of a class of the config"):
        make(write_infos(infos))


def test_a_past_frame_that_the_file_lacks_is_counted(write_infos, infos, notes):
    dataset = make(write_infos(infos[1:]), num_frames=2)
    assert "1 of 2 past key frames are not in the file, first a" in notes[0]
    assert dataset.get_data_info(0)["frame_mask"].tolist() == [True, False]


def test_a_data_set_without_lidar_loads_without_depth_labels(
    write_infos, write_sensor_files, infos
):
    write_sensor_files(infos)
    for info in infos:
        info["lidar_points"]["lidar_path"] = None
    without = [t for t in PIPELINE if "Lidar" not in t["type"]]
    packed = make(write_infos(infos), pipeline=without)[0]
    assert "depth" not in packed["inputs"] and packed["data_samples"].lidar_path is None
    with pytest.raises(DataError, match="sample a has no LiDAR sweep"):
        make(write_infos(infos), pipeline=PIPELINE)[0]


def test_zero_frames_are_refused(write_infos, infos):
    with pytest.raises(ValueError, match="num_frames must be 1 or more, got 0"):
        make(write_infos(infos), num_frames=0)
