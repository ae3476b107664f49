"""Which images belong together, and when they were taken."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from bevdepth_plus.deploy.sources.drives import only_cameras
from bevdepth_plus.deploy.sources.image_files import (
    drive_from_folder,
    drive_from_patterns,
    drive_of_files,
    stamp_of,
)
from bevdepth_plus.deploy.sources.nuscenes_scenes import drive_from_scene
from bevdepth_plus.deploy.sources.videos import drive_from_videos
from bevdepth_plus.errors import DataError
from bevdepth_plus.rigs.poses import camera_pose
from bevdepth_plus.rigs.rig import Rig, RigCamera
from bevdepth_plus.rigs.rig_file import save_rig

START = 1_532_402_927_000_000  # microseconds


def rig_of(*names: str, **options) -> Rig:
    intrinsics = np.array([[90.0, 0, 48], [0, 90, 32], [0, 0, 1]])
    return Rig(
        tuple(
            RigCamera(
                name, 96, 64, intrinsics, camera_pose((1.5, 0, 1.6), 60.0 * i, 0, 0), **options
            )
            for i, name in enumerate(names)
        )
    )


def images(folder: Path, names: list[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        cv2.imwrite(str(folder / name), np.full((64, 96, 3), 90, np.uint8))


def stamped(microseconds: float) -> str:
    return f"a__CAM__{START + round(microseconds)}.jpg"


@pytest.mark.parametrize(
    ("name", "seconds"),
    [
        ("n015-2018-07-24__CAM_FRONT__1532402927612460.jpg", 1532402927.61246),
        ("1532402927612.png", 1532402927.612),
        ("front_1532402927.25.jpg", 1532402927.25),
        ("1532402927612460001.jpg", 1532402927.61246),
        ("0000000012.png", None),  # KITTI counts
        ("IMG_20240518_153012.jpg", None),
        ("front.jpg", None),
    ],
)
def test_a_time_is_read_from_a_files_name(name, seconds):
    found = stamp_of(Path(name))
    assert found is None if seconds is None else found == pytest.approx(seconds, abs=1e-6)


def test_files_with_times_make_moments_of_what_was_taken_together(tmp_path):
    images(tmp_path / "A", [stamped(k * 100_000) for k in range(3)])
    images(tmp_path / "B", [stamped(k * 100_000 + 20_000) for k in (0, 2)])  # one is lost
    drive = drive_from_folder(tmp_path, rig_of("A", "B"))
    assert [[image.camera for image in moment.images] for moment in drive.moments] == [
        ["A", "B"], ["A"], ["A", "B"],
    ]  # fmt: skip
    assert [round(moment.stamp - START / 1e6, 6) for moment in drive.moments] == [0.02, 0.1, 0.22]


def test_files_without_times_go_in_order_at_the_rate_and_delays_of_the_rig(tmp_path):
    images(tmp_path / "A", ["1.jpg", "2.jpg"])
    images(tmp_path / "B", ["x1.png", "x2.png"])
    late = rig_of("B", delay=0.03).cameras
    rig = Rig((*rig_of("A", delay=-0.01).cameras, *late))
    drive = drive_from_folder(tmp_path, rig, fps=10)
    assert [[(i.camera, round(i.stamp, 3)) for i in m.images] for m in drive.moments] == [
        [("A", 0.0), ("B", 0.04)], [("A", 0.1), ("B", 0.14)],
    ]  # fmt: skip
    assert drive.notes == ()
    assert "2 moments a second" in drive_from_folder(tmp_path, rig).notes[0]


def test_one_file_a_camera_is_one_moment(tmp_path):
    images(tmp_path, ["A.jpg", "B.png", "notes.jpg"])
    drive = drive_from_folder(tmp_path, rig_of("A", "B"))
    (moment,) = drive.moments
    assert sorted(Path(image.image).name for image in moment.images) == ["A.jpg", "B.png"]


def test_patterns_of_the_rig_file_name_the_images(tmp_path):
    images(tmp_path / "front", ["1.jpg", "2.jpg"])
    rig = rig_of("A", image="front/*.jpg", folder=tmp_path)
    assert drive_from_patterns(rig).count == 2


def test_unequal_numbers_of_files_are_named_with_their_cameras(tmp_path):
    files = {"A": [Path("1.jpg"), Path("2.jpg")], "B": [Path("1.jpg")]}
    with pytest.raises(DataError, match=r"different numbers of images \(A 2, B 1\)"):
        drive_of_files(rig_of("A", "B"), files)


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda root: None, "camera B: .* has neither a folder B nor a file B.jpg"),
        (lambda root: (root / "B").mkdir(), "camera B: .*B holds no .jpg"),
        (lambda root: images(root, ["B.jpg", "B.png"]), "B.jpg and B.png; keep one"),
    ],
)
def test_a_camera_without_images_is_named(tmp_path, prepare, message):
    images(tmp_path, ["A.jpg"])
    prepare(tmp_path)
    with pytest.raises(DataError, match=message):
        drive_from_folder(tmp_path, rig_of("A", "B"))
    with pytest.raises(DataError, match="camera A has no image; add image"):
        drive_from_patterns(rig_of("A"))
    with pytest.raises(DataError, match="no camera 'C'; it has A, B"):
        only_cameras(rig_of("A", "B"), ["C"])


@pytest.fixture
def videos(tmp_path):
    """Two videos whose frames hold their own number as a shade: 10 and 4 frames a second."""

    def write(name: str, fps: float, frames: int) -> Path:
        path = tmp_path / f"{name}.avi"
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), fps, (96, 64))
        if not writer.isOpened():
            pytest.skip("this OpenCV writes no video")
        for index in range(frames):
            writer.write(np.full((64, 96, 3), 10 * index, np.uint8))
        writer.release()
        return path

    return {"A": write("a", 10, 21), "B": write("b", 4, 8)}


def test_a_moment_takes_the_frame_nearest_to_it_from_each_video(videos):
    drive = drive_from_videos(rig_of("A", "B", "C"), videos)
    assert drive.rig.names == ("A", "B")
    shown = [
        {image.camera: round(float(np.mean(image.image)) / 10) for image in moment.images}
        for moment in drive.moments
    ]
    assert drive.count == len(shown) == 8
    # B has a frame each 0.25 s, A each 0.1 s
    assert [each["B"] for each in shown] == list(range(8))
    assert [each["A"] for each in shown] == [0, 2, 5, 7, 10, 12, 15, 17]
    assert abs(next(iter(drive.moments)).stamp) < 1e-9


def test_videos_end_with_the_shortest_and_can_be_thinned_out(videos):
    drive = drive_from_videos(rig_of("A", "B"), videos, fps=1)
    assert [round(moment.stamp, 2) for moment in drive.moments] == [0.0, 1.0]
    cut = dict(videos, B=videos["A"])
    assert not drive_from_videos(rig_of("A", "B"), cut).notes


def test_a_video_that_cannot_be_read_is_named(videos, tmp_path, capfd):
    (tmp_path / "text.mp4").write_text("no video")
    for path, message in (
        (tmp_path / "text.mp4", "camera B: .*text.mp4 cannot be read as a video"),
        (tmp_path / "none.mp4", "camera B: the video .*none.mp4 does not exist"),
    ):
        with pytest.raises(DataError, match=message):
            drive_from_videos(rig_of("A", "B"), dict(videos, B=path))
    with pytest.raises(DataError, match="no camera 'Z'"):
        drive_from_videos(rig_of("A", "B"), dict(videos, Z=videos["A"]))


def test_a_scene_gives_images_calibration_and_the_pose_of_each_shot(synthetic_root):
    drive = drive_from_scene(synthetic_root, "v1.0-mini", "scene-0103")
    moments = list(drive.moments)
    assert drive.count == len(moments) == 3 and all(len(m.images) == 6 for m in moments)
    assert np.diff([moment.stamp for moment in moments]) == pytest.approx(0.5, abs=0.01)
    tables = synthetic_root / "v1.0-mini"
    records = json.loads((tables / "sample_data.json").read_text())
    poses = {each["token"]: each for each in json.loads((tables / "ego_pose.json").read_text())}
    by_stamp = {pose.stamp: pose.world_T_ego for pose in drive.poses}
    for image in moments[1].images:
        path = str(Path(image.image).relative_to(synthetic_root))
        record = next(each for each in records if each["filename"] == path)
        assert record["sample_token"] == moments[1].token
        expected = poses[record["ego_pose_token"]]["translation"]
        np.testing.assert_array_equal(by_stamp[image.stamp][:3, 3], expected)


def test_a_scene_that_cannot_be_read_says_what_there_is(synthetic_root, tmp_path):
    for arguments, message in (
        (("v1.0-mini", "scene-9999"), "no scene scene-9999; it has scene-0061, scene-0103"),
        (("v1.0-mini", None), "choose one with --scene; it has scene-0061, scene-0103"),
        (("v1.0-test", "scene-0061"), "v1.0-test does not exist; versions in .*: v1.0-mini"),
    ):
        with pytest.raises(DataError, match=message):
            drive_from_scene(synthetic_root, *arguments)
    shutil.copytree(synthetic_root / "v1.0-mini", tmp_path / "v1.0-mini")
    with pytest.raises(DataError, match="CAM_.* does not exist; is .* the folder that holds samp"):
        drive_from_scene(tmp_path, "v1.0-mini", "scene-0103")
    poses = tmp_path / "v1.0-mini" / "ego_pose.json"
    poses.write_text(poses.read_text()[:-200])
    with pytest.raises(DataError, match=r"ego_pose\.json is cut or no table"):
        drive_from_scene(tmp_path, "v1.0-mini", "scene-0103")


def test_a_rig_file_of_a_scene_is_read_back(synthetic_root, tmp_path):
    rig = drive_from_scene(synthetic_root, "v1.0-mini", "scene-0103", ["CAM_BACK"]).rig
    save_rig(rig, tmp_path / "rig.yaml")
    assert rig.names == ("CAM_BACK",)
