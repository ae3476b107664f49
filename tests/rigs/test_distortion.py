from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from bevdepth_plus.errors import DataError
from bevdepth_plus.rigs.camera_images import CameraImages
from bevdepth_plus.rigs.distortion import Undistortion, fold, project, rectified
from bevdepth_plus.rigs.poses import camera_pose, rotation_from_angles
from bevdepth_plus.rigs.rig import Distortion, RigCamera

LENSES = {
    "plumb_bob": Distortion("plumb_bob", (-0.3, 0.09, 0.001, -0.002, 0.0)),
    "rational": Distortion("rational", (0.4, 0.02, 1e-4, 1e-4, 0.001, 0.7, 0.1, 0.005)),
    "fisheye": Distortion("fisheye", (-0.02, 0.003, -0.001, 0.0002)),
}


def camera(**changes) -> RigCamera:
    intrinsics = np.array([[300.0, 0, 322], [0, 301, 178], [0, 0, 1]])
    plain = RigCamera("CAM_FRONT", 640, 360, intrinsics, camera_pose([1.5, 0, 1.5], 10, 2, 1))
    return replace(plain, **changes)


def spot(pixel: np.ndarray, size: tuple[int, int], sigma: float = 2.5) -> np.ndarray:
    """A bright spot at (u, v), pixel centres at integers + 0.5; uint8 [H, W, 3]."""
    columns, rows = (np.arange(n) + 0.5 - c for n, c in zip(size, pixel, strict=True))
    light = 250 * np.exp(-(columns[None] ** 2 + rows[:, None] ** 2) / (2 * sigma**2))
    return np.repeat(light.round().astype(np.uint8)[..., None], 3, axis=2)


def centroid(image: np.ndarray) -> np.ndarray:
    weight = image[..., 0].astype(float)
    u = (weight.sum(0) * (np.arange(image.shape[1]) + 0.5)).sum()
    v = (weight.sum(1) * (np.arange(image.shape[0]) + 0.5)).sum()
    return np.array([u, v]) / weight.sum()


def pinhole(seen_by: RigCamera, points: np.ndarray) -> np.ndarray:
    pixels = points @ seen_by.intrinsics.T
    return pixels[:, :2] / pixels[:, 2:]


@pytest.mark.parametrize("lens", LENSES)
def test_a_point_lands_after_undistortion_where_the_stated_pinhole_says(lens):
    # A pole of the world is drawn where the distorted lens sees it; the pinhole must see it too.
    distorted = camera(distortion=LENSES[lens])
    undistort = Undistortion(distorted)
    for point in ([0.1, 0.05, 1.0], [-0.5, -0.2, 1.0], [0.6, 0.3, 1.0]):
        raw = project(distorted, np.array([point]))[0]
        straight = pinhole(undistort.camera, np.array([point]))[0]
        assert np.linalg.norm(raw - straight) > (0.05 if point[0] == 0.1 else 3)
        seen = centroid(undistort(spot(raw, (640, 360))))
        # Half a pixel would be a wrong pixel centre; the spot's own stretching is below 0.2.
        np.testing.assert_allclose(seen, straight, atol=0.25)


def test_the_pixel_centre_is_not_shifted_where_the_lens_does_nothing():
    image = np.random.default_rng(0).integers(0, 255, (360, 640, 3), dtype=np.uint8)
    still = Undistortion(camera(distortion=Distortion("plumb_bob", (0.0, 0.0, 0.0, 0.0))))
    np.testing.assert_array_equal(still(image), image)


def test_the_rectified_intrinsics_decide_what_the_pinhole_shows():
    wide = np.array([[150.0, 0, 320], [0, 150, 180], [0, 0, 1]])
    undistort = Undistortion(camera(distortion=LENSES["plumb_bob"], rectified_intrinsics=wide))
    np.testing.assert_array_equal(undistort.camera.intrinsics, wide)
    point = np.array([[0.4, -0.2, 1.0]])
    raw = project(camera(distortion=LENSES["plumb_bob"]), point)[0]
    seen = centroid(undistort(spot(raw, (640, 360))))
    np.testing.assert_allclose(seen, pinhole(undistort.camera, point)[0], atol=0.25)


def test_a_rectification_turns_camera_and_image_alike():
    turn = rotation_from_angles(0, 0, 2.0) @ rotation_from_angles(1.0, 0, 0)
    stereo = camera(distortion=LENSES["plumb_bob"], rectification=turn)
    undistort = Undistortion(stereo)
    assert undistort.camera.distortion is None and undistort.camera.rectification is None
    point = np.array([[0.2, -0.1, 1.0]])
    ego = (stereo.ego_T_cam @ [*point[0], 1.0])[:3]
    in_rectified = (np.linalg.inv(undistort.camera.ego_T_cam) @ [*ego, 1.0])[:3]
    seen = centroid(undistort(spot(project(stereo, point)[0], (640, 360))))
    np.testing.assert_allclose(seen, pinhole(undistort.camera, in_rectified[None])[0], atol=0.25)


