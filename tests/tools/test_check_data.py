from __future__ import annotations

import json

import pytest


def test_sound_data_and_config_exit_with_zero(run_tool, tiny_config, tmp_path):
    out = tmp_path / "report.json"
    infos = tiny_config.parent / "bevdepth_plus_infos_train.pkl"
    result = run_tool("check_data.py", infos, "--config", tiny_config, "--out", out)
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-2000:]
    report = json.loads(out.read_text())
    assert report["problems"] == []
    assert report["numbers"]["self_test"]["mAP"] == pytest.approx(1.0)
    assert list(tmp_path.iterdir()) == [out]


def test_missing_images_exit_with_one_and_an_unusable_file_with_two(
    run_tool, tiny_config, tmp_path
):
    infos = tiny_config.parent / "bevdepth_plus_infos_train.pkl"
    out = tmp_path / "report.json"
    result = run_tool("check_data.py", infos, "--images", "nowhere/{camera}", "--out", out)
    assert result.returncode == 1
    assert json.loads(out.read_text())["problems"]
    result = run_tool("check_data.py", tmp_path / "nothing.pkl", "--out", out)
    assert result.returncode == 2
    assert "nothing.pkl does not exist" in result.stderr and "Traceback" not in result.stderr
