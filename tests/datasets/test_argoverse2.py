"""Argoverse 2: the same scenes in both layouts load to the same samples."""

from __future__ import annotations

import math
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bevdepth_plus.classes import CATEGORY_TO_CLASS
from bevdepth_plus.datasets import create_argoverse2_infos
from bevdepth_plus.datasets.argoverse2_log import track_velocities
from bevdepth_plus.datasets.create_argoverse2_infos import create_argoverse2_info_files
from bevdepth_plus.datasets.create_infos import create_info_files
from bevdepth_plus.datasets.info_file import read_info_file
from bevdepth_plus.datasets.nuscenes_dataset import NuScenesBEVDataset
from bevdepth_plus.datasets.sweeps import read_points
from bevdepth_plus.datasets.transforms import (
    ImageAugmentation,
    LidarDepthMaps,
    LoadLidarPoints,
    LoadMultiViewImages,
)
from bevdepth_plus.errors import DataError
from tests.conftest import REPO_ROOT
from tests.datasets.argoverse2_layout import START, TENTH, rewrite_nuscenes, write_small_log

pytest.importorskip("pyarrow", reason="needs pyarrow: pip install -e '.[argoverse2]'")

CAMERA = "ring_front_center"


@pytest.fixture(scope="module")
def pair(synthetic_root: Path, tmp_path_factory) -> tuple[NuScenesBEVDataset, NuScenesBEVDataset]:
    """The training scene as nuScenes and as Argoverse 2, two frames a sample."""
    folder = tmp_path_factory.mktemp("argoverse2")
    nuscenes, _ = create_info_files(synthetic_root, "v1.0-mini", folder / "infos", progress=False)
    root = rewrite_nuscenes(synthetic_root, "v1.0-mini", folder / "av2")
    argoverse, _ = create_argoverse2_info_files(root, progress=False, every=1)
    categories = list(read_info_file(argoverse)["metainfo"]["categories"])
    classes = [name for name in categories if name in CATEGORY_TO_CLASS]
    options = {"num_frames": 2, "test_mode": True}
    return (
        NuScenesBEVDataset(str(nuscenes), data_root=str(synthetic_root), **options),
        NuScenesBEVDataset(
            str(argoverse),
            data_root=str(root),
            data_prefix={"img": "", "pts": ""},
            metainfo={
                "classes": classes,
                "ignored_classes": [name for name in categories if name not in classes],
            },
            **options,
        ),
    )


@pytest.fixture(params=[0, 1, 2])
def both(pair, request) -> tuple[dict, dict]:
    """One sample in both layouts."""
    return tuple(dataset.get_data_info(request.param) for dataset in pair)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_small_log(tmp_path / "av2/train/log-a")
    write_small_log(tmp_path / "av2/train/log-b")
    write_small_log(tmp_path / "av2/val/log-c")
    return tmp_path / "av2"


def create(root: Path, **options) -> list[Path]:
    return create_argoverse2_info_files(root, progress=False, **options)


def boxes(sample: dict) -> np.ndarray:
    found = sample["ann_info"]["gt_bboxes_3d"]
    return np.concatenate([found.gravity_center.numpy(), found.tensor[:, 3:].numpy()], axis=1)


def names(dataset: NuScenesBEVDataset, sample: dict) -> list[str]:
    classes = [CATEGORY_TO_CLASS.get(name, name) for name in dataset.metainfo["classes"]]
    return [classes[label] for label in sample["ann_info"]["gt_labels_3d"]]


def test_both_layouts_have_the_same_number_of_samples(pair):
    assert [len(dataset) for dataset in pair] == [3, 3]


def test_boxes_and_classes_are_the_same(pair, both):
    expected, got = (boxes(sample) for sample in both)
    assert len(expected) > 5
    np.testing.assert_allclose(got[:, :6], expected[:, :6], atol=1e-4)
    turn = got[:, 6] - expected[:, 6]
    np.testing.assert_allclose(np.cos(turn), 1, atol=1e-8)
    assert names(pair[1], both[1]) == names(pair[0], both[0])


