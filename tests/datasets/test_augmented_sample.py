"""All transforms together: image, depth, boxes and matrices keep telling the same story."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from mmdet3d.structures import LiDARInstance3DBoxes

from bevdepth_plus.datasets.transforms import BEVAugmentation, ImageAugmentation, LidarDepthMaps
from bevdepth_plus.geometry.boxes import points_in_boxes
from bevdepth_plus.geometry.cameras import compose_pixels, project_from_ego, unproject_to_ego
from bevdepth_plus.geometry.rigid import transform_points

RAW_WIDTH, RAW_HEIGHT = 480, 270
FINAL_DIM = (128, 352)
repeatable = settings(derandomize=True, max_examples=60, deadline=None)


def camera(yaw: float) -> np.ndarray:
    cos, sin = np.cos(yaw), np.sin(yaw)
    matrix = np.eye(4)
    matrix[:3, :3] = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]]) @ np.array(
        [[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]]
    )
    matrix[:3, 3] = [1.5 * cos, 1.5 * sin, 1.6]
    return matrix


def spot(pixel: np.ndarray) -> np.ndarray:
    """A white spot of 2 px radius at (column, row); centres of pixels at integers + 0.5."""
    columns = np.arange(RAW_WIDTH) + 0.5 - pixel[0]
    rows = np.arange(RAW_HEIGHT) + 0.5 - pixel[1]
    image = 250 * np.exp(-(columns[None] ** 2 + rows[:, None] ** 2) / 18)
    return np.repeat(image.round().astype(np.uint8)[..., None], 3, axis=2)


def centroid(image: np.ndarray) -> np.ndarray:
    rows, columns = np.mgrid[: image.shape[0], : image.shape[1]] + 0.5
    weight = image[..., 0] / image[..., 0].sum()
    return np.array([(columns * weight).sum(), (rows * weight).sum()])


@repeatable
@given(
    yaw=st.floats(-3, 3),
    distance=st.floats(4, 50),
    column=st.floats(20, RAW_WIDTH - 20),
    row=st.floats(120, RAW_HEIGHT - 20),
    seed=st.integers(0, 10_000),
)
def test_a_point_is_found_in_image_depth_map_and_box_after_all_augmentation(
    yaw, distance, column, row, seed
):
    ego_T_cam = torch.from_numpy(camera(yaw))
    intrinsics = torch.tensor([[380.0, 0, 242], [0, 380, 133], [0, 0, 1]], dtype=torch.float64)
    pixel = torch.tensor([[column, row]], dtype=torch.float64)
    point = unproject_to_ego(pixel, torch.tensor([distance]).double(), ego_T_cam, intrinsics)
    box = torch.tensor([[*point[0].tolist(), 4.0, 2.0, 1.6, yaw / 2, 1.0, 2.0]])
    np.random.seed(seed)
    results = {
        "img": [spot(np.array([column, row]))],
        "raw_shape": [(RAW_HEIGHT, RAW_WIDTH)],
        "cam_names": ["CAM"],
        "image_aug": np.eye(3)[None, None],
        "bev_aug": np.eye(4),
        "intrinsics": intrinsics.numpy()[None, None],
        "ego_T_cam": ego_T_cam.numpy()[None, None],
        "lidar2ego": np.eye(4),
        "points": np.array([[*point[0].tolist(), 0, 0]], dtype=np.float32),
        "ann_info": {"gt_bboxes_3d": LiDARInstance3DBoxes(box, box_dim=9, origin=(0.5, 0.5, 0.5))},
    }
    for transform in (ImageAugmentation(FINAL_DIM), BEVAugmentation(), LidarDepthMaps()):
        results = transform(results)
    network = compose_pixels(torch.from_numpy(results["image_aug"][0, 0]), intrinsics)
    bev_aug = torch.from_numpy(results["bev_aug"])

    in_augmented_ego = transform_points(bev_aug, point)
    back_in_ego = transform_points(torch.linalg.inv(bev_aug), in_augmented_ego)
    target, depth = project_from_ego(back_in_ego, ego_T_cam, network)
    target = target[0].numpy()
    assume((target > 12).all() and (target < np.array(FINAL_DIM[::-1]) - 12).all())

    np.testing.assert_allclose(centroid(results["img"][0]), target, atol=0.1)
    depth_map = results["depth_maps"][0]
    assert np.argwhere(depth_map).tolist() == [[int(target[1]), int(target[0])]]
    assert depth_map.max() == pytest.approx(distance, rel=1e-5)
    # The frustum point the network lifts from that pixel lies in the middle of the moved box.
    lifted = transform_points(
        bev_aug, unproject_to_ego(torch.from_numpy(target)[None], depth, ego_T_cam, network)
    )
    moved = results["ann_info"]["gt_bboxes_3d"]
    np.testing.assert_allclose(lifted[0], moved.gravity_center[0], atol=1e-3)
    by_gravity = torch.cat([moved.gravity_center, moved.tensor[:, 3:]], dim=1)
    assert points_in_boxes(lifted.float(), by_gravity).all()
