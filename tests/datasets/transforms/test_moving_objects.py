"""Pixels of moving objects: exactly those of their boxes, whatever moves the image or the frame."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from mmdet3d.structures import LiDARInstance3DBoxes

from bevdepth_plus.datasets.transforms import (
    BEVAugmentation,
    ImageAugmentation,
    MovingObjectPixels,
)

WIDTH, HEIGHT = 160, 90
FORWARD = np.array([[0.0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 1.5], [0, 0, 0, 1]])
BACKWARD = np.diag([-1.0, -1.0, 1.0, 1.0]) @ FORWARD


def sample(*boxes: tuple) -> dict:
    """Boxes of x, y, z, length, width, height, yaw, vx, vy; two cameras, ahead and behind."""
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    numbers = torch.tensor(boxes).reshape(-1, 9)
    return {
        "img": [image, image],
        "raw_shape": [image.shape[:2]] * 2,
        "cam_names": ["FRONT", "BACK"],
        "camera_mask": np.ones((1, 2), dtype=bool),
        "intrinsics": np.tile(np.array([[100.0, 0, 80], [0, 100, 45], [0, 0, 1]]), (1, 2, 1, 1)),
        "ego_T_cam": np.stack([FORWARD, BACKWARD])[None],
        "image_aug": np.tile(np.eye(3), (1, 2, 1, 1)),
        "bev_aug": np.eye(4),
        "ann_info": {
            "gt_bboxes_3d": LiDARInstance3DBoxes(numbers, box_dim=9, origin=(0.5, 0.5, 0.5)),
            "gt_labels_3d": np.arange(len(numbers)),
        },
    }


def marked(results: dict) -> np.ndarray:
    return MovingObjectPixels()(results)["moving_pixels"]


AHEAD = (22.0, 0.0, 1.5, 4.0, 2.0, 1.0, 0.0)  # its rear face is 20 m away


def test_a_moving_box_is_marked_where_the_camera_sees_it():
    mask = marked(sample((*AHEAD, 5.0, 0.0)))
    rows, columns = np.nonzero(mask[0])
    # The rear face: 2 x 1 m at 20 m are 10 x 5 pixels round the middle.
    assert (columns.min(), columns.max()) == pytest.approx((75, 85), abs=1)
    assert (rows.min(), rows.max()) == pytest.approx((42.5, 47.5), abs=1)
    assert not mask[1].any()


@pytest.mark.parametrize(("speed", "moves"), [(0.0, False), (0.4, False), (0.6, True)])
def test_a_box_that_stands_is_not_marked(speed, moves):
    assert marked(sample((*AHEAD, 0.0, speed))).any() == moves


def test_an_unknown_speed_counts_as_moving():
    assert marked(sample((*AHEAD, float("nan"), float("nan")))).any()


def test_a_box_beside_the_vehicle_is_cut_at_the_camera():
    """It reaches from behind the camera to 6 m ahead, 2 m to the left: no pixel at the right."""
    mask = marked(sample((0.0, 3.0, 1.5, 12.0, 2.0, 1.5, 0.0, 9.0, 0.0)))
    assert mask[0, 45, 0] and not mask[0, :, 80:].any()
    # Its nearest visible face ends at 6 m: 2 m to the left are 33 pixels from the middle.
    assert np.nonzero(mask[0].any(0))[0].max() == pytest.approx(80 - 100 * 2 / 6, abs=1)


def test_the_augmented_image_and_frame_show_the_same_box():
    ahead = (22.0, 0.07, 1.53, 4.0, 2.0, 1.0, 0.0, 5.0, 0.0)  # no corner between two pixels
    results = sample(ahead, (-15.0, 2.0, 1.0, 4.0, 2.0, 1.5, 0.3, 3.0, 0.0))
    plain = marked(results)
    np.random.seed(0)
    turned = BEVAugmentation(rot=(90.0, 90.0), flip_x=1.0, flip_y=0.0)(results)
    assert np.array_equal(marked(turned), plain)
    # Half the size: each pixel of the small mask lies in the large one's block, but for the rim.
    small = marked(ImageAugmentation(final_dim=(45, 80), training=False)(results))
    assert np.abs(small.sum() * 4 - plain.sum()) < 0.5 * plain.sum()
    rows, columns = np.nonzero(small[0])
    assert (abs(columns.mean() - 40) < 1) and (abs(rows.mean() - 22.5) < 1)


def test_no_box_marks_nothing():
    mask = marked(sample())
    assert mask.shape == (2, HEIGHT, WIDTH) and mask.dtype == bool and not mask.any()
