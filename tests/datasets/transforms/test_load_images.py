from __future__ import annotations

import cv2
import numpy as np
import pytest

from bevdepth_plus.datasets.transforms.image_augmentation import ImageAugmentation
from bevdepth_plus.datasets.transforms.load_images import LoadMultiViewImages
from bevdepth_plus.errors import DataError


@pytest.fixture
def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (90, 160, 3), dtype=np.uint8)


def test_images_are_blue_green_red_and_may_differ_in_size(tmp_path, picture):
    cv2.imwrite(str(tmp_path / "a.png"), picture)
    cv2.imwrite(str(tmp_path / "b.png"), picture[:40])
    paths = [str(tmp_path / name) for name in ("a.png", "b.png")]
    images = LoadMultiViewImages()({"img_path": paths, "cam_names": ["a", "b"]})["img"]
    np.testing.assert_array_equal(images[0], picture)
    np.testing.assert_array_equal(images[1], picture[:40])


def test_a_camera_that_is_out_has_a_black_image_of_its_own_size_at_another_moment(
    tmp_path, picture
):
    cv2.imwrite(str(tmp_path / "a.png"), picture)
    cv2.imwrite(str(tmp_path / "b.png"), picture[:40])
    a, b = (str(tmp_path / name) for name in ("a.png", "b.png"))
    loaded = LoadMultiViewImages()({"img_path": [a, None, a, b], "cam_names": ["A", "B"]})
    assert loaded["img"][1].shape == picture[:40].shape and loaded["img"][1].sum() == 0
    assert loaded["raw_shape"] == [(90, 160), (40, 160)] * 2


def test_a_camera_that_is_out_at_all_moments_has_the_size_of_another(tmp_path, picture):
    cv2.imwrite(str(tmp_path / "a.png"), picture)
    paths = [str(tmp_path / "a.png"), None]
    loaded = LoadMultiViewImages()({"img_path": paths, "cam_names": ["A", "B"]})
    assert loaded["img"][1].shape == picture.shape


def test_a_sample_without_any_camera_is_named():
    with pytest.raises(DataError, match="sample x has no camera at all"):
        LoadMultiViewImages()({"img_path": [None], "cam_names": ["A"], "token": "x"})


def test_fast_decoding_gives_the_augmentation_small_images_and_their_raw_size(tmp_path):
    picture = cv2.GaussianBlur(
        np.random.default_rng(0).integers(0, 255, (361, 641, 3), dtype=np.uint8), (0, 0), 6
    )
    cv2.imwrite(str(tmp_path / "a.jpg"), picture)
    camera = np.array([[500.0, 0, 320], [0, 500, 180], [0, 0, 1]])
    pose = np.eye(4)
    pose[:3, :3] = [[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]]
    before = {
        "img_path": [str(tmp_path / "a.jpg"), None],
        "cam_names": ["A", "B"],
        "image_aug": np.tile(np.eye(3), (1, 2, 1, 1)),
        "intrinsics": np.tile(camera, (1, 2, 1, 1)),
        "ego_T_cam": np.tile(pose, (1, 2, 1, 1)),
    }
    augment = ImageAugmentation((64, 176), training=False)
    exact = LoadMultiViewImages()(before)
    fast = LoadMultiViewImages("fast", final_dim=(64, 176))(before)
    assert exact["img"][0].shape == (361, 641, 3) and fast["img"][0].shape == (181, 321, 3)
    assert exact["raw_shape"] == fast["raw_shape"] == [(361, 641)] * 2
    assert fast["img"][1].shape == fast["img"][0].shape and not fast["img"][1].any()
    exact, fast = augment(exact), augment(fast)
    np.testing.assert_array_equal(exact["image_aug"], fast["image_aug"])
    assert np.abs(exact["img"][0].astype(int) - fast["img"][0]).mean() < 1.0


@pytest.mark.parametrize(
    ("options", "problem"),
    [({"decoding": "quick"}, "one of exact, fast, got 'quick'"), ({"decoding": "fast"}, "needs")],
)
def test_senseless_options_are_refused(options, problem):
    with pytest.raises(ValueError, match=problem):
        LoadMultiViewImages(**options)
