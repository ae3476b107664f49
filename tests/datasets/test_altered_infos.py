"""Info files as people bring them: each is read rightly, or refused in one line.

Rendered key frames, altered in one way; what counts is what reaches the model and the score.
"""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import bevdepth_plus.plugin  # noqa: F401
from bevdepth_plus.classes import CLASSES
from bevdepth_plus.datasets.create_infos import create_info_files
from bevdepth_plus.datasets.ground_truth import names_by_label
from bevdepth_plus.datasets.info_file import read_info_file
from bevdepth_plus.datasets.nuscenes_dataset import NuScenesBEVDataset
from bevdepth_plus.errors import DataError
from bevdepth_plus.evaluation.detection import evaluate_detections, predictions_from_ground_truth

PIPELINE = [
    dict(type="LoadMultiViewImages"),
    dict(type="ImageAugmentation", final_dim=(64, 96), training=False),
    dict(type="LoadLidarPoints"),
    dict(type="LidarDepthMaps"),
    dict(type="PackBEVInputs"),
]
WITHOUT_TRAILER = [name for name in CLASSES if name != "trailer"]


@pytest.fixture(scope="module")
def content(synthetic_root, tmp_path_factory) -> dict:
    folder = tmp_path_factory.mktemp("infos")
    path = create_info_files(synthetic_root, "v1.0-mini", folder, progress=False)[0]
    return pickle.loads(Path(path).read_bytes())


class Altered:
    """A copy of the info file with one thing changed."""

    def __init__(self, content: dict, root: Path, folder: Path) -> None:
        self.content = copy.deepcopy(content)
        self.root, self.path = root, folder / "infos.pkl"
        self.lidar = root / "samples" / "LIDAR_TOP"

    @property
    def infos(self) -> list[dict]:
        return self.content["data_list"]

    @property
    def objects(self) -> list[dict]:
        return [instance for info in self.infos for instance in info["instances"]]

    def rewrite_sweeps(self, change: Callable[[np.ndarray], np.ndarray]) -> None:
        folder = self.path.parent / "sweeps"
        folder.mkdir()
        for info in self.infos:
            name = info["lidar_points"]["lidar_path"]
            points = np.fromfile(self.lidar / name, np.float32).reshape(-1, 5)
            change(points).astype(np.float32).tofile(folder / name)
        self.lidar = folder

    def dataset(self, classes=CLASSES, test_mode: bool = True) -> NuScenesBEVDataset:
        self.path.write_bytes(pickle.dumps(self.content))
        return NuScenesBEVDataset(
            str(self.path),
            data_root=str(self.root),
            data_prefix=dict(pts=str(self.lidar)),
            pipeline=PIPELINE,
            metainfo=dict(classes=classes),
            test_mode=test_mode,
        )

    def perfect_score(self, classes=CLASSES) -> dict:
        """What ground truth scores that is handed in as prediction."""
        self.path.write_bytes(pickle.dumps(self.content))
        read = read_info_file(self.path)
        options = dict(
            classes=classes, label_names=names_by_label(read["metainfo"]["categories"], "")
        )
        infos = read["data_list"]
        return evaluate_detections(
            predictions_from_ground_truth(infos, **options),
            infos,
            **options,
            default_range=51.2,
            classes_present_only=True,
        )


@pytest.fixture
def altered(content, synthetic_root, tmp_path) -> Altered:
    return Altered(content, Path(synthetic_root), tmp_path)


@pytest.fixture(scope="module")
def unaltered(content, synthetic_root, tmp_path_factory) -> list[dict]:
    dataset = Altered(content, Path(synthetic_root), tmp_path_factory.mktemp("plain")).dataset()
    return [dataset[index] for index in range(len(dataset))]


def narrow_sweeps(altered: Altered) -> None:
    altered.rewrite_sweeps(lambda points: points[:, :4])
    for info in altered.infos:
        info["lidar_points"]["num_pts_feats"] = 4


