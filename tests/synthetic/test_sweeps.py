"""Sweeps between the key frames: pictures, depth, poses and times belong together."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from nuscenes import NuScenes
from scipy.spatial.transform import Rotation

from bevdepth_plus.datasets.create_infos import create_info_files
from bevdepth_plus.datasets.info_file import read_info_file
from bevdepth_plus.datasets.sequences.dataset import SequenceDataset
from bevdepth_plus.datasets.sequences.frames import DepthPicture
from bevdepth_plus.datasets.sequences.layouts import read_source
from bevdepth_plus.errors import DataError
from bevdepth_plus.geometry.pinhole import in_image, pixel_centres, project, unproject
from bevdepth_plus.geometry.rigid import invert_rigid, transform_points
from bevdepth_plus.synthetic import generate
from bevdepth_plus.synthetic.generate import Settings, make_dataset
from bevdepth_plus.synthetic.scene import Scene, build_scene
from bevdepth_plus.synthetic.sweeps import Sweeps

SCENE = "scene-0061"  # the first of the shared root, of which these scenes are the longer brothers
CAMERAS = ("CAM_FRONT", "CAM_FRONT_RIGHT")
RATE = 10
SIZE = (90, 160)
VIDEO = Sweeps(RATE, CAMERAS)


def settings(sweeps: Sweeps | None = VIDEO) -> Settings:
    """Those of the shared root, and sweeps."""
    return Settings(0, 3, "nuscenes", (SIZE[1], SIZE[0]), True, sweeps)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sweeps") / "nuscenes"
    make_dataset(path, "v1.0-mini", [SCENE], settings())
    return path


@pytest.fixture(scope="module")
def video(root: Path) -> NuScenes:
    return NuScenes("v1.0-mini", str(root), verbose=False)


@pytest.fixture(scope="module")
def source(root: Path, tmp_path_factory: pytest.TempPathFactory) -> dict:
    folder = tmp_path_factory.mktemp("infos")
    splits = root / "v1.0-mini/splits.json"  # there is no scene of val
    splits.write_text(json.dumps({"train": [SCENE]}))
    create_info_files(root, "v1.0-mini", folder, progress=False, sweeps=True)
    splits.unlink()
    ann_file = str(folder / "bevdepth_plus_infos_train.pkl")
    return {"layout": "nuscenes", "root": str(root), "ann_file": ann_file}


def rows_of(nusc: NuScenes, channel: str) -> list[dict]:
    """A sensor's rows in the order of their chain."""
    (first,) = [r for r in nusc.sample_data if r["channel"] == channel and not r["prev"]]
    rows = [first]
    while rows[-1]["next"]:
        rows.append(nusc.get("sample_data", rows[-1]["next"]))
    return rows


def test_key_frames_keep_their_bytes(root: Path, synthetic_root: Path) -> None:
    names = [
        p.relative_to(root) for folder in ("samples", "maps") for p in (root / folder).rglob("*.*")
    ]
    names += [Path("depth", p.parent.name, f"{p.stem}.png") for p in names if p.suffix == ".jpg"]
    assert len(names) == 3 * (7 + 6) + 2
    for name in names:
        assert (root / name).read_bytes() == (synthetic_root / name).read_bytes(), name
    for table in ("sample", "ego_pose", "sample_data", "sample_annotation", "calibrated_sensor"):
        mine, theirs = (
            {r["token"]: {**r, "prev": "", "next": ""} for r in json.loads(path.read_text())}
            for path in (
                root / f"v1.0-mini/{table}.json",
                synthetic_root / f"v1.0-mini/{table}.json",
            )
        )
        shared = mine.keys() & theirs.keys()
        assert len(shared) == len(mine) - (16 if table in ("ego_pose", "sample_data") else 0)
        assert all(mine[token] == theirs[token] for token in shared)


