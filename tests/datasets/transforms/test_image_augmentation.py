from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from bevdepth_plus.datasets.info_file import read_info_file
from bevdepth_plus.datasets.sample_record import parse_sample
from bevdepth_plus.datasets.transforms.image_augmentation import (
    ImageAugmentation,
    ImageAugmentationParams,
    augment_image,
)
from bevdepth_plus.synthetic.rig import nuscenes_rig

RAW = (320, 180)  # width, height
FINAL = (176, 64)
CAMERA = np.array([[1266.0, 0, 816], [0, 1266, 491], [0, 0, 1]])
repeatable = settings(derandomize=True, max_examples=60, deadline=None)


def blob(centre: tuple[float, float], size: tuple[int, int] = RAW, sigma: float = 3.0):
    """A bright spot at (column, row), pixel centres at integers + 0.5."""
    columns = np.arange(size[0]) + 0.5 - centre[0]
    rows = np.arange(size[1]) + 0.5 - centre[1]
    spot = 250 * np.exp(-(columns[None] ** 2 + rows[:, None] ** 2) / (2 * sigma**2))
    return np.repeat(spot.round().astype(np.uint8)[..., None], 3, axis=2)


def centroid(image: np.ndarray) -> np.ndarray:
    weight = image[..., 0].astype(np.float64)
    columns = (weight.sum(axis=0) * (np.arange(image.shape[1]) + 0.5)).sum()
    rows = (weight.sum(axis=1) * (np.arange(image.shape[0]) + 0.5)).sum()
    return np.array([columns, rows]) / weight.sum()


def level_camera(pitch: float = 0.0) -> np.ndarray:
    """Looks forward; ``pitch`` in degrees, positive down."""
    pose = np.eye(4)
    down = Rotation.from_euler("y", pitch, degrees=True).as_matrix()
    pose[:3, :3] = down @ [[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]]
    pose[:3, 3] = [1.5, 0, 1.5]
    return pose


def mapped(matrix: np.ndarray, point: tuple[float, float]) -> np.ndarray:
    return (matrix @ [*point, 1.0])[:2]


@repeatable
@given(
    factor=st.floats(0.4, 1.3),
    left=st.integers(-20, 60),
    top=st.integers(-10, 40),
    flip=st.booleans(),
    rotation=st.floats(-0.5, 0.5),
    column=st.floats(20, 300),
    row=st.floats(20, 160),
)
def test_image_content_lands_where_the_matrix_says(factor, left, top, flip, rotation, column, row):
    resized = (int(RAW[0] * factor), int(RAW[1] * factor))
    params = ImageAugmentationParams(resized, (left, top), flip, rotation)
    image, matrix = augment_image(blob((column, row)), params, FINAL)
    target = mapped(matrix, (column, row))
    assume(((target > 14) & (target < np.array(FINAL) - 14)).all())
    # Far below a pixel: a wrong half-pixel convention alone would be off by 0.3 to 0.5.
    np.testing.assert_allclose(centroid(image), target, atol=0.06)


def test_all_rotation_is_counter_clockwise_on_the_screen():
    params = ImageAugmentationParams(FINAL, (0, 0), rotation=np.pi / 2)
    _, matrix = augment_image(np.zeros((FINAL[1], FINAL[0], 3), np.uint8), params, FINAL)
    right_of_centre = mapped(matrix, (FINAL[0] / 2 + 10, FINAL[1] / 2))
    np.testing.assert_allclose(right_of_centre, [FINAL[0] / 2, FINAL[1] / 2 - 10], atol=1e-9)


def test_plain_crops_and_flips_copy_pixels_exactly():
    raw = np.random.default_rng(0).integers(0, 255, (RAW[1], RAW[0], 3), dtype=np.uint8)
    cropped, _ = augment_image(raw, ImageAugmentationParams(RAW, (30, 50)), FINAL)
    np.testing.assert_array_equal(cropped, raw[50 : 50 + FINAL[1], 30 : 30 + FINAL[0]])
    flipped, _ = augment_image(raw, ImageAugmentationParams(RAW, (30, 50), flip=True), FINAL)
    np.testing.assert_array_equal(flipped, cropped[:, ::-1])


def test_shrinking_does_not_alias():
    stripes = np.zeros((RAW[1], RAW[0], 3), np.uint8)
    stripes[:, ::2] = 250
    image, _ = augment_image(stripes, ImageAugmentationParams((104, 58), (0, 0)), (104, 58))
    assert image.std() < 40  # interpolating between two of three columns gives 72


def test_outside_the_image_is_black():
    raw = np.full((RAW[1], RAW[0], 3), 200, np.uint8)
    image, _ = augment_image(raw, ImageAugmentationParams(RAW, (200, 0)), FINAL)
    assert (image[:, : RAW[0] - 200] == 200).all() and (image[:, RAW[0] - 200 :] == 0).all()


