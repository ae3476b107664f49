from __future__ import annotations

import numpy as np
import pytest
from mmdet3d.registry import TRANSFORMS

from bevdepth_plus.datasets.transforms import (
    ImageAugmentation,
    LidarDepthMaps,
    LoadLidarPoints,
    PastLidarDepthMaps,
)
from bevdepth_plus.errors import DataError

FORWARD_CAMERA = np.array([[0.0, 0, 1, 1.0], [-1, 0, 0, 0], [0, -1, 0, 1.5], [0, 0, 0, 1]])
SIZE = (40, 60)
POST = np.array([12.0, -1.0, 1.7])  # a static point in the key frame's ego


def driven(metres: float, yaw: float = 0.0) -> np.ndarray:
    """Ego frame of a moment so many metres before -> key frame's ego."""
    cos, sin = np.cos(yaw), np.sin(yaw)
    return np.array([[cos, -sin, 0, -metres], [sin, cos, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])


MOVES = np.stack([np.eye(4), driven(3.0, 0.05)])
LIDAR = np.array([[0.0, 1, 0, 0.9], [-1, 0, 0, 0], [0, 0, 1, 1.8], [0, 0, 0, 1]])  # in the ego


@pytest.fixture
def results(tmp_path) -> dict:
    """One camera at two moments; each moment's sweep has the post alone."""
    paths = []
    for frame, move in enumerate(MOVES):
        in_lidar = (np.linalg.inv(move @ LIDAR) @ [*POST, 1.0])[:3]
        paths.append(str(tmp_path / f"{frame}.bin"))
        np.array([*in_lidar, 0, 0], dtype="<f4").tofile(paths[-1])
    return {
        "token": "x",
        "cam_names": ["CAM_FRONT"],
        "lidar_path": paths[0],
        "frame_lidar_path": paths,
        "num_pts_feats": 5,
        "lidar2ego": LIDAR,
        "key_T_lidar": MOVES @ LIDAR,
        "ego_T_cam": (MOVES @ FORWARD_CAMERA)[:, None],
        "intrinsics": np.tile([[50.0, 0, 30], [0, 50, 20], [0, 0, 1]], (2, 1, 1, 1)),
        "image_aug": np.tile(np.eye(3), (2, 1, 1, 1)),
        "img": [np.zeros((*SIZE, 3), np.uint8)] * 2,
        "raw_shape": [SIZE] * 2,
        "camera_mask": np.ones((2, 1), dtype=bool),
        "frame_mask": np.array([True, True]),
    }


def past_map(results: dict, **options) -> np.ndarray:
    maps = PastLidarDepthMaps(**options)(results)["past_depth_maps"]
    assert maps.shape[:2] == (1, 1) and maps.dtype == np.float32
    return maps[0, 0]


def seen(frame: int) -> tuple[np.ndarray, float]:
    """The post's pixel and depth in the camera of a moment."""
    in_camera = (np.linalg.inv(MOVES[frame] @ FORWARD_CAMERA) @ [*POST, 1.0])[:3]
    return 50 * in_camera[:2] / in_camera[2] + [30, 20], in_camera[2]


def test_a_static_point_has_its_own_depth_and_pixel_at_each_moment(results):
    key = LidarDepthMaps()(LoadLidarPoints()(results))["depth_maps"][0]
    for frame, image in enumerate((key, past_map(results))):
        ((row, column),) = np.argwhere(image)
        pixel, depth = seen(frame)
        assert (column, row) == tuple(pixel.astype(int))
        assert image[row, column] == pytest.approx(depth, abs=1e-4)
    assert seen(1)[1] - seen(0)[1] == pytest.approx(3.0, abs=0.1)


def test_past_maps_follow_the_augmentation_of_their_images(results):
    np.random.seed(3)
    augmented = ImageAugmentation((32, 64))(results)
    image = past_map(augmented)
    assert image.shape == (32, 64)
    column, row = (augmented["image_aug"][1, 0] @ [*seen(1)[0], 1.0])[:2]
    assert image[int(row), int(column)] == pytest.approx(seen(1)[1], abs=1e-4)


def test_a_frame_without_a_sweep_and_a_camera_that_is_out_have_no_depth(results):
    key_sweep = results["frame_lidar_path"][0]
    assert past_map({**results, "frame_lidar_path": [key_sweep, None]}).sum() == 0
    assert past_map({**results, "camera_mask": np.array([[True], [False]])}).sum() == 0
    assert past_map(results).sum() > 0


def test_one_frame_alone_is_refused_with_the_remedy(results):
    one = {**results, "frame_lidar_path": results["frame_lidar_path"][:1]}
    with pytest.raises(DataError, match="sample x has no past frame: set the dataset's num_frames"):
        PastLidarDepthMaps()(one)


def test_sweeps_are_read_with_the_options_of_load_lidar_points(results):
    broken = np.vstack([np.fromfile(results["frame_lidar_path"][1], "<f4"), np.full(5, np.nan)])
    broken.astype("<f4").tofile(results["frame_lidar_path"][1])
    with pytest.raises(DataError, match="1 points that are not finite"):
        past_map(results)
    step = dict(type="PastLidarDepthMaps", num_features=5, drop_not_finite=True)
    maps = TRANSFORMS.build(step)({**results, "num_pts_feats": 3})["past_depth_maps"]
    assert maps.max() == pytest.approx(seen(1)[1], abs=1e-4)
    assert past_map(results, drop_not_finite=True, min_depth=50.0).sum() == 0
