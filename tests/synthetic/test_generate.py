"""Making a data set: repeatable, resumable, and never half loadable."""

from __future__ import annotations

import hashlib
import importlib.util
import shutil
import sys
from pathlib import Path

import pytest
from nuscenes import NuScenes

from bevdepth_plus.errors import DataError
from bevdepth_plus.synthetic import generate
from bevdepth_plus.synthetic.generate import Settings, make_dataset, scene_names

REPO_ROOT = Path(__file__).resolve().parents[2]
SETTINGS = Settings(seed=0, keyframes=2, rig="nuscenes", image_size=(96, 54), depth=True)
SCENES = ["scene-0061", "scene-0103"]


def _bytes(root: Path) -> dict[str, str]:
    """A hash of every file a user gets, by its path."""
    return {
        str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(root.rglob("*"))
        if p.is_file()
    }


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("generate") / "data"
    assert make_dataset(path, "v1.0-mini", SCENES, SETTINGS, workers=1) == 4
    return path


def test_the_same_seed_gives_the_same_bytes_with_any_number_of_workers(
    root: Path, tmp_path: Path
) -> None:
    make_dataset(tmp_path / "data", "v1.0-mini", SCENES, SETTINGS, workers=2)
    expected = _bytes(root)
    assert len(expected) > 2 * 2 * (7 + 6)
    assert _bytes(tmp_path / "data") == expected


def test_another_seed_gives_other_pictures(root: Path, tmp_path: Path) -> None:
    other = Settings(1, 1, "nuscenes", (96, 54), False)
    make_dataset(tmp_path, "v1.0-mini", SCENES[:1], other)
    mine = {h for p, h in _bytes(tmp_path).items() if p.startswith("samples")}
    assert mine.isdisjoint(_bytes(root).values())