def test_velocities_are_the_devkits_where_both_neighbours_exist(pair):
    expected, got = (boxes(dataset.get_data_info(1))[:, 7:] for dataset in pair)
    known = np.isfinite(got).all(axis=1)
    assert known.sum() > 5 and np.abs(expected[known]).max() > 1
    np.testing.assert_allclose(got[known], expected[known], atol=1e-4)


@pytest.mark.parametrize("end", [0, 2])
def test_velocities_at_the_ends_of_a_track_are_unknown(pair, end):
    assert np.isnan(boxes(pair[1].get_data_info(end))[:, 7:]).all()


def test_projections_are_the_same(both):
    expected, got = both
    assert got["cam_names"] == expected["cam_names"]
    for key in ("intrinsics", "ego_T_cam", "ego2global", "time_offset"):
        np.testing.assert_allclose(got[key], expected[key], atol=1e-4, err_msg=key)
    assert got["frame_mask"].tolist() == expected["frame_mask"].tolist()
    assert [Path(p).read_bytes() for p in got["img_path"]] == [
        Path(p).read_bytes() for p in expected["img_path"]
    ]


def in_ego(sample: dict) -> np.ndarray:
    points = LoadLidarPoints()(sample)["points"].astype(np.float64)
    pose = sample["lidar2ego"]
    points[:, :3] = points[:, :3] @ pose[:3, :3].T + pose[:3, 3]
    return points


def test_lidar_points_are_the_same_to_float16(both):
    """Rounding to float16's 11 significant bits moves a coordinate by at most 2**-11 of it."""
    expected, got = (in_ego(sample) for sample in both)
    np.testing.assert_allclose(got[:, :3], expected[:, :3], rtol=2.0**-11, atol=1e-6)
    np.testing.assert_array_equal(got[:, 3], np.floor(expected[:, 3]))
    np.testing.assert_array_equal(got[:, 4], expected[:, 4])


def test_depth_maps_are_those_of_the_rounded_points(both):
    """nuScenes' own points, rounded to float16 in the ego frame, give the same depth maps."""
    expected, got = both
    rounded = in_ego(expected).astype(np.float16).astype(np.float32)
    expected = {**expected, "lidar2ego": np.eye(4), "points": rounded}
    augment = ImageAugmentation(final_dim=(64, 128))
    maps = []
    for sample in (expected, LoadLidarPoints()(got)):
        np.random.seed(0)
        maps.append(LidarDepthMaps()(augment(LoadMultiViewImages()(sample)))["depth_maps"])
    assert (maps[0] > 0).sum() > 1000
    np.testing.assert_allclose(maps[1], maps[0], atol=1e-4)


def test_every_fifth_annotated_sweep_is_a_key_frame_of_its_log(root):
    train, val = (read_info_file(path)["data_list"] for path in create(root))
    assert [len(train), len(val)] == [6, 3]
    stamps = [START + i * 5 * TENTH for i in range(3)]
    assert [info["token"] for info in train[3:]] == [f"log-b_{stamp}" for stamp in stamps]
    assert [info["prev"] for info in train[3:]] == [None, *(f"log-b_{s}" for s in stamps[:2])]
    np.testing.assert_allclose(np.diff([info["timestamp"] for info in train[3:]]), 0.5, atol=1e-6)
    assert (root / train[1]["lidar_points"]["lidar_path"]).is_file()


def test_a_camera_takes_its_image_nearest_to_the_sweep_and_the_pose_of_that_shot(root):
    info = read_info_file(create(root)[0])["data_list"][1]
    camera = info["images"][CAMERA]
    assert camera["timestamp"] - info["timestamp"] == pytest.approx(0.01, abs=1e-6)
    assert (root / camera["img_path"]).is_file()
    # The vehicle drives 5 m/s along the city's y in these 10 ms.
    step = np.subtract(camera["ego2global"], info["ego2global"])[:3, 3]
    np.testing.assert_allclose(step, [0, 0.05, 0], atol=1e-6)
    seen = np.array(camera["lidar2cam"]) @ [10.0, 0, 0, 1]
    np.testing.assert_allclose(seen[:3], [0, 0, 9.95], atol=1e-6)
    assert (camera["width"], camera["height"]) == (100, 60)


