"""Depth labels of a data set, by a network that knows the scene and one that knows nothing."""

from __future__ import annotations

import json
import runpy
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from bevdepth_plus.datasets.create_infos import create_info_files
from bevdepth_plus.datasets.nuscenes_dataset import NuScenesBEVDataset
from bevdepth_plus.datasets.transforms import LoadDenseDepth, LoadMultiViewImages
from bevdepth_plus.datasets.transforms.dense_depth import (
    depth_picture_path,
    read_depth,
    warp_nearest,
)
from bevdepth_plus.errors import DataError
from bevdepth_plus.geometry.depth_maps import depth_map_points
from bevdepth_plus.geometry.rigid import transform_points
from bevdepth_plus.pointmaps import checkpoints
from bevdepth_plus.pointmaps.checkpoints import save_model
from bevdepth_plus.pointmaps.depth_labels import LabelSettings, agreed_depth, make_depth_labels
from bevdepth_plus.pointmaps.depth_pictures import LabelFolder, at_image_size
from bevdepth_plus.pointmaps.drives import Drive, overlapping_cameras, read_drives
from bevdepth_plus.pointmaps.heads import Pointmap
from bevdepth_plus.pointmaps.images import load_image
from bevdepth_plus.pointmaps.pair_cache import content_key

TOOL = Path(__file__).parents[2] / "tools" / "make_depth_labels.py"
SIZE = (90, 160)
CROPPED = 5  # rows at the top and bottom that are left over of a multiple of 16
SETTINGS = LabelSettings(long_side=SIZE[1])
VERSION = "v1.0-mini"


@pytest.fixture
def root(synthetic_root, tmp_path) -> Path:
    root = shutil.copytree(synthetic_root, tmp_path / "root")
    create_info_files(root, VERSION, progress=False)
    return root


class Oracle(nn.Module):
    """A network that knows the synthetic scene: exact pointmaps, in a unit of its own."""

    def __init__(self, drives: list[Drive]) -> None:
        super().__init__()
        self.calls = 0
        self.shots = {}
        for shot in (shot for drive in drives for shot in drive.shots):
            image = load_image(shot.path, SIZE[1], upright=False)
            exact = read_depth(depth_picture_path(str(shot.path), "depth"), 0.01)
            depth = warp_nearest(exact, image.image_aug.numpy(), image.size)
            matrix = image.image_aug @ torch.from_numpy(shot.intrinsics).float()
            self.shots[content_key(image.pixels)] = (depth, matrix, shot.global_T_cam)

    def symmetric(self, images1: torch.Tensor, images2: torch.Tensor) -> tuple[Pointmap, ...]:
        self.calls += 1
        a, b = (self.shots[content_key(images[0])] for images in (images1, images2))
        return tuple(self.say(of, seen_by) for of, seen_by in ((a, a), (b, a), (b, b), (a, b)))

    def say(self, of, seen_by) -> Pointmap:
        depth, matrix, pose = of
        depth = torch.from_numpy(depth)
        points = depth_map_points(depth[None, None], matrix[None])[0].flatten(0, 1)
        relative = torch.from_numpy(np.linalg.inv(seen_by[2]) @ pose).float()
        points = 0.37 * transform_points(relative, points)
        confidence = torch.where(depth > 0, 4.0, 1.0)
        return Pointmap(points.view(1, *depth.shape, 3), confidence[None])


def run_tool(monkeypatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["make_depth_labels.py", *map(str, arguments)])
    runpy.run_path(str(TOOL))["main"]()