def test_an_interrupted_run_leaves_nothing_that_loads_and_goes_on(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "data"
    real, calls = generate.shoot_keyframe, []

    def interrupted(*args: object) -> dict:
        calls.append(args)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(generate, "shoot_keyframe", interrupted)
    with pytest.raises(KeyboardInterrupt):
        make_dataset(out, "v1.0-mini", SCENES, SETTINGS)
    with pytest.raises(AssertionError, match="Database version not found"):
        NuScenes("v1.0-mini", str(out), verbose=False)
    assert list((out / "samples").rglob("*.jpg"))
    monkeypatch.setattr(generate, "shoot_keyframe", real)
    assert make_dataset(out, "v1.0-mini", SCENES, SETTINGS) == 2  # the second scene only
    assert _bytes(out) == _bytes(root)


def test_tables_cut_short_while_writing_do_not_load(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "data"
    shutil.copytree(root, out)
    shutil.rmtree(out / "v1.0-mini")

    def fails(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("pathlib.Path.rename", fails)
    with pytest.raises(OSError, match="disk full"):
        make_dataset(out, "v1.0-mini", SCENES, SETTINGS)
    assert not (out / "v1.0-mini").exists()


def test_a_finished_data_set_grows_without_rendering_again(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "data"
    shutil.copytree(root, out)
    assert make_dataset(out, "v1.0-mini", SCENES, SETTINGS) == 0
    assert make_dataset(out, "v1.0-mini", [*SCENES, "scene-0553"], SETTINGS) == 2
    assert len(NuScenes("v1.0-mini", str(out), verbose=False).scene) == 3


def test_other_settings_in_the_same_folder_are_refused_by_name(root: Path) -> None:
    other = Settings(7, 2, "nuscenes", (96, 54), True)
    with pytest.raises(DataError, match=r"other settings \(--seed\); choose another folder"):
        make_dataset(root, "v1.0-mini", SCENES, other)


def test_a_folder_with_other_things_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "v1.0-mini").mkdir()
    with pytest.raises(DataError, match="holds no synthetic data set"):
        make_dataset(tmp_path, "v1.0-mini", SCENES, SETTINGS)
    assert [p.name for p in tmp_path.iterdir()] == ["v1.0-mini"]


def test_scenes_come_from_the_devkits_own_splits() -> None:
    from nuscenes.utils.splits import mini_train, mini_val, train, val

    assert scene_names("v1.0-mini", 8, 2) == mini_train[:8] + mini_val[:2]
    assert scene_names("v1.0-trainval", 700, 150) == train + val


def _tool(monkeypatch: pytest.MonkeyPatch, *options: object) -> int:
    """Runs the tool's main in this process (importing it in a new one takes seconds)."""
    path = REPO_ROOT / "tools/make_synthetic_nuscenes.py"
    spec = importlib.util.spec_from_file_location("make_synthetic_nuscenes", path)
    tool = importlib.util.module_from_spec(spec)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "argv", [str(path), *map(str, options)])
    spec.loader.exec_module(tool)
    return tool.main()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--train-scenes", 9],
            "--train-scenes: v1.0-mini holds 0 to 8 scenes in mini_train, got 9",
        ),
        (
            ["--val-scenes", 151, "--version", "v1.0-trainval"],
            "--val-scenes: v1.0-trainval holds 0 to",
        ),
        (["--train-scenes", 0, "--val-scenes", 0], "at least one scene is needed"),
        (["--version", "v1.0-test"], "--version: expected one of v1.0-mini, v1.0-trainval"),
        (["--keyframes", 0], "--keyframes: expected 1 to 100, got 0"),
        (["--image-size", 8, 8], "--image-size: expected 16 to 8192 pixels, got 8 8"),
        (["--workers", 0], "--workers: expected at least 1, got 0"),
        (
            ["--sequence-rate", 5],
            "--sequence-rate: expected a multiple of 2 Hz from 4 to 60, got 5",
        ),
        (["--sequence-rate", 10, "--keyframes", 1], "give --keyframes 2 or more, got 1"),
        (
            ["--sequence-rate", 10, "--sweep-cameras", "CAM_TOP"],
            "--sweep-cameras: the rig has no camera CAM_TOP; it has CAM_FRONT,",
        ),
        (["--sweep-cameras", "CAM_FRONT"], "--sweep-cameras: also needs --sequence-rate HZ"),
        (["--rig", "no_such_rig.yaml"], "no_such_rig.yaml: cannot read the rig file"),
    ],
)
def test_bad_options_end_in_one_line_and_create_nothing(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
    options: list,
    message: str,
) -> None:
    assert _tool(monkeypatch, tmp_path / "out", *options) == 2
    stderr = capsys.readouterr().err
    assert len(stderr.strip().splitlines()) == 1
    assert message in stderr
    assert not (tmp_path / "out").exists()


def test_a_file_in_place_of_the_folder_ends_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "out").write_text("")
    assert _tool(monkeypatch, tmp_path / "out") == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_the_tool_writes_any_rig_and_says_what_it_did(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    rig = tmp_path / "rig.yaml"
    rig.write_text(
        "cameras:\n  - {name: CAM_ONE, width: 64, height: 48, fx: 40, position: [0, 0, 1.5]}"
    )
    options = ["--rig", rig, "--train-scenes", 1, "--val-scenes", 0, "--keyframes", 1]
    assert _tool(monkeypatch, tmp_path / "out", *options, "--workers", 1) == 0
    assert "1 scenes, 1 key frames rendered" in capsys.readouterr().out
    nusc = NuScenes("v1.0-mini", str(tmp_path / "out"), verbose=False)
    assert set(nusc.sample[0]["data"]) == {"CAM_ONE", "LIDAR_TOP"}
    data = nusc.get("sample_data", nusc.sample[0]["data"]["CAM_ONE"])
    assert (data["width"], data["height"]) == (64, 48)
    calibrated = nusc.get("calibrated_sensor", data["calibrated_sensor_token"])
    assert calibrated["camera_intrinsic"] == [[40, 0, 32], [0, 40, 24], [0, 0, 1]]