def test_a_velocity_is_over_the_ground_and_in_the_ego_frame(root):
    first, second, _ = read_info_file(create(root)[1])["data_list"]
    assert all(math.isnan(v) for v in first["instances"][0]["velocity"])
    np.testing.assert_allclose(second["instances"][0]["velocity"], [3, 0], atol=1e-6)


def test_a_track_with_a_long_gap_has_no_velocity_there():
    stamps = (np.array([0, 1, 2, 4, 5]) * 1e9).astype(np.int64)
    tracks = np.array(["a"] * 5, dtype=object)
    centres = np.arange(5.0)[:, None] * [1, 0, 0]
    found = track_velocities(tracks, stamps, centres)[:, 0]
    np.testing.assert_allclose(found, [np.nan, 1, np.nan, np.nan, np.nan])


def test_rows_of_several_tracks_in_any_order_are_told_apart():
    stamps = np.array([2, 0, 1, 1, 0, 2]) * 10**9
    tracks = np.array(["a", "a", "a", "b", "b", "b"], dtype=object)
    centres = np.array([4.0, 0, 2, 7, 8, 6])[:, None] * [1, 0, 0]
    found = track_velocities(tracks, stamps, centres)[:, 0]
    np.testing.assert_allclose(found, [np.nan, np.nan, 2, -1, np.nan, np.nan])


def test_a_camera_without_an_image_near_the_sweep_is_out_there(root):
    for shot in (START + 5 * TENTH + i * TENTH // 10 for i in range(-14, 16, 5)):
        (root / f"val/log-c/sensors/cameras/{CAMERA}/{shot}.jpg").unlink(missing_ok=True)
    infos = read_info_file(create(root)[1])["data_list"]
    assert [CAMERA in info["images"] for info in infos] == [True, False, True]


def test_images_between_the_key_frames_are_past_frames_at_any_interval(root):
    path = create(root, sweeps=True)[0]
    infos = read_info_file(path)["data_list"]
    assert [len(info["images"][CAMERA].get("sweeps", ())) for info in infos[:3]] == [0, 9, 9]
    dataset = NuScenesBEVDataset(
        str(path),
        data_root=str(root),
        data_prefix={"img": "", "pts": ""},
        metainfo={"classes": ["REGULAR_VEHICLE"]},
        num_frames=3,
        frame_interval=0.1,
        test_mode=True,
    )
    sample = dataset.get_data_info(1)
    np.testing.assert_allclose(sample["time_offset"], [0, -0.1, -0.2], atol=1e-6)
    np.testing.assert_allclose(np.diff(sample["ego_T_cam"][:, 0, 0, 3]), -0.5, atol=1e-6)
    assert all(Path(file).is_file() for file in sample["img_path"])


def test_finished_files_are_kept_and_new_images_make_them_anew(root, monkeypatch):
    first = [path.read_bytes() for path in create(root)]
    monkeypatch.setattr(create_argoverse2_infos, "log_infos", None)
    assert [path.read_bytes() for path in create(root)] == first
    monkeypatch.undo()
    shot = START + 5 * TENTH + TENTH // 10
    (root / f"train/log-a/sensors/cameras/{CAMERA}/{shot}.jpg").unlink()
    assert create(root)[0].read_bytes() != first[0]


def test_an_interrupted_run_goes_on_with_the_log_it_stopped_at(root, tmp_path, monkeypatch):
    straight = [path.read_bytes() for path in create(root, out_dir=tmp_path / "straight")]
    real, done = create_argoverse2_infos.log_infos, []

    def interrupted(root, path, *rest):
        if path.name == "log-b":
            raise KeyboardInterrupt
        return real(root, path, *rest)

    monkeypatch.setattr(create_argoverse2_infos, "log_infos", interrupted)
    with pytest.raises(KeyboardInterrupt):
        create(root)
    assert not list(root.glob("*.pkl"))
    monkeypatch.setattr(
        create_argoverse2_infos,
        "log_infos",
        lambda root, path, *rest: done.append(path.name) or real(root, path, *rest),
    )
    assert [path.read_bytes() for path in create(root)] == straight
    assert done == ["log-b", "log-c"]
    assert not list(root.glob(".*"))


def remove(name: str):
    def act(root: Path) -> None:
        path = root / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    return act


def cut(name: str):
    def act(root: Path) -> None:
        path = root / name
        path.write_bytes(path.read_bytes()[:-100])

    return act


def copy(source: str, target: str):
    return lambda root: shutil.copytree(root / source, root / target, dirs_exist_ok=True)


def swap_tables(root: Path) -> None:
    log = root / "val/log-c"
    shutil.copy(log / "calibration/intrinsics.feather", log / "city_SE3_egovehicle.feather")


def keep_one_pose(root: Path) -> None:
    from tests.datasets.argoverse2_layout import write_poses

    write_poses(root / "val/log-c", {START: np.eye(4)})


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (remove("val/log-c/annotations.feather"), "1 files are missing .*log-c/annotations.feat"),
        (remove("val/log-c/city_SE3_egovehicle.feather"), "1 files are missing .*city_SE3"),
        (remove("val/log-c/calibration"), "2 files are missing .*egovehicle_SE3_sensor"),
        (remove("val/log-c/sensors/lidar"), f"3 files are missing .*lidar/{START}.feather"),
        (remove("val/log-c/sensors/cameras"), "log-c/sensors/cameras holds no CAMERA"),
        (remove("val/log-c"), "val holds no logs"),
        (copy("train/log-a", "val/log-a"), "log log-a is in .*train and in .*val"),
        (copy(f"val/log-c/sensors/cameras/{CAMERA}", "val/log-c/sensors/cameras/x"), "no camera x"),
        (cut("val/log-c/annotations.feather"), "annotations.feather is no whole feather file"),
        (swap_tables, "city_SE3_egovehicle.feather lacks the column timestamp_ns"),
        (keep_one_pose, "city_SE3_egovehicle.feather has no pose at timestamp_ns"),
    ],
)
def test_what_is_missing_or_damaged_is_named_in_one_line(root, damage, message):
    damage(root)
    with pytest.raises(DataError, match=message) as error:
        create(root)
    assert "\n" not in str(error.value)
    assert not (root / "bevdepth_plus_infos_val.pkl").exists()


