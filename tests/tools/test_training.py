from __future__ import annotations

import json


def test_two_processes_train_on_a_cpu(tiny_config, run_tool, tmp_path):
    result = run_tool(
        "dist_train.sh", tiny_config, 2, "--work-dir", tmp_path, "--cfg-options",
        "train_cfg.max_iters=2",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-3000:]
    assert (tmp_path / "iter_2.pth").is_file()


def test_a_test_run_writes_scores_and_depth_metrics(trained, tiny_config, run_tool, tmp_path):
    result = run_tool("test.py", tiny_config, trained / "iter_4.pth", "--work-dir", tmp_path)
    assert result.returncode == 0, result.stderr[-3000:]
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert {"NDS", "mAP", "per_class", "depth"} <= set(metrics)
    assert len(metrics["per_class"]) == 10


def test_amp_on_a_cpu_trains_in_bfloat16(tiny_config, run_tool, tmp_path):
    result = run_tool(
        "train.py", tiny_config, "--work-dir", tmp_path, "--amp", "--cfg-options",
        "train_cfg.max_iters=2",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-3000:]
