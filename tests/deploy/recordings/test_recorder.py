"""What holds for every format: whole or not at all, and refused frames."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest

from bevdepth_plus.deploy.recordings import (
    FORMATS,
    AutowareRecorder,
    FoxgloveRecorder,
    NuScenesRecorder,
    recorder_of,
)
from bevdepth_plus.deploy.recordings import recorder as recorder_module
from bevdepth_plus.errors import DataError
from bevdepth_plus.files import atomic_write

PACKAGES = {"foxglove": "foxglove", "rerun": "rerun", "autoware": "mcap_ros2"}


@pytest.fixture(params=[*FORMATS])
def recorder(request):
    if request.param in PACKAGES:
        pytest.importorskip(PACKAGES[request.param])
    return recorder_of(request.param)


@pytest.fixture
def path(recorder, tmp_path):
    return tmp_path / f"drive{recorder.SUFFIX}"


def test_a_file_takes_its_name_when_it_is_closed(recorder, path, rig, result, images):
    recorder.open(path, rig, result.boxes.classes)
    recorder.write(result, images)
    assert not path.exists()
    recorder.close()
    recorder.close()
    assert path.stat().st_size > 0
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_an_error_in_the_block_leaves_the_frames_before_it(recorder, path, rig, result, images):
    with (
        pytest.raises(KeyboardInterrupt),
        recorder.open(path, rig, result.boxes.classes) as opened,
    ):
        opened.write(result, images)
        raise KeyboardInterrupt
    assert path.stat().st_size > 0


def test_an_error_before_the_first_frame_leaves_what_was_there(recorder, path, rig, result):
    path.write_bytes(b"an earlier recording")
    with pytest.raises(KeyboardInterrupt), recorder.open(path, rig, result.boxes.classes):
        raise KeyboardInterrupt
    assert path.read_bytes() == b"an earlier recording"
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_killed_process_leaves_no_file_of_that_name(tmp_path):
    script = f"""
import os
import numpy as np
from bevdepth_plus.deploy.recordings import AutowareRecorder
from bevdepth_plus.deploy.results import Boxes, Result
from bevdepth_plus.rigs.rig import Rig
empty = Boxes(*(np.zeros((0, n)) for n in (3, 3)), np.zeros(0), np.zeros((0, 2)), np.zeros(0),
              np.zeros(0, int), ("car",))
