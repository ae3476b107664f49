"""tools/infer.py from the command line to its files, with a detector that needs no network."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from bevdepth_plus.deploy import infer
from bevdepth_plus.deploy.command_line import progress, run_light_tool
from bevdepth_plus.deploy.features import ImageFeatures, PerceivedCamera
from bevdepth_plus.deploy.inferencer import Detection
from bevdepth_plus.deploy.results import Boxes
from bevdepth_plus.deploy.stage_times import StageTimes
from bevdepth_plus.geometry.grid_axes import GridAxes
from bevdepth_plus.rigs.images import read_image
from bevdepth_plus.rigs.poses import camera_pose
from bevdepth_plus.rigs.rig import Rig, RigCamera
from bevdepth_plus.rigs.rig_file import save_rig

CLASSES = ("car", "pedestrian")


class FakeInferencer:
    """A car ahead with a score of 0.9 and a pedestrian with 0.1, whatever the images show."""

    frames = 1
    calls: tuple = ()

    def __init__(self, *arguments, **options) -> None:
        type(self).calls = (arguments, options)
        grid = GridAxes((-51.2, 51.2, 0.8), (-51.2, 51.2, 0.8), (-5, 3, 8))
        self.description = SimpleNamespace(
            num_frames=self.frames, frame_interval=0.5, classes=CLASSES, grid=grid
        )

    def prepare(self, image, camera):
        return read_image(image, camera.name)

    def perceive(self, images, cameras, stamps):
        depth = np.full((4, 6), 9.0, np.float32)
        eye = np.eye(3)
        return [
            PerceivedCamera(c.name, ImageFeatures(0, 0, depth), eye, eye, c.ego_T_cam, stamp)
            for c, stamp in zip(cameras, stamps, strict=True)
        ]

    def detect(self, moments, clock):
        with clock.stage("BEV part"):
            boxes = Boxes(
                np.array([[12.0, 0, 1], [8, 2, 1]]), np.array([[4.0, 2, 1.5], [0.6, 0.6, 1.8]]),
                np.zeros(2), np.full((2, 2), np.nan), np.array([0.9, 0.1]), np.array([0, 1]),
                CLASSES,
            )  # fmt: skip
        camera_depth = {camera.name: camera.features.depth_map for camera, _ in moments[0]}
        return Detection(boxes, camera_depth)


@pytest.fixture(autouse=True)
def fake(monkeypatch):
    monkeypatch.setattr(FakeInferencer, "frames", 1)
    monkeypatch.setattr(infer, "Inferencer", FakeInferencer)
    return FakeInferencer


@pytest.fixture
def rig_file(tmp_path) -> Path:
    """Two cameras with three images each, without times in their names."""
    intrinsics = np.array([[90.0, 0, 48], [0, 90, 32], [0, 0, 1]])
    cameras = []
    for name, yaw in (("FRONT", 0.0), ("BACK", 180.0)):
        folder = tmp_path / "images" / name
        folder.mkdir(parents=True)
        for index in range(3):
            picture = np.full((64, 96, 3), 60 + 40 * index, np.uint8)
            cv2.imwrite(str(folder / f"{index}.jpg"), picture)
        pose = camera_pose((1.5, 0, 1.6), yaw, 0, 0)
        cameras.append(
            RigCamera(name, 96, 64, intrinsics, pose, image=f"images/{name}/*.jpg", folder=tmp_path)
        )
    save_rig(Rig(tuple(cameras)), tmp_path / "rig.yaml")
    return tmp_path / "rig.yaml"


@pytest.fixture
def model(tmp_path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    return folder


@pytest.fixture
def call(model, tmp_path, monkeypatch, capsys):
    """``call("--rig", ...)``: exit status, standard output, and the last line of errors."""

    def run(*arguments, out=tmp_path / "out"):
        words = ["infer.py", str(model), "--out", str(out), *map(str, arguments)]
        monkeypatch.setattr(sys, "argv", words)
        try:
            run_light_tool(infer.main)
            status = 0
        except SystemExit as end:
            status = end.code
        said = capsys.readouterr()
        return status, said.out, said.err.strip().splitlines()[-1] if said.err.strip() else ""

    return run


def test_images_of_a_rig_become_results_and_pictures(call, rig_file, tmp_path):
    status, said, _ = call("--rig", rig_file)
    assert status == 0
    results = json.loads((tmp_path / "out" / "nuscenes.json").read_text())["results"]
    assert list(results) == ["0", "500000", "1000000"]
    # Without poses: the ego frame. All boxes, also those below the pictures' threshold.
    assert [box["translation"] for box in results["0"]] == [[12.0, 0.0, 1.0], [8.0, 2.0, 1.0]]
    assert "the nuScenes results are in the ego frame" in said
    assert len(list((tmp_path / "out" / "pictures").iterdir())) == 3
    assert "moments: 3, boxes with a score of 0.3 or more: 3" in said
    for stage in ("pixels", "image part", "BEV part", "writing", "all stages"):
        assert stage in said


def test_what_is_implausible_in_a_rig_is_said_before_its_boxes(call, rig_file):
    status, said, _ = call("--rig", rig_file)
    assert status == 0 and f"{rig_file}:" not in said
    rig_file.write_text(rig_file.read_text().replace("cx: 48", "cx: 980"))
    status, said, _ = call("--rig", rig_file)
    assert status == 0 and said.startswith(f"{rig_file}: FRONT: cx")


@pytest.mark.parametrize("source", ["folder", "video", "nuscenes"])
def test_every_source_gives_results(call, rig_file, tmp_path, synthetic_root, source):
    if source == "nuscenes":
        arguments = ["--nuscenes", synthetic_root, "--scene", "scene-0061"]
    elif source == "folder":
        arguments = ["--rig", rig_file, "--images", tmp_path / "images"]
    else:
        writer = cv2.VideoWriter(
            str(tmp_path / "f.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 10, (96, 64)
        )
        if not writer.isOpened():
            pytest.skip("this OpenCV writes no video")
        for _ in range(3):
            writer.write(np.full((64, 96, 3), 99, np.uint8))
        writer.release()
        arguments = ["--rig", rig_file, "--video", f"FRONT={tmp_path / 'f.avi'}"]
    status, _, error = call(*arguments, "--depth", "--limit", 2)
    assert status == 0, error
    content = json.loads((tmp_path / "out" / "nuscenes.json").read_text())
    assert len(content["results"]) == 2
    assert len(list((tmp_path / "out" / "pictures").glob("*_depth.jpg"))) == 2
    if source == "nuscenes":
        samples = json.loads((synthetic_root / "v1.0-mini" / "sample.json").read_text())
        assert set(content["results"]) <= {sample["token"] for sample in samples}


def test_poses_put_results_into_the_world_and_give_a_past(call, fake, rig_file, tmp_path):
    fake.frames = 2
    rows = "".join(f"{k / 2},1,0,0,{100 + 3 * k},0,1,0,0,0,0,1,0\n" for k in range(3))
    (tmp_path / "poses.csv").write_text(rows)
    status, said, error = call("--rig", rig_file, "--poses", tmp_path / "poses.csv")
    assert status == 0, error
    results = json.loads((tmp_path / "out" / "nuscenes.json").read_text())["results"]
    assert [boxes[0]["translation"][0] for boxes in results.values()] == [112.0, 115.0, 118.0]
    assert "moments with a past: 2" in said and "ego frame" not in said
    status, said, _ = call("--rig", rig_file)
    assert "sees 2 frames and there are no poses" in said and "moments with a past: 0" in said


def test_recordings_are_written_beside_each_other(call, rig_file, tmp_path):
    pytest.importorskip("foxglove")
    pytest.importorskip("mcap_ros2")
    status, _, error = call("--rig", rig_file, "--write", "foxglove", "autoware")
    assert status == 0, error
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "autoware.mcap",
        "foxglove.mcap",
    ]


def test_one_moment_is_told_in_words(call, rig_file):
    _, said, _ = call("--rig", rig_file, "--limit", 1)
    assert "car 0.90: 12.0 m ahead, 0.0 m to the left; 4.0 x 2.0 x 1.5 m" in said
    assert "pedestrian" not in said


def test_a_damaged_image_costs_its_camera_this_moment(call, rig_file, tmp_path):
    (tmp_path / "images" / "BACK" / "1.jpg").write_bytes(b"no image")
    status, said, _ = call("--rig", rig_file)
    assert status == 0 and "camera BACK was missing in 1 of 3 moments" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give the cameras with --rig RIG.yaml, or a scene with --nuscenes ROOT"),
        (["--rig", "none.yaml"], "none.yaml: cannot read the rig file"),
        (["--rig", "{rig}", "--cameras", "TOP"], "no camera 'TOP'"),
        (["--rig", "{rig}", "--write", "rosbag"], "--write rosbag: choose from nuscenes"),
        (["--rig", "{rig}", "--video", "front.mp4"], "--video front.mp4: expected CAMERA=FILE"),
        (["--rig", "{rig}", "--images", "none"], "--images none is no folder"),
        (["--rig", "{rig}", "--fps", "0"], "--fps 0: give moments a second"),
        (["--rig", "{rig}", "--limit", "0"], "--limit 0: give 1 or more"),
        (["--rig", "{rig}", "--score-thr", "3"], "--score-thr 3: scores are from 0 to 1"),
        (["--rig", "{rig}", "--interval", "0"], "--interval 0: give seconds"),
        (["--rig", "{rig}", "--nuscenes", "x"], "--nuscenes has its own rig and poses"),
        (["--nuscenes", "x"], "x/v1.0-mini does not exist; versions in x: none"),
        (["--rig", "{rig}", "--poses", "none.csv"], "none.csv: cannot read the poses"),
    ],
)
def test_wrong_options_end_in_one_line_and_leave_nothing(
    call, rig_file, tmp_path, arguments, message
):
    status, _, error = call(*(word.format(rig=rig_file) for word in arguments))
    assert (status, message in error) == (2, True), error
    assert not (tmp_path / "out").exists()


def test_a_model_that_does_not_exist_is_named(call, model, rig_file):
    model.rmdir()
    status, _, error = call("--rig", rig_file)
    assert status == 2 and "MODEL" in error and "does not exist" in error


def test_a_folder_that_cannot_be_written_is_named(call, rig_file, tmp_path):
    (tmp_path / "file").write_text("")
    status, _, error = call("--rig", rig_file, out=tmp_path / "file" / "out")
    assert status == 2 and "choose another folder with --out" in error


def test_a_recording_whose_package_is_missing_leaves_nothing(call, rig_file, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "rerun", None)
    status, _, error = call("--rig", rig_file, "--write", "nuscenes", "pictures", "rerun")
    assert status == 2 and "pip install 'bevdepth_plus[rerun]'" in error
    assert not (tmp_path / "out").exists()


def test_images_that_cannot_be_used_at_all_are_an_error(call, rig_file, tmp_path):
    for path in (tmp_path / "images").rglob("*.jpg"):
        path.write_bytes(b"no image")
    status, _, error = call("--rig", rig_file)
    assert status == 2 and "no image could be used; FRONT: camera FRONT" in error
    assert not (tmp_path / "out").exists()


def test_an_error_in_the_middle_keeps_the_moments_before_it(
    call, fake, rig_file, tmp_path, monkeypatch
):
    detect, calls = fake.detect, []

    def failing(self, moments, clock):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return detect(self, moments, clock)

    monkeypatch.setattr(fake, "detect", failing)
    status, _, error = call("--rig", rig_file)
    assert status == 130 and "interrupted" in error
    results = json.loads((tmp_path / "out" / "nuscenes.json").read_text())["results"]
    assert len(results) == 2 and len(list((tmp_path / "out" / "pictures").iterdir())) == 2


def test_options_of_the_backend_are_handed_on(call, fake, model, rig_file):
    call("--rig", rig_file, "--precision", "bf16", "--backend", "openvino", "--pixels", "fast")
    assert fake.calls == ((model.__fspath__(), None, "openvino", "fast"), {"precision": "bf16"})


def test_without_tqdm_progress_is_lines(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    monkeypatch.setattr("bevdepth_plus.deploy.command_line.LINE_EVERY", 0.0)
    assert list(progress(range(3), 3, "moment")) == [0, 1, 2]
    assert "moments: 2 of 3" in capsys.readouterr().err


def test_the_table_has_median_largest_and_first_time():
    times = StageTimes()
    for spent in (9.0, 1.0, 2.0):
        times.add({"pixels": spent})
    assert times.table().splitlines()[1].split() == ["pixels", "2.0", "9.0", "9.0"]
