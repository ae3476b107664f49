from __future__ import annotations

import cv2
import numpy as np
import pytest

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
