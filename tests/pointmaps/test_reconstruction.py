from __future__ import annotations

import json
import runpy
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image
from torch import nn
from torch.nn.functional import normalize

from bevdepth_plus.errors import DataError
from bevdepth_plus.geometry.rigid import invert_rigid, transform_points
from bevdepth_plus.pointmaps import checkpoints, global_alignment
from bevdepth_plus.pointmaps.checkpoints import save_model
from bevdepth_plus.pointmaps.exports import write_reconstruction
from bevdepth_plus.pointmaps.global_alignment import Settings, Stage
from bevdepth_plus.pointmaps.heads import Pointmap
from bevdepth_plus.pointmaps.images import LoadedImage, load_image
from bevdepth_plus.pointmaps.known_cameras import read_known
from bevdepth_plus.pointmaps.pair_cache import PairCache
from bevdepth_plus.pointmaps.pair_graphs import complete_pairs
from bevdepth_plus.pointmaps.reconstruction import reconstruct
from bevdepth_plus.pointmaps.scene_parameters import Known
from bevdepth_plus.pointmaps.two_view import TwoViewConfig, TwoViewModel
from tests.pointmaps import scenes

TOOL = Path(__file__).parents[2] / "tools" / "reconstruct.py"
QUICK = Settings(coarse=Stage(40, 0.07, 1.5), fine=Stage(40, 0.01, 0.5))


class WallModel(nn.Module):
    """A network that knows the wall: exact pointmaps, descriptors that tell where a point is."""

    config = TwoViewConfig(descriptor_dim=24)

    def __init__(self, poses: torch.Tensor) -> None:
        super().__init__()
        self.poses = nn.Parameter(poses, requires_grad=False)
        self.calls = 0

    def symmetric(self, images1: torch.Tensor, images2: torch.Tensor) -> tuple[Pointmap, ...]:
        self.calls += 1
        a, b = (round(image[0, 0, 0, 0].item() * 10) for image in (images1, images2))
        return tuple(self.say(of, seen_by) for of, seen_by in ((a, a), (b, a), (b, b), (a, b)))

    def say(self, of: int, seen_by: int) -> Pointmap:
        own = scenes.pointmaps(self.poses[of : of + 1]).flatten(1, 2)
        world = transform_points(self.poses[of], own)
        points = transform_points(invert_rigid(self.poses[seen_by]), world)
        waves = torch.cat([world * f for f in (0.4, 0.9, 1.7, 3.1)], dim=-1)
        descriptors = normalize(torch.cat([waves.sin(), waves.cos()], dim=-1), dim=-1)
        ones = torch.full((1, *scenes.SIZE), 3.0)
        shape = (1, *scenes.SIZE, -1)
        return Pointmap(points.reshape(shape), ones, descriptors.reshape(shape), ones)


def wall_images(count: int, mask: torch.Tensor | None = None) -> list[LoadedImage]:
    mask = torch.ones(scenes.SIZE, dtype=torch.bool) if mask is None else mask
    return [
        LoadedImage(
            f"view{i}.png", torch.full((3, *scenes.SIZE), i / 10), mask, torch.eye(3), scenes.SIZE
        )
        for i in range(count)
    ]


def exact_cameras(poses: torch.Tensor) -> Known:
    zeros = torch.zeros(len(poses))
    return Known(poses, zeros, zeros, scenes.intrinsics().repeat(len(poses), 1, 1), zeros)


