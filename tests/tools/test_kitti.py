"""The KITTI sample through the tools: training, scores and a picture."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import pytest

CONFIG = Path(__file__).resolve().parents[2] / "configs" / "kitti_one_camera.py"


@pytest.mark.slow
def test_kittis_frame_is_trained_scored_and_drawn(shared_dir, run_tool, tmp_path):
    shared = dict(BEVDEPTH_PLUS_SHARED=str(shared_dir))
    steps = [f"{key}=2" for key in ("train_cfg.max_iters", "train_cfg.val_interval")]
    options = ["--cfg-options", *steps, "default_hooks.checkpoint.interval=2"]
    work_dir = tmp_path / "work"
    trained = run_tool("train.py", CONFIG, "--work-dir", work_dir, *options, env=shared)
    assert trained.returncode == 0, trained.stderr[-3000:]
    checkpoint = work_dir / "iter_2.pth"
    scored = run_tool("test.py", CONFIG, checkpoint, "--work-dir", work_dir, env=shared)
    assert scored.returncode == 0, scored.stderr[-3000:]
    report = json.loads((work_dir / "metrics.json").read_text())
    assert report["per_class"]["Car"]["num_ground_truth"] == 6
    assert report["per_class"]["Car"]["range"] == pytest.approx(70.4)
    drawn = run_tool("visualize.py", CONFIG, "--out", tmp_path, "--ground-truth-only", env=shared)
    assert drawn.returncode == 0, drawn.stderr[-3000:]
    assert cv2.imread(str(tmp_path / "000008.png")).shape[1] == 1920