def test_a_folder_without_splits_is_refused(tmp_path):
    with pytest.raises(DataError, match="has no folder train or val"):
        create(tmp_path)


def test_a_root_with_one_split_gets_one_file(root):
    shutil.rmtree(root / "train")
    assert [path.name for path in create(root)] == ["bevdepth_plus_infos_val.pkl"]


def test_without_pyarrow_one_line_says_how_to_install_it(root, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(DataError, match=r'needs pyarrow .*pip install -e "\.\[argoverse2\]"'):
        create(root)


def test_a_feather_sweep_has_no_more_than_five_numbers_a_point(root):
    path = str(next((root / "val/log-c/sensors/lidar").glob("*.feather")))
    assert read_points(path, 3).shape == (3, 3)
    with pytest.raises(DataError, match="has 5 numbers .*not 6; correct num_pts_feats"):
        read_points(path, 6)


def run_tool(*args: str) -> subprocess.CompletedProcess:
    command = [sys.executable, str(REPO_ROOT / "tools" / "create_data.py"), *args]
    return subprocess.run(
        command, capture_output=True, text=True, env={"PYTHONPATH": str(REPO_ROOT)}
    )


@pytest.mark.slow
def test_the_tool_prints_the_files_it_wrote_and_shows_its_progress(root):
    done = run_tool(str(root), "--format", "argoverse2", "--every", "4")
    assert done.returncode == 0, done.stderr
    assert [Path(path).is_file() for path in done.stdout.split()] == [True, True]
    assert "train" in done.stderr and "6/6" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "--version is required for --format nuscenes"),
        (("--version", "v1.0-mini", "--every", "2"), "--every does not go with --format nuscenes"),
        (("--format", "argoverse2", "--version", "x"), "--version does not go with --format argo"),
    ],
)
def test_an_option_of_the_other_format_is_refused(tmp_path, options, message):
    done = run_tool(str(tmp_path), *options)
    assert done.returncode == 2 and message in done.stderr