def test_images_become_depth_with_known_cameras(tmp_path):
    poses = scenes.camera_poses(3)
    images = wall_images(3)
    found = reconstruct(WallModel(poses), images, complete_pairs(3), exact_cameras(poses), QUICK)
    truth = scenes.pointmaps(poses)[..., 2]
    depth = torch.stack(found.depth)
    assert (depth > 0).all()
    # Matches are whole pixels, and half a pixel is 8 % of the depth at this baseline.
    assert ((depth - truth).abs() / truth).mean() < 0.04
    wall = scenes.pointmaps(poses)[1]
    world = transform_points(poses[1], wall.flatten(0, 1)).view_as(wall)
    assert (found.points(1) - world).norm(dim=-1).median() < 0.4

    written = write_reconstruction(found, images, tmp_path)
    assert all(path.is_file() for path in written)
    cameras = json.loads((tmp_path / "cameras.json").read_text())
    np.testing.assert_allclose(cameras["view2.png"]["world_T_cam"], poses[2], atol=1e-6)
    saved = np.load(tmp_path / "depth" / "view1.npz")
    np.testing.assert_array_equal(saved["depth"], found.depth[1])
    matches = np.load(tmp_path / "matches.npz")["view0.png|view2.png"]
    assert matches.shape == (len(found.matches[0, 2]), 5)
    assert ((matches[:, :4] % 1) == 0.5).all()
    cloud = trimesh.load(tmp_path / "points.ply")
    assert len(cloud.vertices) == 3 * 48 * 64
    glb = next(iter(trimesh.load(tmp_path / "points.glb").geometry.values()))
    np.testing.assert_allclose(
        np.asarray(glb.vertices) * [1, -1, -1], np.asarray(cloud.vertices), atol=1e-4
    )


def test_half_of_every_image_masked_leaves_nothing_that_is_not_finite(tmp_path):
    generator = torch.Generator().manual_seed(0)
    mask = torch.rand(scenes.SIZE, generator=generator) > 0.5
    poses = scenes.camera_poses(3)
    images = wall_images(3, mask)
    found = reconstruct(WallModel(poses), images, complete_pairs(3), None, QUICK)
    for depth, confidence in zip(found.depth, found.confidence, strict=True):
        assert depth.isfinite().all()
        assert confidence.isfinite().all()
        assert (depth[~mask] == 0).all()
        assert (depth[mask] > 0).float().mean() > 0.9
    for pair in found.matches.values():
        assert mask[pair.pixels1[:, 1], pair.pixels1[:, 0]].all()
    write_reconstruction(found, images, tmp_path)
    assert np.isfinite(trimesh.load(tmp_path / "points.ply").vertices).all()


def test_no_point_above_the_confidence_is_said_and_nothing_is_written(tmp_path):
    poses = scenes.camera_poses(2)
    found = reconstruct(WallModel(poses), wall_images(2), [(0, 1)], exact_cameras(poses), QUICK)
    with pytest.raises(DataError, match="no point has a confidence above 9"):
        write_reconstruction(found, wall_images(2), tmp_path / "out", min_confidence=9)
    assert not (tmp_path / "out").exists()


def test_bad_sets_of_images_are_named():
    model, images = WallModel(scenes.camera_poses(3)), wall_images(3)
    with pytest.raises(ValueError, match="at least two images are needed, got 1"):
        reconstruct(model, images[:1], [])
    with pytest.raises(ValueError, match=r"view0.png and view0.png are the same picture"):
        reconstruct(model, [images[0], images[0]], [(0, 1)])
    with pytest.raises(ValueError, match="no pair holds view2.png"):
        reconstruct(model, images, [(0, 1)])
    plain = TwoViewModel(TwoViewConfig(encoder_depth=0, decoder_depth=0, head="linear"))
    with pytest.raises(ValueError, match="no local descriptors"):
        reconstruct(plain, images, [(0, 1)])


