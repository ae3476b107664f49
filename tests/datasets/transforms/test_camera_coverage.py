from __future__ import annotations

import numpy as np
import pytest
import torch
from mmdet3d.structures import LiDARInstance3DBoxes

from bevdepth_plus.datasets.transforms import (
    BEVAugmentation,
    DropCameras,
    DropUncoveredBoxes,
    ImageAugmentation,
)

WIDTH, HEIGHT = 160, 90
FORWARD = np.array([[0.0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 1.5], [0, 0, 0, 1]])
BACKWARD = np.diag([-1.0, -1.0, 1.0, 1.0]) @ FORWARD
# Ahead, behind, to the left, and one whose centre is just left of what the camera sees at 20 m
# (80 px at 100 px focal length: 16 m) while its right side is inside.
CENTRES = [[20.0, 0, 1], [-20, 0, 1], [0, 20, 1], [20, 16.5, 1]]
AHEAD, BEHIND, LEFT, RIM = range(4)


def sample(cameras: int = 1) -> dict:
    boxes = torch.tensor([[*centre, 4.0, 2.0, 1.5, 0.0, 0.0, 0.0] for centre in CENTRES])
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    return {
        "img": [image] * cameras,
        "raw_shape": [image.shape[:2]] * cameras,
        "cam_names": ["FRONT", "BACK"][:cameras],
        "camera_mask": np.ones((1, cameras), dtype=bool),
        "intrinsics": np.array([[100.0, 0, 80], [0, 100, 45], [0, 0, 1]])[None, None].repeat(
            cameras, axis=1
        ),
        "ego_T_cam": np.stack([FORWARD, BACKWARD][:cameras])[None],
        "image_aug": np.tile(np.eye(3), (1, cameras, 1, 1)),
        "bev_aug": np.eye(4),
        "ann_info": {
            "gt_bboxes_3d": LiDARInstance3DBoxes(boxes, box_dim=9, origin=(0.5, 0.5, 0.5)),
            "gt_labels_3d": np.arange(len(CENTRES)),
        },
    }


def kept(results: dict, keep: str = "centre") -> list[int]:
    ann_info = DropUncoveredBoxes(keep)(results)["ann_info"]
    assert len(ann_info["gt_bboxes_3d"]) == len(ann_info["gt_labels_3d"])
    return ann_info["gt_labels_3d"].tolist()


def test_a_front_camera_keeps_what_is_ahead():
    results = sample()
    assert kept(results) == [AHEAD]
    assert len(results["ann_info"]["gt_labels_3d"]) == len(CENTRES)  # the sample is not touched


def test_a_box_cut_by_the_rim_stays_where_a_part_is_enough():
    assert kept(sample(), keep="part") == [AHEAD, RIM]


def test_two_cameras_keep_what_either_sees():
    assert kept(sample(cameras=2)) == [AHEAD, BEHIND]


def test_a_camera_that_is_out_covers_nothing():
    assert kept(DropCameras(["FRONT"])(sample(cameras=2))) == [BEHIND]


def test_what_the_crop_cuts_off_is_not_covered():
    # Twice as large and cropped in the middle: 40 px of 160 remain to each side.
    results = sample()
    results["ann_info"]["gt_bboxes_3d"].tensor[:, 1] += 10.0  # 50 px left of the middle at 20 m
    assert kept(results) == [AHEAD]
    cropped = ImageAugmentation((HEIGHT, WIDTH), scale=(2.0, 2.0), rot=(0.0, 0.0))(results)
    assert kept(cropped) == []


def test_black_borders_cover_nothing():
    results = sample()
    results["ann_info"]["gt_bboxes_3d"].tensor[:, 1] += 17.0  # 5 px outside the raw image
    small = ImageAugmentation((HEIGHT, WIDTH), scale=(0.5, 0.5), rot=(0.0, 0.0))(results)
    assert kept(small) == []


@pytest.mark.parametrize("seed", range(5))
def test_bev_augmentation_changes_nothing(seed):
    np.random.seed(seed)
    assert kept(BEVAugmentation(rot=(-180, 180))(sample(cameras=2))) == [AHEAD, BEHIND]


def test_a_sample_without_boxes_passes():
    results = sample()
    nothing = LiDARInstance3DBoxes(torch.zeros(0, 9), box_dim=9)
    results["ann_info"] = {"gt_bboxes_3d": nothing, "gt_labels_3d": np.zeros(0, np.int64)}
    assert kept(results, keep="part") == []


def test_an_unknown_choice_is_refused():
    with pytest.raises(ValueError, match="'centre' or 'part', got 'corners'"):
        DropUncoveredBoxes("corners")
