"""Pixels: held to the way they were made before only the kept part was resized."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from bevdepth_plus.errors import DataError
from bevdepth_plus.rigs import image_files
from bevdepth_plus.rigs.image_crop import (
    ImageAugmentationParams,
    augment_image,
    augmentation_matrix,
)
from bevdepth_plus.rigs.images import decode, read_image, reduction

FINAL = (704, 256)
SAMPLINGS = ("411", "420", "422", "440", "444")


def shifted(x: float, y: float) -> np.ndarray:
    return np.array([[1.0, 0, x], [0, 1, y], [0, 0, 1]])


def the_old_way(image, params, final_size):
    """Resizes the whole image, and warps it also where nothing is rotated."""
    raw_size = (image.shape[1], image.shape[0])
    matrix = augmentation_matrix(params, raw_size, final_size)
    shrinks = params.resized[0] < raw_size[0]
    resized = cv2.resize(
        image, params.resized, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    )
    to_raw = np.diag([raw_size[0] / params.resized[0], raw_size[1] / params.resized[1], 1.0])
    warp = shifted(-0.5, -0.5) @ matrix @ to_raw @ shifted(0.5, 0.5)
    return cv2.warpAffine(resized, warp[:2], final_size, flags=cv2.INTER_LINEAR)


def picture(width: int, height: int, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return cv2.GaussianBlur(noise, (0, 0), 1.5)


def jpeg(image: np.ndarray, sampling: str = "420", progressive: bool = False) -> bytes:
    options = [cv2.IMWRITE_JPEG_PROGRESSIVE, int(progressive), cv2.IMWRITE_JPEG_SAMPLING_FACTOR]
    options.append(getattr(cv2, f"IMWRITE_JPEG_SAMPLING_FACTOR_{sampling}"))
    return cv2.imencode(".jpg", image, options)[1].tobytes()


@pytest.fixture
def key_frame(shared_dir):
    return sorted((shared_dir / "nuscenes_keyframe").glob("*__CAM_*.jpg"))


@pytest.mark.parametrize("flip", [False, True])
def test_the_test_crop_of_real_images_is_that_of_the_old_way_to_the_bit(key_frame, flip):
    params = ImageAugmentationParams((704, 396), (0, 140), flip)
    assert len(key_frame) == 6
    for path in key_frame:
        bgr = cv2.imread(str(path), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
        image = read_image(path, "CAM", rgb=False)
        np.testing.assert_array_equal(image, bgr)
        np.testing.assert_array_equal(read_image(path, "CAM"), bgr[..., ::-1])
        new, _ = augment_image(image, params, FINAL)
        np.testing.assert_array_equal(new, the_old_way(bgr, params, FINAL))


@pytest.mark.parametrize("seed", range(40))
def test_any_augmentation_gives_the_bits_of_the_old_way(seed):
    rng = np.random.default_rng(seed)
    width, height = int(rng.integers(150, 500)), int(rng.integers(100, 300))
    if seed % 2:  # sizes with common divisors, where a part of the image is enough
        width, height = 16 * rng.choice([20, 25, 30]), 9 * rng.choice([20, 25, 30])
    factor = rng.uniform(0.3, 1.2) if seed % 4 != 1 else 0.44
    resized = (round(width * factor), round(height * factor))
    final = (int(rng.integers(60, 180)), int(rng.integers(40, 100)))
    crop = tuple(int(rng.integers(-20, max(1, a - 10))) for a in resized)
    rotation = float(rng.choice([0.0, rng.uniform(-0.1, 0.1)]))
    params = ImageAugmentationParams(resized, crop, bool(rng.integers(2)), rotation)
    image = picture(int(width), int(height), seed)
    np.testing.assert_array_equal(
        augment_image(image, params, final)[0], the_old_way(image, params, final)
    )


@pytest.mark.parametrize("size", [(1600, 900), (800, 450), (1920, 1080), (1280, 720), (960, 540)])
def test_common_camera_sizes_keep_their_bits(size):
    fit = max(FINAL[0] / size[0], FINAL[1] / size[1])
    resized = (round(size[0] * fit), round(size[1] * fit))
    params = ImageAugmentationParams(resized, (0, resized[1] - FINAL[1]))
    image = picture(*size)
    np.testing.assert_array_equal(
        augment_image(image, params, FINAL)[0], the_old_way(image, params, FINAL)
    )


@pytest.mark.parametrize("crop", [(-5000, 0), (5000, 0), (0, 5000), (0, -5000)])
def test_a_crop_beside_the_image_is_black(crop):
    image = np.full((90, 160, 3), 200, np.uint8)
    for rotation in (0.0, 0.1):
        params = ImageAugmentationParams((80, 45), crop, rotation=rotation)
        assert not augment_image(image, params, (64, 32))[0].any()


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize("size", [(323, 181), (320, 180)])
def test_both_decoders_give_the_same_bits(size, sampling, progressive, monkeypatch):
    pytest.importorskip("simplejpeg")
    content = jpeg(picture(*size), sampling, progressive)
    first = decode(content, "CAM")[0]
    monkeypatch.setattr(image_files, "simplejpeg", None)
    np.testing.assert_array_equal(first, decode(content, "CAM")[0])


def test_grey_and_cmyk_jpegs_are_read_alike_by_both_decoders(monkeypatch, tmp_path):
    from PIL import Image

    pytest.importorskip("simplejpeg")
    files = []
    for mode in ("L", "CMYK"):
        files.append(tmp_path / f"{mode}.jpg")
        Image.fromarray(picture(64, 48)).convert(mode).save(files[-1])
    first = [read_image(file, "CAM") for file in files]
    monkeypatch.setattr(image_files, "simplejpeg", None)
    for file, image in zip(files, first, strict=True):
        np.testing.assert_array_equal(image, read_image(file, "CAM"))


@pytest.mark.parametrize("with_simplejpeg", [True, False])
def test_the_fast_way_is_a_grey_level_from_the_exact_one(key_frame, with_simplejpeg, monkeypatch):
    if with_simplejpeg:
        pytest.importorskip("simplejpeg")
    else:
        monkeypatch.setattr(image_files, "simplejpeg", None)
    for rotation in (0.0, 0.05):
        params = ImageAugmentationParams((704, 396), (0, 140), rotation=rotation)
        for path in key_frame:
            small, raw_size = decode(path, "CAM", cover=FINAL)
            assert small.shape == (450, 800, 3) and raw_size == (1600, 900)
            fast, matrix = augment_image(small, params, FINAL, raw_size)
            exact, expected = augment_image(read_image(path, "CAM"), params, FINAL)
            np.testing.assert_array_equal(matrix, expected)
            assert np.abs(fast.astype(int) - exact).mean() < 1.5


@pytest.mark.parametrize("size", [(641, 361), (640, 360), (1283, 723)])
@pytest.mark.parametrize("rotation", [0.0, 0.08])
def test_the_fast_way_keeps_content_in_place(size, rotation):
    # A shift of half a reduced pixel would move the spot by 0.25 to 0.5 pixels.
    centre = np.array([size[0] * 0.55, size[1] * 0.6])
    columns, rows = (np.arange(n) + 0.5 - c for n, c in zip(size, centre, strict=True))
    light = 250 * np.exp(-(columns[None] ** 2 + rows[:, None] ** 2) / (2 * (size[0] / 60) ** 2))
    content = jpeg(np.repeat(light.round().astype(np.uint8)[..., None], 3, axis=2), "444")
    final = (160, 60)
    fit = max(final[0] / size[0], final[1] / size[1])
    resized = (round(size[0] * fit), round(size[1] * fit))
    params = ImageAugmentationParams(resized, (0, resized[1] - final[1]), True, rotation)
    small, raw_size = decode(content, "CAM", cover=final)
    assert raw_size == size and small.shape[1] == -(-size[0] // reduction(size, final))
    image, matrix = augment_image(small, params, final, raw_size)
    weight = np.maximum(image[..., 0].astype(float) - 8, 0)
    seen = [
        (weight.sum(0) * (np.arange(final[0]) + 0.5)).sum() / weight.sum(),
        (weight.sum(1) * (np.arange(final[1]) + 0.5)).sum() / weight.sum(),
    ]
    np.testing.assert_allclose(seen, (matrix @ [*centre, 1.0])[:2], atol=0.1)


@pytest.mark.parametrize("seed", range(12))
def test_the_fast_way_interpolates_the_kept_part_as_it_would_the_whole(seed):
    rng = np.random.default_rng(seed)
    small = picture(160, 90, seed)
    resized = (176, 99) if seed % 2 else (144, 81)
    crop = (int(rng.integers(-10, 80)), int(rng.integers(-10, 60)))
    params = ImageAugmentationParams(resized, crop)
    fast, _ = augment_image(small, params, (70, 40), raw_size=(320, 180))
    whole = cv2.resize(small, resized, interpolation=cv2.INTER_LINEAR)
    padded = np.pad(whole, ((50, 50), (90, 90), (0, 0)))
    kept = padded[crop[1] + 50 : crop[1] + 90, crop[0] + 90 : crop[0] + 160]
    np.testing.assert_array_equal(fast, kept)


@pytest.mark.parametrize(
    ("raw", "factor"), [((1600, 900), 2), ((800, 450), 1), ((3840, 2160), 4), ((8000, 4500), 8)]
)
def test_the_fast_way_never_decodes_below_the_networks_size(raw, factor):
    assert reduction(raw, FINAL) == factor


def test_a_png_is_read_whole_in_the_fast_way_too():
    image = picture(1600, 900)
    content = cv2.imencode(".png", image)[1].tobytes()
    pixels, raw_size = decode(content, "CAM", cover=FINAL, rgb=False)
    np.testing.assert_array_equal(pixels, image)
    assert raw_size == (1600, 900)


def test_paths_bytes_and_pixels_are_one_image(tmp_path):
    content = jpeg(picture(64, 48))
    (tmp_path / "a.jpg").write_bytes(content)
    image = read_image(content, "CAM")
    np.testing.assert_array_equal(read_image(tmp_path / "a.jpg", "CAM"), image)
    np.testing.assert_array_equal(read_image(str(tmp_path / "a.jpg"), "CAM"), image)
    np.testing.assert_array_equal(read_image(memoryview(content), "CAM"), image)
    assert read_image(image, "CAM") is image
    assert read_image(image[..., 0], "CAM").shape == image.shape


@pytest.mark.parametrize("without_simplejpeg", [False, True])
@pytest.mark.parametrize("cover", [None, (32, 24)])
@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lambda c: c[: len(c) // 2], "is truncated: it has no end mark"),
        (lambda c: c[:900] + bytes(200) + c[1100:], "is damaged .Corrupt JPEG data"),
        (lambda c: b"GIF89a" + c[6:], "cannot be decoded"),
        (lambda c: b"", "cannot be decoded"),
        (lambda c: c[:2] + b"no picture" + c[-2:], "cannot be decoded"),
    ],
)
def test_a_bad_image_names_camera_and_file_in_one_line(
    spoil, problem, cover, without_simplejpeg, tmp_path, monkeypatch
):
    if without_simplejpeg:
        monkeypatch.setattr(image_files, "simplejpeg", None)
    content = spoil(jpeg(picture(128, 96)))
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    for source, name in ((path, str(path)), (content, "(bytes)")):
        with pytest.raises(DataError, match=problem) as error:
            decode(source, "CAM_BACK", cover)
        assert str(error.value).startswith(f"camera CAM_BACK: image {name} ")
        assert "\n" not in str(error.value)


def test_a_missing_image_names_its_camera(tmp_path):
    with pytest.raises(DataError, match="camera CAM_BACK: image .*a.jpg does not exist"):
        read_image(tmp_path / "a.jpg", "CAM_BACK")


@pytest.mark.parametrize(
    ("pixels", "problem"),
    [
        (np.zeros((4, 4, 3), np.float32), "must be uint8 .0 to 255., got float32"),
        (np.zeros((4, 4, 4), np.uint8), r"must be \[H, W, 3\], got \(4, 4, 4\)"),
        (np.zeros((0, 4, 3), np.uint8), r"must be \[H, W, 3\], got \(0, 4, 3\)"),
    ],
)
def test_pixels_of_another_kind_are_named(pixels, problem):
    with pytest.raises(DataError, match=f"camera CAM_BACK: pixels {problem}"):
        read_image(pixels, "CAM_BACK")
