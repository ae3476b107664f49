"""Image files that are whole, cut, damaged or something else."""

from __future__ import annotations

import os

import cv2
import numpy as np
import pytest

from bevdepth_plus.errors import DataError
from bevdepth_plus.rigs.image_files import decode, read_image


@pytest.fixture
def picture() -> np.ndarray:
    rng = np.random.default_rng(0)
    return cv2.GaussianBlur(rng.integers(0, 255, (180, 320, 3), dtype=np.uint8), (0, 0), 2)


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
    path.write_bytes(path.read_bytes() + bytes(5000))
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


@pytest.mark.parametrize("fill", ["zeros", "noise", "nothing"])
def test_a_jpeg_with_a_hole_is_refused_although_opencv_decodes_it(tmp_path, picture, fill, capfd):
    path = tmp_path / "hole.jpg"
    cv2.imwrite(str(path), picture)
    content = path.read_bytes()
    middle = len(content) // 2
    noise = np.random.default_rng(1).bytes(1024)
    hole = {"zeros": bytes(1024), "noise": noise, "nothing": b""}[fill]
    path.write_bytes(content[:middle] + hole + content[middle + 1024 :])
    assert cv2.imread(str(path)) is not None
    capfd.readouterr()
    with pytest.raises(
        DataError, match=r"image .*hole.jpg is damaged \(Corrupt JPEG data"
    ) as error:
        read_image(str(path))
    assert "\n" not in str(error.value)
    assert capfd.readouterr().err == ""


def test_a_cut_jpeg_with_a_thumbnail_in_its_header_is_truncated_all_the_same(tmp_path, picture):
    _, thumbnail = cv2.imencode(".jpg", picture[:16, :16])
    _, whole = cv2.imencode(".jpg", picture)
    segment = b"\xff\xe1" + (len(thumbnail) + 2).to_bytes(2, "big") + thumbnail.tobytes()
    content = whole.tobytes()
    content = content[:2] + segment + content[2:]
    path = tmp_path / "thumb.jpg"
    path.write_bytes(content)
    assert read_image(str(path)).shape == picture.shape
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match="thumb.jpg is truncated"):
        read_image(str(path))


def test_a_png_with_a_changed_byte_is_refused(tmp_path, picture):
    path = tmp_path / "flip.png"
    cv2.imwrite(str(path), picture)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(DataError, match="flip.png is damaged: a checksum does not fit"):
        read_image(str(path))


def test_other_complaints_of_c_libraries_reach_the_user(capfd, monkeypatch):
    def talkative(*_):
        os.write(2, b"a word of the decoder\n")
        return np.zeros((2, 2, 3), np.uint8)

    monkeypatch.setattr(cv2, "imdecode", talkative)
    decode(np.ones(3, np.uint8), cv2.IMREAD_COLOR, "a.jpg", "image")
    assert capfd.readouterr().err == "a word of the decoder\n"