def microseconds(altered: Altered) -> None:
    for info in altered.infos:
        for entry in (info, *info["images"].values()):
            if "timestamp" in entry:
                entry["timestamp"] *= 1e6


def microseconds_of_samples_alone(altered: Altered) -> None:
    for info in altered.infos:
        info["timestamp"] *= 1e6
        for camera in info["images"].values():
            camera.pop("timestamp", None)


def baseline_in_the_fourth_column(altered: Altered) -> None:
    """As KITTI: the camera stands 0.54 m beside the one whose frame lidar2cam leads to."""
    aside = np.array([0.54, 0, 0])
    for info in altered.infos:
        for camera in info["images"].values():
            intrinsics, lidar2cam = np.eye(4), np.array(camera["lidar2cam"])
            intrinsics[:3, :3] = camera["cam2img"]
            intrinsics[:3, 3] = -intrinsics[:3, :3] @ aside
            lidar2cam[:3, 3] += aside
            camera.update(cam2img=intrinsics.tolist(), lidar2cam=lidar2cam.tolist())
            del camera["ego2global"], camera["cam2ego"]


def three_velocities(altered: Altered) -> None:
    for instance in altered.objects:
        instance["velocity"] = [*instance["velocity"], 0.0]


def unknown_counts(altered: Altered) -> None:
    for instance in altered.objects:
        instance.update(num_lidar_pts=-1, num_radar_pts=0)


@pytest.mark.parametrize(
    "alter",
    [
        narrow_sweeps,
        microseconds,
        microseconds_of_samples_alone,
        baseline_in_the_fourth_column,
        three_velocities,
        unknown_counts,
    ],
)
def test_another_way_to_write_it_gives_the_same_samples_and_score(alter, altered, unaltered):
    alter(altered)
    dataset = altered.dataset()
    for index, expected in enumerate(unaltered):
        sample = dataset[index]
        torch.testing.assert_close(
            sample["inputs"]["depth"], expected["inputs"]["depth"], atol=1e-3, rtol=0
        )
        boxes, true = (s["data_samples"].gt_instances_3d for s in (sample, expected))
        torch.testing.assert_close(
            boxes.bboxes_3d.tensor, true.bboxes_3d.tensor, equal_nan=True, atol=1e-4, rtol=0
        )
        assert torch.equal(boxes.labels_3d, true.labels_3d)
        times = (s["data_samples"].metainfo["timestamp"] for s in (sample, expected))
        assert next(times) == pytest.approx(next(times), abs=1e-5)
    assert altered.perfect_score()["mAP"] == pytest.approx(1.0)


def test_an_unknown_velocity_reaches_the_boxes_as_unknown_and_the_score_stays(altered):
    for instance in altered.objects:
        instance["velocity"] = [float("nan")] * 2
    boxes = altered.dataset()[0]["data_samples"].gt_instances_3d.bboxes_3d.tensor
    assert len(boxes) and boxes[:, 7:].isnan().all() and boxes[:, :7].isfinite().all()
    assert altered.perfect_score()["mAP"] == pytest.approx(1.0)


def test_a_sample_with_an_empty_list_is_an_empty_road(altered, unaltered):
    altered.infos[1]["instances"] = []
    dataset = altered.dataset(test_mode=False)
    counts = [len(dataset[i]["data_samples"].gt_instances_3d.labels_3d) for i in range(3)]
    assert counts[1] == 0 and counts[0] > 0 and counts[2] > 0
    assert altered.perfect_score()["mAP"] == pytest.approx(1.0)


def test_a_missing_camera_has_no_depth_and_the_others_stay(altered, unaltered):
    names = list(altered.infos[0]["images"])
    del altered.infos[1]["images"]["CAM_BACK"]
    sample, back = altered.dataset()[1], names.index("CAM_BACK")
    others = [index for index in range(len(names)) if index != back]
    depth, expected = sample["inputs"]["depth"], unaltered[1]["inputs"]["depth"]
    assert not depth[back].any() and expected[back].any()
    assert torch.equal(depth[others], expected[others])
    assert altered.perfect_score()["mAP"] == pytest.approx(1.0)


