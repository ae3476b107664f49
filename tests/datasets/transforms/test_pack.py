from __future__ import annotations

import numpy as np
import pytest
import torch
from mmdet3d.structures import LiDARInstance3DBoxes

from bevdepth_plus.datasets.transforms.pack import PackBEVInputs


def results_of(*shapes: tuple[int, int]) -> dict:
    rng = np.random.default_rng(0)
    return {
        "img": [rng.integers(0, 255, (*shape, 3), dtype=np.uint8) for shape in shapes],
        "cam_names": ["A", "B"],
        "img_path": [f"{index}.jpg" for index in range(len(shapes))],
        "token": "t",
        "camera_mask": np.array([[True, True], [True, True]]),
        "ann_info": {
            "gt_bboxes_3d": LiDARInstance3DBoxes(torch.ones(1, 9), box_dim=9),
            "gt_labels_3d": np.array([3]),
        },
    }


def test_images_are_frame_major_channel_first_and_unchanged():
    results = results_of(*[(4, 6)] * 4)
    packed = PackBEVInputs(["token", "img_path"])(results)
    images = packed["inputs"]["img"]
    assert images.is_contiguous() and images.shape == (4, 3, 4, 6)
    for image, raw in zip(images, results["img"], strict=True):
        np.testing.assert_array_equal(image.permute(1, 2, 0).numpy(), raw)


def test_the_sample_names_the_key_frames_images():
    sample = PackBEVInputs(["token", "img_path"])(results_of(*[(4, 6)] * 4))["data_samples"]
    assert sample.img_path == ["0.jpg", "1.jpg"]
    assert sample.token == "t"
    assert sample.gt_instances_3d.labels_3d.tolist() == [3]


def test_depth_is_packed_only_where_there_is_some():
    results = results_of((4, 6), (4, 6))
    assert "depth" not in PackBEVInputs(["token"])(results)["inputs"]
    results["depth_maps"] = np.ones((2, 4, 6), np.float32)
    assert PackBEVInputs(["token"])(results)["inputs"]["depth"].shape == (2, 4, 6)


def test_a_camera_that_is_out_has_no_depth_labels():
    results = results_of((4, 6), (4, 6))
    results["depth_maps"] = np.ones((2, 4, 6), np.float32)
    results["camera_mask"] = np.array([[True, False]])
    depth = PackBEVInputs(["token"])(results)["inputs"]["depth"]
    assert depth.dtype == torch.float32
    assert (depth[0] == 1).all() and (depth[1] == 0).all()


def test_past_depth_is_packed_without_cameras_that_were_out_then():
    results = results_of(*[(4, 6)] * 4)
    assert "past_depth" not in PackBEVInputs(["token"])(results)["inputs"]
    results["past_depth_maps"] = np.ones((1, 2, 4, 6), np.float32)
    results["camera_mask"] = np.array([[True, True], [True, False]])
    packed = PackBEVInputs(["img_shape"])(results)
    depth = packed["inputs"]["past_depth"]
    assert depth.dtype == torch.float32 and depth.shape == (1, 2, 4, 6)
    assert (depth[:, 0] == 1).all() and (depth[:, 1] == 0).all()
    assert packed["data_samples"].img_shape == (4, 6)


def test_images_of_two_sizes_are_refused_with_the_remedy():
    with pytest.raises(ValueError, match="one size .*ImageAugmentation before"):
        PackBEVInputs(["token"])(results_of((4, 6), (5, 6)))