@pytest.mark.parametrize("raw", [(1600, 900), (800, 450), (160, 90), (1920, 1080)])
def test_testing_fits_any_image_and_keeps_its_bottom_middle(raw):
    params = ImageAugmentation((256, 704), training=False).draw(*raw, CAMERA)
    assert params.resized == (704, 396)
    assert params.crop == (0, 140) and not params.flip and params.rotation == 0


@pytest.mark.parametrize("width", range(1590, 1610))
def test_testing_never_leaves_a_black_column_by_rounding(width):
    assert ImageAugmentation((256, 704), training=False).draw(width, 900, CAMERA).resized[0] == 704


def test_testing_an_image_too_flat_fits_its_height_and_crops_the_middle():
    params = ImageAugmentation((256, 704), training=False).draw(2000, 256, CAMERA)
    assert params.resized == (2000, 256)
    assert params.crop == (648, 0)


def test_training_draws_within_the_published_recipe():
    np.random.seed(0)
    transform = ImageAugmentation((256, 704))
    drawn = [transform.draw(1600, 900, CAMERA) for _ in range(300)]
    widths = np.array([params.resized[0] for params in drawn])
    assert 617 <= widths.min() < 630 and 865 < widths.max() <= 880  # 0.386 to 0.55 of 1600
    rotations = np.rad2deg([params.rotation for params in drawn])
    assert -5.4 <= rotations.min() < -5 and 5 < rotations.max() <= 5.4
    assert 0.4 < np.mean([params.flip for params in drawn]) < 0.6
    for params in drawn:
        assert params.crop[1] + 256 == params.resized[1]
        assert 0 <= params.crop[0] <= max(0, params.resized[0] - 704)


def test_cutting_the_bottom_moves_the_crop_up():
    params = ImageAugmentation((256, 704), bot_pct=(0.0, 0.2), training=False).draw(
        1600, 900, CAMERA
    )
    assert params.crop[1] == int(0.9 * 396) - 256


def test_one_seed_gives_one_result():
    transform = ImageAugmentation(FINAL[::-1])
    results = []
    for _ in range(2):
        np.random.seed(7)
        results.append(transform.draw(*RAW, CAMERA))
    assert results[0] == results[1]


def test_frames_of_one_camera_are_augmented_alike_and_cameras_differently():
    np.random.seed(0)
    images = [np.zeros((180, 320, 3), np.uint8), np.zeros((120, 200, 3), np.uint8)] * 2
    before = {
        "img": images,
        "image_aug": np.tile(np.eye(3), (2, 2, 1, 1)),
        "intrinsics": np.tile(CAMERA, (2, 2, 1, 1)),
        "ego_T_cam": np.tile(level_camera(), (2, 2, 1, 1)),
    }
    after = ImageAugmentation((64, 176))(before)
    assert {image.shape for image in after["img"]} == {(64, 176, 3)}
    np.testing.assert_array_equal(after["image_aug"][0], after["image_aug"][1])
    assert np.abs(after["image_aug"][0, 0] - after["image_aug"][0, 1]).max() > 0.01
    # The input is left as it was.
    assert before["img"] is images and (before["image_aug"] == np.eye(3)).all()


@pytest.mark.parametrize("options", [{"final_dim": (0, 5)}, {"final_dim": (5, 5), "scale": (0, 1)}])
def test_senseless_options_are_refused(options):
    with pytest.raises(ValueError, match="must be"):
        ImageAugmentation(**options)


@pytest.mark.parametrize("zoom", [0.5, 1.0, 1.7])
def test_canonical_images_have_one_focal_length_and_principal_point(zoom):
    transform = ImageAugmentation((256, 704), canonical_focal=560.0, training=False)
    camera = np.diag([zoom, zoom, 1.0]) @ CAMERA  # the same lens on a finer or coarser sensor
    raw = (round(1600 * zoom), round(900 * zoom))
    image = np.zeros((raw[1], raw[0], 3), np.uint8)
    eye = np.eye(3)[None, None]
    pose = level_camera()[None, None]
    aug = transform(
        {"img": [image], "image_aug": eye, "intrinsics": camera[None, None], "ego_T_cam": pose}
    )
    effective = aug["image_aug"][0, 0] @ camera
    assert effective[0, 0] == pytest.approx(560, rel=1e-3)
    np.testing.assert_allclose(effective[:2, 2], (0.5 * 704, 0.3 * 256), atol=1.0)


def test_a_longer_lens_sees_the_same_street_in_canonical_images_with_a_black_frame():
    transform = ImageAugmentation((64, 176), canonical_focal=150.0, training=False)
    images = {}
    for focal in (150.0, 300.0):
        camera = np.array([[focal, 0, 160], [0, focal, 90], [0, 0, 1]])
        point = camera @ (0.1, 0.05, 1.0)  # where it sees one and the same direction
        spot = blob(tuple(point[:2]), sigma=3.0 * focal / 150)
        images[focal] = transform(
            {
                "img": [spot],
                "image_aug": np.eye(3)[None, None],
                "intrinsics": camera[None, None],
                "ego_T_cam": level_camera()[None, None],
            }
        )["img"][0]
    np.testing.assert_allclose(centroid(images[150.0]), centroid(images[300.0]), atol=0.3)