@pytest.mark.parametrize("objects_left", [False, True])
def test_a_class_that_the_file_ignores_shifts_no_other(altered, unaltered, objects_left):
    """Label -1 in ``metainfo.categories``; its objects are gone, or still there with label -1."""
    label = altered.content["metainfo"]["categories"]["trailer"]
    altered.content["metainfo"]["categories"]["trailer"] = -1
    for info in altered.infos:
        for instance in info["instances"]:
            if instance["bbox_label_3d"] == label:
                instance["bbox_label_3d"] = instance["bbox_label"] = -1
        if not objects_left:
            info["instances"] = [i for i in info["instances"] if i["bbox_label_3d"] >= 0]
    found = altered.dataset(WITHOUT_TRAILER)[0]["data_samples"].gt_instances_3d.labels_3d
    expected = unaltered[0]["data_samples"].gt_instances_3d.labels_3d.tolist()
    assert [WITHOUT_TRAILER[label] for label in found] == [
        CLASSES[label] for label in expected if CLASSES[label] != "trailer"
    ]
    assert altered.perfect_score(WITHOUT_TRAILER)["mAP"] == pytest.approx(1.0)


def test_eleven_own_classes_are_scored_by_name(altered):
    names = "car truck bus van cyclist pedestrian tram trailer motorcycle cone barrier".split()
    altered.content["metainfo"]["categories"] = {name: label for label, name in enumerate(names)}
    for number, instance in enumerate(altered.objects):
        instance.update(bbox_label_3d=number % 11, bbox_label=number % 11, attribute="")
    first = altered.dataset(names)[0]["data_samples"].gt_instances_3d.labels_3d
    assert first.tolist() == [number % 11 for number in range(len(first))]
    report = altered.perfect_score(names)
    assert report["mAP"] == pytest.approx(1.0)
    assert list(report["per_class"]) == names


def points_lost(altered: Altered) -> None:
    for instance in altered.objects:
        instance.update(num_lidar_pts=0, num_radar_pts=0)


def same_token(altered: Altered) -> None:
    altered.infos[1]["token"] = altered.infos[0]["token"]


def box_without_size(altered: Altered) -> None:
    altered.infos[0]["instances"][0]["bbox_3d"][3:6] = [0, 0, 0]


def sample_without_labels(altered: Altered) -> None:
    del altered.infos[1]["instances"]


def points_that_are_not_finite(altered: Altered) -> None:
    altered.rewrite_sweeps(lambda points: np.vstack([points, np.full((3, 5), np.nan)]))


def no_sweep(altered: Altered) -> None:
    for info in altered.infos:
        info["lidar_points"] = dict(lidar_path="", lidar2ego=info["lidar_points"]["lidar2ego"])


@pytest.mark.parametrize(
    ("alter", "line"),
    [
        (points_lost, "none of .* objects has 1 LiDAR or radar points .* nothing to train on"),
        (same_token, r"data_list\[0\] and data_list\[1\] have the same token"),
        (box_without_size, r"instances\[0\] has a box without size"),
        (sample_without_labels, "1 of 3 samples have no instances"),
        (points_that_are_not_finite, "has 3 points that are not finite"),
        (no_sweep, "has no LiDAR sweep; leave LoadLidarPoints and LidarDepthMaps out"),
    ],
)
def test_what_cannot_train_is_refused_in_one_line(alter, line, altered):
    alter(altered)
    with pytest.raises(DataError, match=line) as error:
        altered.dataset(test_mode=False)[0]
    assert "\n" not in str(error.value)


def test_ground_truth_of_a_sample_without_labels_is_not_scored_as_empty(altered):
    sample_without_labels(altered)
    with pytest.raises(DataError, match=f"sample {altered.infos[1]['token']} has no `instances`"):
        altered.perfect_score()
