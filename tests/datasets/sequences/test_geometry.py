"""A point of the wall is the same point in every view, by what the readers say."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch.nn import functional

from bevdepth_plus.datasets.sequences.dataset import SequenceDataset
from bevdepth_plus.datasets.sequences.frames import DepthPicture
from bevdepth_plus.datasets.sequences.layouts import LAYOUTS, read_source
from bevdepth_plus.datasets.sequences.views import read_depth_picture
from bevdepth_plus.geometry.pinhole import pixel_centres, project, unproject
from bevdepth_plus.geometry.rigid import invert_rigid, transform_points
from tests.datasets.sequences.conftest import K


def colour_error(sample: dict) -> float:
    """Mean difference in grey levels between the anchor and its sources, warped by depth."""
    height, width = sample["depth"].shape
    centres = pixel_centres((height, width)).flatten(0, 1)
    points = unproject(centres, sample["depth"].flatten(), sample["intrinsics"][0])
    errors = []
    for number, pose in enumerate(sample["anchor_T_source"], start=1):
        pixels, depth = project(
            transform_points(invert_rigid(pose), points), sample["intrinsics"][number]
        )
        grid = pixels / torch.tensor([width, height]) * 2 - 1
        source = sample["images"][number, None].float()
        warped = functional.grid_sample(source, grid[None, None], align_corners=False)[0, :, 0]
        usable = (
            (depth > 0) & (grid.abs() < 1 - 2 / height).all(-1) & (sample["depth"].flatten() > 0)
        )
        assert usable.float().mean() > 0.5
        anchor = sample["images"][0].float().flatten(1)
        errors.append((warped - anchor).abs()[:, usable].mean().item())
    return max(errors)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_pose_intrinsics_and_depth_lead_to_the_walls_own_colour(layout, write, wall):
    (sequence,) = read_source(write(layout))
    assert [frame.index for frame in sequence.frames] == list(range(6))
    for number, frame in enumerate(sequence.frames):
        np.testing.assert_allclose(frame.world_T_cam, wall.pose(number), atol=1e-5)
        image = cv2.imread(frame.image)
        depth = torch.from_numpy(
            wall.depth(wall.pose(number), *of_integers(frame, image))
        ).flatten()
        centres = pixel_centres(image.shape[:2]).flatten(0, 1).double()
        points = unproject(centres, depth, torch.from_numpy(frame.intrinsics)).numpy()
        pose = frame.world_T_cam
        colours = wall.texture(points @ pose[:3, :3].T + pose[:3, 3])
        assert np.abs(colours - image.reshape(-1, 3)).max() < 1


def test_a_lens_s_distortion_is_undone_in_the_image_and_in_depth(write):
    """Images of TUM as its lens makes them: the wall, bent."""
    coefficients = (0.25, -0.9, -0.005, 0.003, 1.1)  # of freiburg1's kind
    source = write("tum")
    for path in Path(source["root"]).rglob("*.png"):
        cv2.imwrite(str(path), bent(cv2.imread(str(path), cv2.IMREAD_UNCHANGED), coefficients))
    errors = {
        name: max(
            colour_error(sample)
            for sample in SequenceDataset([{**source, **options}], (96, 128), num_views=3)
        )
        for name, options in (("undone", dict(distortion=coefficients)), ("left", {}))
    }
    assert errors["undone"] < 3.5 and errors["left"] > 1.7 * errors["undone"], errors


def bent(pixels: np.ndarray, coefficients: tuple[float, ...]) -> np.ndarray:
    """What a camera with that lens sees of a pinhole image."""
    height, width = pixels.shape[:2]
    centres = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1)
    centres = centres.reshape(-1, 1, 2).astype(np.float64)
    straight = cv2.undistortPoints(centres, K, np.array(coefficients), P=K)
    maps = straight.reshape(height, width, 2).astype(np.float32)
    way = cv2.INTER_NEAREST if pixels.ndim == 2 else cv2.INTER_LINEAR
    return cv2.remap(pixels, maps, None, way)


def test_coefficients_of_another_number_are_refused(write):
    with pytest.raises(ValueError, match="plumb_bob takes 4 or 5 coefficients, got 3"):
        read_source(write("tum", distortion=(0.1, 0.2, 0.3)))


def of_integers(frame, image) -> tuple[np.ndarray, tuple[int, int]]:
    shifted = frame.intrinsics - np.array([[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]])
    return shifted, image.shape[:2]


# Cropped at full size; resized; resized and cropped.
@pytest.mark.parametrize("final_dim", [(64, 128), (48, 64), (40, 64)])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_depth_and_poses_carry_the_anchors_pixels_to_its_sources(layout, final_dim, write):
    dataset = SequenceDataset([write(layout)], final_dim, num_views=3)
    assert len(dataset) == 6
    for sample in dataset:
        assert (
            sample["images"].shape == (3, 3, *final_dim) and sample["images"].dtype == torch.uint8
        )
        assert sample["depth"].shape == final_dim and (sample["depth"] > 1).float().mean() > 0.8
        assert colour_error(sample) < 3
    sample["anchor_T_source"] = invert_rigid(sample["anchor_T_source"])
    assert colour_error(sample) > 15


def test_half_a_pixel_is_seen(write):
    sample = SequenceDataset([write("prepared")], (48, 64))[0]
    true = colour_error(sample)
    sample["intrinsics"][1:, :2, 2] += 0.5
    assert colour_error(sample) > 3 * true


def test_depth_of_another_size_and_focal_length_lies_on_the_images_pixels(write, wall):
    sample = SequenceDataset([write("scannet")], (96, 128))[0]
    true = wall.depth(wall.pose(0), *of_integers_of(sample))
    known = sample["depth"].numpy() > 0
    # A pixel of the depth picture is two of the image: the nearest one is up to one pixel off.
    assert np.abs(sample["depth"].numpy() - true)[known].max() < 0.02


def of_integers_of(sample) -> tuple[np.ndarray, tuple[int, int]]:
    matrix = sample["intrinsics"][0].double().numpy()
    return matrix - np.array([[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]]), (96, 128)


def test_turned_bits_are_turned_back_beyond_eight_metres_too(tmp_path):
    millimetres = np.array([[0, 1, 2000, 8191], [8192, 9001, 16384, 65535]], np.uint16)
    stored = np.array([[0, 8, 16000, 65528], [1, 6473, 2, 65535]], np.uint16)
    stored = np.pad(stored, ((0, 6), (0, 0)), constant_values=800)  # 100 mm
    cv2.imwrite(str(tmp_path / "a.png"), stored)
    matrix = np.array([[4.0, 0, 2], [0, 4, 4], [0, 0, 1]])
    picture = DepthPicture(str(tmp_path / "a.png"), 1e-3, matrix, rotated=True)
    metres = read_depth_picture(picture, stored.shape)
    np.testing.assert_allclose(metres[:2], millimetres / 1000, rtol=1e-6)
    np.testing.assert_allclose(metres[2:], 0.1, rtol=1e-6)