def test_the_cache_knows_content_and_not_names(tmp_path):
    poses = scenes.camera_poses(2)
    model, images = WallModel(poses), wall_images(2)

    def run(images: list[LoadedImage], **settings: object) -> int:
        before = model.calls
        cache = PairCache(tmp_path, model, settings)
        reconstruct(model, images, [(0, 1)], exact_cameras(poses), QUICK, cache=cache)
        return model.calls - before

    assert run(images) == 1
    assert run(images) == 0
    renamed = [LoadedImage(f"x{i.name}", *list(vars(i).values())[1:]) for i in images]
    assert run(renamed) == 0
    mask = torch.ones(scenes.SIZE, dtype=torch.bool)
    mask[:9] = False
    assert run(wall_images(2, mask)) == 1
    assert run(images, subsample=4) == 1
    for path in tmp_path.iterdir():
        path.write_bytes(path.read_bytes()[:100])
    assert run(images) == 1
    model.poses.data[0, 0, 3] += 0.01
    assert run(images) == 1
    assert not [path for path in tmp_path.iterdir() if path.suffix != ".pth"]


def picture(path: Path, width: int, height: int, mode: str = "RGB", seed: int = 0) -> Path:
    pixels = np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).convert(mode).save(path)
    return path


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((200, 150), (96, 128)),
        ((150, 200), (128, 96)),
        ((257, 143), (64, 128)),
        ((60, 40), (80, 128)),
    ],
)
def test_sizes_become_multiples_of_16_and_pixels_are_traced(tmp_path, size, expected):
    image = load_image(picture(tmp_path / "a.png", *size), long_side=128)
    assert image.size == expected
    corners = torch.tensor([[0.0, 0, 1], [size[0], size[1], 1]]) @ image.image_aug.T
    assert (corners[0, :2] <= 0).all()
    assert (corners[0, :2] > -16).all()
    beyond = corners[1, :2] - torch.tensor([expected[1], expected[0]])
    assert (beyond >= 0).all()
    assert (beyond < 16).all()


def test_loaded_images_are_those_of_the_public_code(recorded, tmp_path):
    record = torch.load(recorded / "functions" / "load_images.pth", weights_only=True)
    expected = record["expected"]["size128_square_ok"]
    for name, view in zip(record["inputs"]["order"], expected, strict=True):
        Image.fromarray(record["inputs"]["images_rgb_uint8"][name].numpy()).save(tmp_path / name)
        ours = load_image(tmp_path / name, long_side=128)
        torch.testing.assert_close(ours.pixels[None], view["img"], atol=1e-6, rtol=0)


def test_a_mask_follows_its_image(tmp_path):
    path = picture(tmp_path / "a.png", 200, 150)
    mask = np.zeros((150, 200), dtype=np.uint8)
    mask[:, 100:] = 1
    Image.fromarray(mask).save(tmp_path / "mask.png")
    image = load_image(path, 128, tmp_path / "mask.png")
    assert not image.mask[:, :64].any()
    assert image.mask[:, 64:].all()


def test_bad_images_and_masks_are_one_clear_line(tmp_path):
    path = picture(tmp_path / "a.png", 200, 150)
    picture(tmp_path / "small.png", 100, 75, "L")
    Image.new("L", (200, 150)).save(tmp_path / "empty.png")
    (tmp_path / "text.png").write_text("no image")
    picture(tmp_path / "narrow.png", 400, 20)
    with pytest.raises(DataError, match="the mask is 100 x 75 and its image a.png 200 x 150"):
        load_image(path, 128, tmp_path / "small.png")
    with pytest.raises(DataError, match="empty.png: the mask leaves no pixel of a.png"):
        load_image(path, 128, tmp_path / "empty.png")
    with pytest.raises(DataError, match="text.png is damaged or no image"):
        load_image(tmp_path / "text.png")
    with pytest.raises(DataError, match="absent.png does not exist"):
        load_image(tmp_path / "absent.png")
    with pytest.raises(DataError, match="narrow.png: at 128 x 6 no 16 pixels are left"):
        load_image(tmp_path / "narrow.png", 128)