def test_a_pinhole_camera_stays_as_it_is():
    plain = camera()
    assert rectified(plain) is plain
    image = np.zeros((360, 640, 3), np.uint8)
    assert CameraImages(plain)(image).image is image


def test_projection_without_a_lens_is_the_pinholes():
    points = np.array([[0.3, 0.1, 1.0], [-2, 1, 9]])
    np.testing.assert_allclose(project(camera(), points), pinhole(camera(), points), atol=1e-9)


@pytest.mark.parametrize("size", [(320, 180), (1280, 720), (427, 240)])
def test_a_resized_image_is_described_by_scaled_intrinsics(size):
    distorted = camera(distortion=LENSES["plumb_bob"])
    images = CameraImages(distorted)
    factor = np.array([size[0] / 640, size[1] / 360])
    point = np.array([[-0.3, 0.15, 1.0]])
    raw = project(distorted, point)[0] * factor
    result = images(spot(raw, size, sigma=2.0))
    assert result.image.shape == (size[1], size[0], 3)
    assert (result.camera.width, result.camera.height) == size
    np.testing.assert_allclose(
        centroid(result.image), pinhole(rectified(distorted), point)[0] * factor, atol=0.25
    )
    assert images(np.zeros((size[1], size[0], 3), np.uint8)).camera is result.camera  # made once


@pytest.mark.parametrize(
    ("size", "remedy"), [((640, 480), "not cropped"), ((360, 640), "swapped, or the images turned")]
)
def test_another_aspect_ratio_is_refused(size, remedy):
    with pytest.raises(DataError) as error:
        CameraImages(camera())(np.zeros((size[1], size[0], 3), np.uint8))
    message = str(error.value)
    assert message.startswith(f"camera CAM_FRONT: image has {size[0]} x {size[1]} pixels, the rig")
    assert remedy in message and "\n" not in message


def test_the_own_body_is_zero_after_normalisation(tmp_path):
    mask = np.zeros((360, 640), np.uint8)
    mask[300:] = 255
    cv2.imwrite(str(tmp_path / "mask.png"), mask)
    images = CameraImages(camera(body_mask=tmp_path / "mask.png"))
    for height, width in ((360, 640), (180, 320)):
        raw = np.full((height, width, 3), 200, np.uint8)
        filled = images(raw).image
        assert (raw == 200).all()
        row = 300 * height // 360
        assert (filled[:row] == 200).all()
        normalised = (filled[row:] - np.array([123.675, 116.28, 103.53])) / [58.395, 57.12, 57.375]
        assert np.abs(normalised).max() < 0.01


def test_a_mask_that_does_not_fit_is_named(tmp_path):
    with pytest.raises(DataError, match="CAM_FRONT: body_mask .*none.png cannot be read"):
        CameraImages(camera(body_mask=tmp_path / "none.png"))
    cv2.imwrite(str(tmp_path / "mask.png"), np.zeros((360, 360), np.uint8))
    with pytest.raises(DataError, match="CAM_FRONT: body_mask has 360 x 360 pixels"):
        CameraImages(camera(body_mask=tmp_path / "mask.png"))


@pytest.mark.parametrize("lens", LENSES)
def test_a_sound_lens_does_not_fold(lens):
    assert fold(camera(distortion=LENSES[lens])) is None
    assert fold(camera()) is None


@pytest.mark.parametrize(
    "lens",
    [
        Distortion("plumb_bob", (-0.9, 0.0, 0.0, 0.0)),
        Distortion("rational", (-0.9, 0, 0, 0, 0, 0, 0, 0)),
        Distortion("fisheye", (-0.5, 0.0, 0.0, 0.0)),
    ],
    ids=lambda lens: lens.model,
)
def test_a_lens_that_turns_back_within_the_image_is_found_where_it_does(lens):
    # r - 0.9 r^3 turns at r = 0.6086, having reached 0.4057; a - 0.5 a^3 at 0.8165 and 0.5443
    expected = {"fisheye": 0.5443}.get(lens.model, 0.4057) * 300.5
    assert fold(camera(distortion=lens)) == pytest.approx(expected, rel=1e-3)
    assert fold(camera(distortion=lens, intrinsics=np.diag([9000.0, 9000, 1]))) is None
