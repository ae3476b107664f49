from __future__ import annotations

import numpy as np
import pytest

from bevdepth_plus.datasets.transforms import DropCameras
from bevdepth_plus.errors import DataError

RESULTS = {"cam_names": ["A", "B", "C"], "camera_mask": np.ones((2, 3), dtype=bool)}


def test_a_camera_is_out_in_all_frames_and_the_sample_is_not_touched():
    mask = DropCameras(["B"])(RESULTS)["camera_mask"]
    assert mask.tolist() == [[True, False, True]] * 2
    assert RESULTS["camera_mask"].all()


def test_two_transforms_drop_two_cameras():
    mask = DropCameras(["A"])(DropCameras(["C"])(RESULTS))["camera_mask"]
    assert mask.tolist() == [[False, True, False]] * 2


def test_a_camera_that_is_not_there_is_named_with_those_that_are():
    with pytest.raises(DataError, match="no camera D; names must be of A, B, C"):
        DropCameras(["D"])(RESULTS)


def test_one_string_is_not_a_list_of_names():
    with pytest.raises(ValueError, match="got the string 'A'"):
        DropCameras("A")
