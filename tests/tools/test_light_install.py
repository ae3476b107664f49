"""``pip install bevdepth_plus[onnx]`` in a fresh environment: small, without torch, and works."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
MOST_MEGABYTES = 350
MOST_SECONDS = 60


@pytest.mark.slow
def test_a_fresh_environment_is_small_and_gives_boxes_in_a_minute(
    exported_model, synthetic_root, tmp_path
):
    if sys.version_info < (3, 11):
        pytest.skip("no wheel of onnxruntime for Python 3.10 knows DeformConv")
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "env"], check=True)
    python = tmp_path / "env" / "bin" / "python"
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    install = [python, "-m", "pip", "install", "--disable-pip-version-check", f"{REPO}[onnx]"]
    done = subprocess.run(install, env=environment, capture_output=True, text=True)
    if done.returncode != 0 and "Could not find a version" in done.stderr + done.stdout:
        pytest.skip(f"pip reaches no index: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr[-2000:]

    start = time.monotonic()
    command = [
        python, "-m", "bevdepth_plus.deploy.infer", exported_model, "--nuscenes", synthetic_root,
        "--scene", "scene-0103", "--limit", "1", "--out", tmp_path / "out",
    ]  # fmt: skip
    answer = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600
    )
    seconds = time.monotonic() - start
    assert answer.returncode == 0, answer.stderr[-2000:]
    (boxes,) = json.loads((tmp_path / "out" / "nuscenes.json").read_text())["results"].values()
    assert boxes
    assert seconds < MOST_SECONDS

    config = REPO / "configs" / "synthetic_small.py"
    refused = subprocess.run(
        [*command[:3], config, "x.pth", *command[4:]],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert refused.returncode == 2
    assert "which is not installed; export the model where it is" in refused.stderr.splitlines()[-1]

    size = subprocess.run(
        ["du", "-sm", tmp_path / "env"], capture_output=True, text=True, check=True
    )
    assert int(size.stdout.split()[0]) <= MOST_MEGABYTES
    listed = subprocess.run(
        [python, "-m", "pip", "list", "--format", "json"],
        capture_output=True,
        text=True,
        check=True,
    )
    names = {package["name"].lower() for package in json.loads(listed.stdout)}
    assert not names & {"torch", "scipy", "mmcv", "mmengine", "numba", "pandas", "matplotlib"}
