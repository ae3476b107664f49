from __future__ import annotations

import cv2
import numpy as np
import pytest

from bevdepth_plus.datasets.transforms.load_images import LoadMultiViewImages, read_image
from bevdepth_plus.errors import DataError


@pytest.fixture
def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (90, 160, 3), dtype=np.uint8)


def test_images_are_blue_green_red_and_may_differ_in_size(tmp_path, picture):
    cv2.imwrite(str(tmp_path / "a.png"), picture)
    cv2.imwrite(str(tmp_path / "b.png"), picture[:40])
    paths = [str(tmp_path / name) for name in ("a.png", "b.png")]
    images = LoadMultiViewImages()({"img_path": paths})["img"]
    np.testing.assert_array_equal(images[0], picture)
    np.testing.assert_array_equal(images[1], picture[:40])


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
@pytest.mark.parametrize("share", [0.5, 0.99])
def test_a_truncated_image_is_named_although_opencv_decodes_it(tmp_path, picture, suffix, share):
    path = tmp_path / f"cut{suffix}"
    cv2.imwrite(str(path), picture)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(DataError, match=rf"image .*cut{suffix} is truncated") as error:
        read_image(str(path))
    assert "\n" not in str(error.value)


def test_a_jpeg_with_padding_behind_its_end_is_read(tmp_path, picture):
    path = tmp_path / "padded.jpg"
    cv2.imwrite(str(path), picture)
    path.write_bytes(path.read_bytes() + bytes(512))
    assert read_image(str(path)).shape == picture.shape


def test_a_missing_image_is_named(tmp_path):
    with pytest.raises(DataError, match="image .*gone.jpg does not exist; check data_root"):
        read_image(str(tmp_path / "gone.jpg"))


@pytest.mark.parametrize("content", [b"", b"this is text", b"\xff\xd8 no picture \xff\xd9"])
def test_a_file_that_is_no_image_is_named(tmp_path, content):
    path = tmp_path / "text.jpg"
    path.write_bytes(content)
    with pytest.raises(DataError, match="image .*text.jpg cannot be decoded"):
        read_image(str(path))