def test_known_cameras_are_read_by_image_name(tmp_path):
    image = load_image(picture(tmp_path / "a.png", 200, 150), long_side=128)
    other = load_image(picture(tmp_path / "b.png", 200, 150, seed=1), long_side=128)
    matrix = [[100.0, 0, 100], [0, 100.0, 75], [0, 0, 1]]
    (tmp_path / "rig.json").write_text(json.dumps({"b.png": {"intrinsics": matrix}}))
    pose = {"world_T_cam": np.eye(4).tolist(), "centre_sigma": 0.1, "rotation_sigma": 0.01}
    (tmp_path / "poses.json").write_text(json.dumps({"a.png": pose}))
    known = read_known([image, other], tmp_path / "rig.json", tmp_path / "poses.json")
    assert known.focal_sigma.tolist() == [torch.inf, 0]
    torch.testing.assert_close(
        known.intrinsics[1], torch.tensor([[64.0, 0, 64], [0, 64, 48], [0, 0, 1]])
    )
    torch.testing.assert_close(known.centre_sigma, torch.tensor([0.1, torch.inf]))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not JSON"),
        ("[]", "must be"),
        ('{"z.png": {}}', "names none of the images, the first of which is 'a.png'"),
        ('{"a.png": {}}', "a.png: world_T_cam must be a 4 x 4 matrix"),
        (
            '{"a.png": {"world_T_cam": [[1,0,0,0],[0,-1,0,0],[0,0,1,0],[0,0,0,1]]}}',
            "pose of image 0 has a flipped axis",
        ),
    ],
)
def test_bad_pose_files_are_named(tmp_path, content, message):
    image = load_image(picture(tmp_path / "a.png", 200, 150), long_side=128)
    (tmp_path / "poses.json").write_text(content)
    with pytest.raises(DataError, match=message):
        read_known([image], poses=tmp_path / "poses.json")


def run_tool(*arguments: object) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, TOOL, *map(str, arguments)],
        env={"PYTHONPATH": str(TOOL.parents[1]), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )


@pytest.mark.slow
def test_the_tool_says_bad_input_in_one_line_and_writes_nothing(small_model, tmp_path):
    weights = tmp_path / "small.pth"
    save_model(small_model, weights)
    path = picture(tmp_path / "a.png", 64, 48)
    out = tmp_path / "out"
    result = run_tool(path, "--weights", weights, "--out", out, "--long-side", 64)
    assert result.returncode == 2
    assert result.stderr.strip().splitlines()[-1] == (
        "reconstruct.py: at least two images are needed, got 1"
    )
    assert "Traceback" not in result.stderr
    assert not out.exists()


def test_the_tool_writes_everything(monkeypatch, tmp_path, capsys):
    poses = scenes.camera_poses(3)
    paths = []
    for i in range(3):
        paths.append(tmp_path / f"view{i}.png")
        grey = round((i / 10 + 1) * 127.5)
        Image.new("RGB", (scenes.SIZE[1], scenes.SIZE[0]), (grey,) * 3).save(paths[-1])
    rows = {f"view{i}.png": {"world_T_cam": poses[i].tolist()} for i in range(3)}
    (tmp_path / "poses.json").write_text(json.dumps(rows))
    monkeypatch.setattr(checkpoints, "load_model", lambda path: WallModel(poses))
    monkeypatch.setattr(global_alignment, "Settings", lambda **options: replace(QUICK, **options))
    arguments = ["--weights", "w.pth", "--long-side", "64", "--window", "2"]
    arguments += ["--poses", str(tmp_path / "poses.json"), "--out", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", ["reconstruct.py", *map(str, paths), *arguments])
    runpy.run_path(str(TOOL))["main"]()
    said = capsys.readouterr()
    assert "depth of 100% of all pixels; 0% of matches dropped" in said.out
    assert "fine alignment: 100%" in said.err
    written = sorted(str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*.*"))
    assert written == [
        "cameras.json",
        "depth/view0.npz",
        "depth/view1.npz",
        "depth/view2.npz",
        "matches.npz",
        "points.glb",
        "points.ply",
    ]