def augmented(transform: ImageAugmentation, size: tuple[int, int], camera, pose) -> np.ndarray:
    """The matrix raw pixels -> network pixels of one camera."""
    results = {
        "img": [np.zeros((size[1], size[0], 3), np.uint8)],
        "image_aug": np.eye(3)[None, None],
        "intrinsics": np.asarray(camera)[None, None],
        "ego_T_cam": np.asarray(pose)[None, None],
    }
    return transform(results)["image_aug"][0, 0]


@pytest.mark.parametrize("final_dim", [(256, 704), (128, 352), (512, 1408)])
@pytest.mark.parametrize("training", [True, False])
def test_nuscenes_cameras_keep_the_crop_of_the_public_recipe(final_dim, training):
    for camera in nuscenes_rig().cameras:
        matrices = []
        for crop in ("horizon", "bottom"):
            np.random.seed(3)
            transform = ImageAugmentation(final_dim, crop=crop, training=training)
            size = (camera.width, camera.height)
            matrices.append(augmented(transform, size, camera.intrinsics, camera.ego_T_cam))
        np.testing.assert_array_equal(*matrices)


def test_real_nuscenes_cameras_keep_the_crop_of_the_public_recipe(shared_dir):
    (path,) = (shared_dir / "nuscenes_keyframe").glob("*.pkl")
    info = read_info_file(path)["data_list"][0]
    names = list(info["images"])
    record = parse_sample(info, names, {n: n for n in range(-1, 10)}, dict.fromkeys(names, ""), "")
    for camera, pose in zip(record["intrinsics"], record["ego_T_cam"], strict=True):
        matrices = [
            augmented(
                ImageAugmentation((256, 704), crop=c, training=False), (1600, 900), camera, pose
            )
            for c in ("horizon", "bottom")
        ]
        np.testing.assert_array_equal(*matrices)


# Sizes and lenses of research cars: a portrait front camera, 4:3 sides, one that looks down a bit.
@pytest.mark.parametrize(
    ("size", "focal", "pitch"),
    [((388, 512), 444, 0), ((512, 388), 444, 0), ((400, 300), 250, 4), ((640, 640), 500, -3)],
)
def test_any_upright_camera_shows_its_horizon_and_the_road(size, focal, pitch):
    camera = np.array([[focal, 0, size[0] / 2], [0, focal, size[1] / 2], [0, 0, 1.0]])
    horizon = size[1] / 2 - focal * np.tan(np.deg2rad(pitch))
    test_time = augmented(
        ImageAugmentation((256, 704), training=False), size, camera, level_camera(pitch)
    )
    row = mapped(test_time, (size[0] / 2, horizon))[1] / 256
    assert 0.2 - 0.01 <= row <= 0.4 + 0.01
    # In training, the horizon moves with the scale as it does in nuScenes' images.
    np.random.seed(0)
    transform = ImageAugmentation((256, 704), rot=(0.0, 0.0), flip=False)
    rows = [
        mapped(augmented(transform, size, camera, level_camera(pitch)), (0, horizon))[1] / 256
        for _ in range(100)
    ]
    assert min(rows) > 0 and max(rows) < 0.5


def test_the_crop_never_leaves_the_image_for_the_horizon():
    camera = np.array([[444.0, 0, 194], [0, 444, 256], [0, 0, 1]])
    for pitch in (-60.0, 60.0):  # the horizon is far below and far above the image
        matrix = augmented(
            ImageAugmentation((256, 704), training=False), (388, 512), camera, level_camera(pitch)
        )
        assert mapped(matrix, (0, 0))[1] <= 0 and mapped(matrix, (0, 512))[1] >= 256


def test_canonical_images_of_a_camera_that_looks_down_show_the_horizon_too():
    camera = np.array([[1000.0, 0, 800], [0, 1000, 450], [0, 0, 1]])
    rows = {}
    for crop in ("horizon", "bottom"):
        transform = ImageAugmentation((256, 704), canonical_focal=560.0, crop=crop, training=False)
        matrix = augmented(transform, (1600, 900), camera, level_camera(20))
        rows[crop] = mapped(matrix, (800, 450 - 1000 * np.tan(np.deg2rad(20))))[1]
    assert rows["bottom"] < 0 and rows["horizon"] == pytest.approx(0.2 * 256, abs=1)


def test_an_unknown_crop_is_refused():
    with pytest.raises(ValueError, match="crop must be 'horizon' or 'bottom', got 'top'"):
        ImageAugmentation((256, 704), crop="top")