def test_sweeps_are_chained_with_the_key_frames_at_the_rate(video: NuScenes) -> None:
    for channel in CAMERAS:
        rows = rows_of(video, channel)
        assert [r["is_key_frame"] for r in rows] == [True, *[False] * 4, True, *[False] * 4, True]
        assert {b["timestamp"] - a["timestamp"] for a, b in pairwise(rows)} == {100_000}
        assert len({r["calibrated_sensor_token"] for r in rows}) == 1
        for earlier, row in pairwise(rows):
            assert row["prev"] == earlier["token"]
            # A sweep belongs to the key frame that follows it.
            following = row if row["is_key_frame"] else rows_after(video, row)
            assert row["sample_token"] == following["sample_token"]
            assert row["filename"].startswith("samples/" if row["is_key_frame"] else "sweeps/")
            picture = cv2.imread(str(Path(video.dataroot) / row["filename"]))
            assert picture.shape[:2] == (row["height"], row["width"]) == SIZE
    for channel in ("LIDAR_TOP", "CAM_BACK"):
        assert [r["is_key_frame"] for r in rows_of(video, channel)] == [True] * 3


def rows_after(nusc: NuScenes, row: dict) -> dict:
    """The key frame that follows a sweep."""
    while not row["is_key_frame"]:
        row = nusc.get("sample_data", row["next"])
    return row


def test_every_sweep_has_the_ego_pose_of_its_own_time(video: NuScenes) -> None:
    scene = build_scene(SCENE, 0, 3)
    for channel in CAMERAS:
        rows = rows_of(video, channel)
        start = rows_of(video, "LIDAR_TOP")[0]["timestamp"]
        for row in rows:
            pose = video.get("ego_pose", row["ego_pose_token"])
            assert pose["timestamp"] == row["timestamp"]
            place, angles = scene.ego_pose((row["timestamp"] - start) / 1e6)
            np.testing.assert_allclose(pose["translation"], place, atol=1e-4)
            x, y, z, w = Rotation.from_euler("ZYX", angles).as_quat()
            assert abs(np.dot(pose["rotation"], [w, x, y, z])) == pytest.approx(1, abs=1e-9)


def test_info_files_list_the_sweeps(source: dict, root: Path) -> None:
    infos = read_info_file(source["ann_file"])["data_list"]
    for name in CAMERAS:
        counts = [len(info["images"][name].get("sweeps", ())) for info in infos]
        assert counts == [0, 4, 4]
    listed = {
        s["img_path"] for i in infos for c in i["images"].values() for s in c.get("sweeps", ())
    }
    assert listed == {str(p.relative_to(root)) for p in (root / "sweeps").rglob("*.jpg")}