def pictures(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*.png"))}


def test_labels_are_within_one_percent_of_the_exact_depth(root, monkeypatch, capsys):
    drives = read_drives(root, VERSION)
    oracle = Oracle(drives)
    monkeypatch.setattr(checkpoints, "load_model", lambda path: oracle)
    arguments = [root, "--version", VERSION, "--weights", "w.pth", "--long-side", SIZE[1]]
    run_tool(monkeypatch, *arguments)
    said = capsys.readouterr()
    assert "36 labels written, 0 kept" in said.out and len(said.out.splitlines()) == 1
    assert "100%" in said.err
    assert oracle.calls == 24  # two pairs of each camera and scene, each run once

    # The training's own transform reads them.
    for name in ("train", "val"):
        dataset = NuScenesBEVDataset(
            str(root / f"bevdepth_plus_infos_{name}.pkl"), data_root=str(root), test_mode=True
        )
        for index in range(len(dataset)):
            sample = LoadMultiViewImages()(dataset.get_data_info(index))
            exact = LoadDenseDepth("depth")(sample)["depth_maps"]
            made = LoadDenseDepth("pointmap_depth")(sample)["depth_maps"]
            trust = LoadDenseDepth("pointmap_depth_confidence")(sample)["depth_maps"]
            known = made > 0
            assert (np.abs(made - exact)[known] <= 0.01 * exact[known]).all()
            assert np.isin(trust[known], np.float32(4)).all() and not trust[~known].any()
            assert not known[:, :CROPPED].any() and not known[:, -CROPPED:].any()
            moves = known.any(axis=(1, 2))
            inside = exact[moves, CROPPED:-CROPPED] > 0
            assert moves.all()
            assert (known[moves, CROPPED:-CROPPED] | ~inside).mean() > 0.99


def test_existing_labels_are_kept_and_a_broken_run_goes_on(root, monkeypatch, capsys):
    drives = read_drives(root, VERSION, ["CAM_FRONT", "CAM_BACK"])
    oracle = Oracle(drives)
    folder = LabelFolder(root, "made", {"a": 1})
    count = 0

    def stop() -> None:
        nonlocal count
        count += 1
        if count == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_depth_labels(oracle, drives, folder, SETTINGS, stop)
    half = pictures(root / "made")
    assert len(half) == 3 == len(pictures(root / "made_confidence"))
    assert all(content.endswith(b"IEND\xaeB`\x82") for content in half.values())
    tally = make_depth_labels(oracle, drives, LabelFolder(root, "made", {"a": 1}), SETTINGS)
    assert (tally.written, tally.kept) == (9, 3)
    whole = pictures(root / "made")
    assert half.items() <= whole.items() and len(whole) == 12
    calls = oracle.calls
    assert make_depth_labels(oracle, drives, folder, SETTINGS).kept == 12
    assert oracle.calls == calls and pictures(root / "made") == whole

    # In one go it is the same.
    other = LabelFolder(root, "once", {})
    make_depth_labels(oracle, drives, other, SETTINGS)
    assert pictures(root / "once") == whole


def test_a_vehicle_that_stands_has_no_labels_of_its_own_motion(root):
    (drive, *_) = read_drives(root, VERSION, ["CAM_FRONT"])
    oracle = Oracle([drive])
    first = drive.shots[0]
    standing = replace(
        drive,
        shots=tuple(replace(shot, global_T_cam=first.global_T_cam) for shot in drive.shots),
    )
    folder = LabelFolder(root, "made", {})
    tally = make_depth_labels(oracle, [standing], folder, SETTINGS)
    assert (tally.written, tally.standing, tally.known) == (3, 3, 0) and oracle.calls == 0
    for shot in drive.shots:
        depth = cv2.imread(str(folder.paths(shot.path)[0]), cv2.IMREAD_UNCHANGED)
        assert depth.shape == SIZE and depth.dtype == np.uint16 and not depth.any()
    alone = replace(drive, shots=drive.shots[:1])  # no image before or after
    assert make_depth_labels(oracle, [alone], LabelFolder(root, "one", {}), SETTINGS).standing == 1


def test_neighbouring_cameras_give_labels_where_the_vehicle_stands(root):
    drive = read_drives(root, VERSION)[0]
    moment = replace(drive, shots=drive.shots[: len(drive.cameras)])
    pairs = {
        (drive.cameras[a], drive.cameras[b]) for a, b in overlapping_cameras(moment, [SIZE] * 6)
    }
    beside = [
        ("CAM_FRONT", "CAM_FRONT_RIGHT"),
        ("CAM_FRONT", "CAM_FRONT_LEFT"),
        ("CAM_BACK", "CAM_BACK_LEFT"),
    ]
    assert set(beside) <= pairs and ("CAM_FRONT", "CAM_BACK") not in pairs
    settings = replace(SETTINGS, neighbours=True)
    folder = LabelFolder(root, "made", {})
    tally = make_depth_labels(Oracle([moment]), [moment], folder, settings)
    assert tally.standing == 0 and tally.known > 0.5 * len(moment.shots)
    depth = read_depth(str(folder.paths(moment.shots[0].path)[0]), 0.01)
    exact = read_depth(depth_picture_path(str(moment.shots[0].path), "depth"), 0.01)
    known = depth > 0
    assert (np.abs(depth - exact)[known] <= 0.01 * exact[known]).all()


def test_masked_pixels_are_unknown_and_a_lacking_mask_is_named(root, tmp_path):
    (drive, *_) = read_drives(root, VERSION, ["CAM_FRONT"])
    for shot in drive.shots:
        mask = np.full(SIZE, 255, dtype=np.uint8)
        mask[:, 60:100] = 0
        path = tmp_path / "masks" / "CAM_FRONT" / f"{shot.path.stem}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), mask)
    settings = replace(SETTINGS, masks=tmp_path / "masks")
    folder = LabelFolder(root, "made", {})
    tally = make_depth_labels(Oracle([drive]), [drive], folder, settings)
    assert tally.known > 1
    for shot in drive.shots:
        assert not read_depth(str(folder.paths(shot.path)[0]), 0.01)[:, 60:100].any()
    path.unlink()
    with pytest.raises(DataError, match=rf"masks/CAM_FRONT/{path.name} does not exist"):
        make_depth_labels(Oracle([drive]), [drive], LabelFolder(root, "other", {}), settings)
    assert not list((root / "other").rglob(".*"))


@pytest.mark.parametrize("scale", ["motion", "network"])
def test_an_image_that_is_masked_as_a_whole_is_unknown_and_stops_nothing(root, tmp_path, scale):
    """A bus beside the camera must not end a run of hours."""
    (drive, *_) = read_drives(root, VERSION, ["CAM_FRONT"])
    for number, shot in enumerate(drive.shots):
        path = tmp_path / "masks" / "CAM_FRONT" / f"{shot.path.stem}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), np.full(SIZE, 255 * (number > 0), dtype=np.uint8))
    rules = replace(SETTINGS.rules, scale=scale)
    settings = replace(SETTINGS, rules=rules, masks=tmp_path / "masks")
    folder = LabelFolder(root, "made", {})
    tally = make_depth_labels(Oracle([drive]), [drive], folder, settings)
    known = [read_depth(str(folder.paths(s.path)[0]), 0.01).any() for s in drive.shots]
    assert not known[0] and known[-1]
    assert tally.written == len(drive.shots) and tally.doubtful >= 1


def test_a_network_that_knows_nothing_gives_no_label(root, small_model, monkeypatch, capsys):
    weights = root / "small.pth"
    save_model(small_model, weights)
    arguments = [root, "--version", VERSION, "--weights", weights, "--long-side", SIZE[1]]
    run_tool(monkeypatch, *arguments, "--cameras", "CAM_FRONT", "--min-confidence", 1)
    assert "6 labels written, 0 kept; depth in 0.0% of the pixels" in capsys.readouterr().out
    note = json.loads((root / "pointmap_depth" / "labels.json").read_text())
    assert note["unit"] == 0.01 and note["long_side"] == SIZE[1]
    # Other settings do not mix with these labels.
    with pytest.raises(DataError, match=r"made with other settings \(min_confidence\)"):
        run_tool(monkeypatch, *arguments, "--cameras", "CAM_FRONT")


def test_a_root_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot write into .*file/made"):
        LabelFolder(tmp_path / "file", "made", {})


def test_pairs_that_disagree_leave_a_pixel_unknown():
    depth = torch.tensor([[10.0, 10.0, 0.0, 0.0], [10.4, 14.0, 7.0, 0.0]])[:, None]
    confidence = torch.where(depth > 0, 2.0, 0.0)
    agreed, trust = agreed_depth(depth, confidence, max_disagreement=0.1)
    torch.testing.assert_close(agreed, torch.tensor([[104.0**0.5, 0, 7, 0]]))
    assert trust.tolist() == [[2, 0, 2, 0]]


def test_a_plane_is_interpolated_and_an_edge_is_not():
    # A road: inverse depth is linear in the row. The network saw every third pixel.
    rows = torch.arange(0, 96) + 0.5
    exact = (1500 / (rows + 30))[:, None].expand(96, 48).clone()
    exact[:, 24:] = 4.0  # a car
    aug = torch.diag(torch.tensor([1 / 3, 1 / 3, 1.0]))
    seen = exact[1::3, 1::3]
    seen[:, 2] = 0.0
    depth, confidence = at_image_size(seen, torch.where(seen > 0, 2.0, 0.0), aug, (96, 48))
    assert (depth[:, 6:9] == 0).all() and (confidence[:, 6:9] == 0).all()
    torch.testing.assert_close(depth[3:-3, 12:21], exact[3:-3, 12:21], rtol=1e-4, atol=0)
    assert (depth[:, 24:] == 4).all()
    mixed = (depth[:60, 21:24] < 10) & (depth[:60, 21:24] > 0)
    assert not mixed.any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--version", "v9"], "version 'v9' is unknown"),
        (["--version", "v1.0-trainval"], r"is of version v1.0-mini, not v1.0-trainval"),
        (["--version", "v1.0-test"], "infos_test.pkl does not exist; make it with tools/create_d"),
        (["--weights", "none.pth"], "none.pth does not exist"),
        (["--weights", "broken.pth"], "broken.pth is not a pointmap network of this project"),
        (["--weights", "other.pth"], "other.pth is not a pointmap network of this project"),
        (["--cameras"], "no camera is named"),
        (["--cameras", "CAM_TOP"], "has no camera CAM_TOP"),
        (["--masks", "nowhere"], "--masks nowhere is no folder"),
        (["--out", "samples"], "samples holds other files"),
        (["--out", "../x"], "must be the name of a folder below the root"),
        (["--window", "0"], "--window must be 1 or more"),
        (["--min-confidence", "nan"], "--min-confidence must be 1 or more"),
        (["--min-baseline", "0"], "--min-baseline must be above 0"),
        (["--device", "abacus"], "--device 'abacus' is no device"),
        (["--long-side", "20"], "no 16 pixels are left"),
        (["--long-side", "-20"], "--long-side must be 16 or more"),
    ],
)
def test_bad_input_is_one_line_and_writes_no_picture(
    root, small_model, monkeypatch, change, message
):
    monkeypatch.chdir(root)
    save_model(small_model, Path("small.pth"))
    Path("broken.pth").write_bytes(Path("small.pth").read_bytes()[:1000])
    content = torch.load("small.pth", weights_only=True)
    settings = {**json.loads(content["config"]), "head": "linear", "descriptor_dim": 0}
    torch.save({**content, "config": json.dumps(settings)}, "other.pth")
    before = pictures(root)
    with pytest.raises(DataError, match=message) as caught:
        run_tool(monkeypatch, root, "--version", VERSION, "--weights", "small.pth", *change)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500
    assert pictures(root) == before
