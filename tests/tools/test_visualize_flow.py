from __future__ import annotations

import cv2


def test_a_pair_of_frames_is_drawn_without_any_model(tiny_config, run_tool, tmp_path):
    options = ("--split", "train", "--samples", 2, "--cameras", "CAM_FRONT", "--out", tmp_path)
    done = run_tool("visualize_flow.py", tiny_config, *options)
    assert done.returncode == 0, done.stderr[-3000:]
    pictures = sorted(tmp_path.glob("*_flow.png"))
    assert len(pictures) == 2
    height, width = cv2.imread(str(pictures[0])).shape[:2]
    assert width == 1920 and 600 < height < 800  # one row of two panels of 64 x 96, and the legend


def test_a_camera_that_does_not_exist_is_one_clear_line(tiny_config, run_tool, tmp_path):
    done = run_tool("visualize_flow.py", tiny_config, "--cameras", "FRONT", "--out", tmp_path)
    assert done.returncode == 2
    assert "--cameras: there is no FRONT; choose from CAM_FRONT" in done.stderr
    assert not list(tmp_path.iterdir())