recorder = AutowareRecorder().open({str(tmp_path / "a.mcap")!r}, Rig(()), ("car",))
recorder.write(Result(empty, stamp=1.0), {{}})
os.kill(os.getpid(), 9)
"""
    pytest.importorskip("mcap_ros2")
    process = subprocess.run([sys.executable, "-c", script], check=False)
    assert process.returncode == -9
    assert not (tmp_path / "a.mcap").exists()


class FullDisk:
    """Takes some bytes, then no more."""

    def __init__(self, file, room: int) -> None:
        self.file, self.room = file, room

    def write(self, data) -> int:
        self.room -= len(data)
        if self.room < 0:
            raise OSError(28, "No space left on device")
        return self.file.write(data)

    def __getattr__(self, name):
        return getattr(self.file, name)


@pytest.mark.parametrize("name", ["foxglove", "autoware", "nuscenes"])
def test_a_full_disk_is_reported_and_leaves_no_file(
    name, tmp_path, rig, result, images, monkeypatch
):
    @contextmanager
    def small_file(path):
        with atomic_write(path) as file:
            yield FullDisk(file, 100)

    monkeypatch.setattr(recorder_module, "atomic_write", small_file)
    if name in PACKAGES:
        pytest.importorskip(PACKAGES[name])
    recorder = recorder_of(name)
    path = tmp_path / f"drive{recorder.SUFFIX}"
    with (
        pytest.raises(OSError, match="No space left"),
        recorder.open(path, rig, result.boxes.classes) as opened,
    ):
        opened.write(result, images)
    assert list(tmp_path.iterdir()) == []


def not_finite(result):
    centres = result.boxes.centres.copy()
    centres[1, 2] = np.nan
    return replace(result, boxes=replace(result.boxes, centres=centres))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: replace(r, stamp=None), "has no time"),
        (lambda r: replace(r, stamp=float("nan")), "time is nan; it must be seconds"),
        (lambda r: replace(r, stamp=1.5e18), "must be seconds"),
        (not_finite, "box 1: centres is not finite"),
        (lambda r: replace(r, world_T_ego=np.eye(4) * 2), "world_T_ego is no rigid transform"),
        (lambda r: replace(r, boxes=replace(r.boxes, classes=("a", "b", "c"))), "classes a, b, c"),
        (lambda r: replace(r, boxes=replace(r.boxes, sizes=r.boxes.sizes * 0)), "size of 0 m"),
    ],
)
def test_a_refused_frame_costs_nothing_but_itself(
    recorder, path, rig, result, images, change, message
):
    with recorder.open(path, rig, result.boxes.classes) as opened:
        with pytest.raises(DataError, match=message):
            opened.write(change(result), images)
        opened.write(result, images)
    assert path.exists()


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (b"no image", "camera FRONT: its image cannot be read"),
        ("nowhere.jpg", r"camera FRONT: its image \(nowhere.jpg\) cannot be read"),
        (np.zeros((4, 4)), r"camera FRONT: an image must be uint8 \[H, W, 3\], got float64"),
    ],
)
def test_a_bad_image_is_named(tmp_path, rig, result, image, message):
    pytest.importorskip("foxglove")
    with FoxgloveRecorder().open(tmp_path / "a.mcap", rig, result.boxes.classes) as recorder:
        with pytest.raises(DataError, match=message):
            recorder.write(result, {"FRONT": image})
        recorder.discard()
    assert list(tmp_path.iterdir()) == []


def test_points_of_another_shape_are_refused(tmp_path, rig, result, images):
    recorder = NuScenesRecorder().open(tmp_path / "a.json", rig, result.boxes.classes)
    with pytest.raises(DataError, match=r"points must be \[P, 3 or more\]"):
        recorder.write(result, images, np.zeros(3))


def test_a_wrong_ending_is_refused(recorder, tmp_path, rig):
    with pytest.raises(DataError, match=f"end in {recorder.SUFFIX}; rename it"):
        recorder.open(tmp_path / "drive.txt", rig, ("car",))


def test_a_missing_package_is_named_with_what_installs_it(tmp_path, rig, monkeypatch):
    def import_module(name):
        raise ImportError(f"No module named '{name}'")

    monkeypatch.setattr("bevdepth_plus.deploy.packages.import_module", import_module)
    for recorder, extra in ((FoxgloveRecorder(), "foxglove"), (AutowareRecorder(), "mcap")):
        with pytest.raises(DataError, match=rf"pip install 'bevdepth_plus\[{extra}\]'"):
            recorder.open(tmp_path / "a.mcap", rig, ("car",))
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_format_is_refused():
    with pytest.raises(DataError, match="no recording format 'avi'; there are nuscenes, foxglove"):
        recorder_of("avi")


def test_importing_recordings_imports_no_optional_package():
    script = (
        "import sys, bevdepth_plus.deploy.recordings\n"
        "names = ['foxglove', 'mcap', 'mcap_ros2', 'rerun', 'scipy', 'torch', 'mmengine', "
        "'nuscenes']\n"
        "print([name for name in names if name in sys.modules])"
    )
    answer = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "[]"


def test_nuscenes_results_lie_in_the_global_frame(tmp_path, rig, result, boxes, world_T_ego):
    from bevdepth_plus.evaluation.nuscenes_format import boxes_from_results
    from bevdepth_plus.evaluation.submission import check_submission, read_submission

    path = tmp_path / "results.json"
    with NuScenesRecorder().open(path, rig, boxes.classes) as recorder:
        recorder.write(result, {})
        recorder.write(replace(result, stamp=result.stamp + 0.5, boxes=boxes[:0]), {})
    content = read_submission(path)
    tokens = ["1532402927500000", "1532402928000000"]
    assert check_submission(content, tokens) == []
    found, scores, labels = boxes_from_results(
        content["results"][tokens[0]], ego2global=world_T_ego, classes=boxes.classes
    )
    # A tilted ego makes upright boxes lean, and their velocity on the global ground is shorter.
    np.testing.assert_allclose(found[:, :7], boxes.as_array()[:, :7], atol=1e-9)
    np.testing.assert_allclose(found[0, 7:], (0.5, 6.0), atol=0.02)
    np.testing.assert_array_equal(found[1, 7:], 0)
    np.testing.assert_array_equal(scores, boxes.scores)
    np.testing.assert_array_equal(labels, boxes.labels)


def test_nuscenes_results_need_poses_and_their_own_tokens(tmp_path, rig, result):
    recorder = NuScenesRecorder(token=lambda result: "one")
    with recorder.open(tmp_path / "a.json", rig, result.boxes.classes):
        with pytest.raises(DataError, match="has no world_T_ego; give the stream ego poses"):
            recorder.write(replace(result, world_T_ego=None), {})
        recorder.write(result, {})
        with pytest.raises(DataError, match="two results have the sample token one"):
            recorder.write(result, {})
    assert list(json.loads((tmp_path / "a.json").read_text())["results"]) == ["one"]