def errors(points: torch.Tensor, depth: torch.Tensor, intrinsics: torch.Tensor) -> torch.Tensor:
    """Relative error of points [P, 3] of a camera's frame against its depth, where it sees them.

    Between pixels the inverse depth is interpolated, which is exact on planes.
    """
    pixels, expected = project(points, intrinsics)
    inside = in_image(pixels, SIZE) & (expected > 0)
    u, v = pixels[inside].float().numpy().T - 0.5
    inverse = np.where(depth > 0, 1 / np.maximum(depth.numpy(), 0.01), 0).astype(np.float32)
    found = cv2.remap(inverse, u[None], v[None], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return (torch.from_numpy(found[0]) * expected[inside] - 1).abs()


def test_depth_of_an_anchor_is_found_in_a_sweep(source: dict) -> None:
    camera = "CAM_FRONT_RIGHT"  # parked cars and houses; little moves there
    (sequence,) = read_source({**source, "cameras": [camera]})
    assert [frame.index for frame in sequence.frames] == list(range(11))
    assert all(isinstance(frame.depth, DepthPicture) for frame in sequence.frames)
    np.testing.assert_allclose(np.diff([f.time for f in sequence.frames]), 1 / RATE, atol=2e-6)

    dataset = SequenceDataset([{**source, "cameras": [camera]}], SIZE, num_views=3)
    assert len(dataset) == 11
    samples = {dataset[i]["token"]: dataset[i] for i in range(6, 9)}
    anchor = samples[sequence.frames[7].token]  # a sweep between two sweeps
    world_T_cam = torch.from_numpy(sequence.frames[7].world_T_cam).float()
    points = unproject(pixel_centres(SIZE), anchor["depth"], anchor["intrinsics"][0])
    # The ground looks alike from everywhere: it would agree with any pose.
    high = transform_points(world_T_cam, points)[..., 2] > 0.3
    points = points[high & (anchor["depth"] > 0)]
    for number, token in enumerate(anchor["source_tokens"]):
        other, intrinsics = samples[token]["depth"], anchor["intrinsics"][1 + number]
        moved = transform_points(invert_rigid(anchor["anchor_T_source"][number]), points)
        right = (errors(moved, other, intrinsics) < 0.01).float().mean()
        standing = (errors(points, other, intrinsics) < 0.01).float().mean()
        assert right > 0.75  # the rest is hidden, moves, or is an edge
        assert standing < 0.9 * right


def small(sweeps: Sweeps | None) -> Settings:
    return Settings(0, 2, "nuscenes", (32, 18), False, sweeps)


def contents(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*.*") if p.is_file()}


def test_an_interrupted_run_goes_on_to_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = small(Sweeps(4, ("CAM_FRONT",)))
    real = generate.shoot_sweeps

    def interrupted(studio, sweeps, index, *rest) -> None:
        real(studio, sweeps, index, *rest)
        if index == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(generate, "shoot_sweeps", interrupted)
    with pytest.raises(KeyboardInterrupt):
        make_dataset(tmp_path / "cut", "v1.0-mini", [SCENE], wanted)
    assert len(list((tmp_path / "cut/sweeps").rglob("*.jpg"))) == 1
    assert not (tmp_path / "cut/v1.0-mini").exists()
    monkeypatch.undo()
    assert make_dataset(tmp_path / "cut", "v1.0-mini", [SCENE], wanted) == 2
    make_dataset(tmp_path / "whole", "v1.0-mini", [SCENE], wanted)
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")


def test_other_sweeps_in_the_same_folder_are_refused_by_name(root: Path) -> None:
    for sweeps, option in (
        (None, "--sequence-rate, --sweep-cameras"),
        (Sweeps(20, CAMERAS), "--sequence-rate"),
        (Sweeps(RATE), "--sweep-cameras"),
    ):
        with pytest.raises(DataError, match=rf"other settings \({option}\); choose another"):
            make_dataset(root, "v1.0-mini", [SCENE], settings(sweeps))
    swapped = settings(Sweeps(RATE, CAMERAS[::-1]))  # the order says nothing
    assert make_dataset(root, "v1.0-mini", [SCENE], swapped) == 0


def test_a_folder_made_without_sweeps_gets_none(synthetic_root: Path) -> None:
    note = json.loads((synthetic_root / ".scenes/settings.json").read_text())
    assert note == json.loads(json.dumps(settings(None).fingerprint()))
    with pytest.raises(DataError, match=r"other settings \(--sequence-rate, --sweep-cameras\)"):
        make_dataset(synthetic_root, "v1.0-mini", [SCENE], settings())


@pytest.mark.parametrize("rate", [0, -10, 2, 3, 9.5, 62, 1000, float("nan"), float("inf")])
def test_a_rate_that_does_not_fit_the_key_frames_is_refused(tmp_path: Path, rate: float) -> None:
    complaint = rf"--sequence-rate: expected a multiple of 2 Hz from 4 to 60, got {rate:g}$"
    with pytest.raises(DataError, match=complaint):
        make_dataset(tmp_path / "out", "v1.0-mini", [SCENE], small(Sweeps(rate)))
    assert not (tmp_path / "out").exists()


def test_objects_stand_where_they_are_at_the_shot_s_own_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, moments = Scene.mesh_at, []

    def remembered(scene, moment, *rest):
        moments.append(moment)
        return real(scene, moment, *rest)

    monkeypatch.setattr(Scene, "mesh_at", remembered)
    make_dataset(tmp_path, "v1.0-mini", [SCENE], small(Sweeps(4, ("CAM_FRONT",))))
    nusc = NuScenes("v1.0-mini", str(tmp_path), verbose=False)
    start = rows_of(nusc, "LIDAR_TOP")[0]["timestamp"]
    (sweep,) = (r for r in rows_of(nusc, "CAM_FRONT") if not r["is_key_frame"])
    assert min(abs(m - (sweep["timestamp"] - start) / 1e6) for m in moments) < 1e-6
    assert any(item.flow.speed(0.25) > 1 for item in build_scene(SCENE, 0, 2).objects)
