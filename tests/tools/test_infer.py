"""tools/infer.py as a process: on exported files without the training stack, and on a config."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
HEAVY = ("torch", "mmcv", "mmengine", "mmdet", "mmdet3d", "scipy", "pandas", "numba", "matplotlib")
BLOCKED = f"""
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {HEAVY}:
            raise ModuleNotFoundError(name, name=name)
sys.meta_path.insert(0, Refuse())
import runpy
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def without_training_stack(*arguments) -> subprocess.CompletedProcess:
    """tools/infer.py where importing torch or an mm* library fails."""
    command = [sys.executable, "-c", BLOCKED, REPO / "tools" / "infer.py", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(REPO), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [str(word) for word in command],
        cwd=REPO, env=environment, capture_output=True, text=True, timeout=600,
    )  # fmt: skip


@pytest.mark.slow
def test_exported_files_give_boxes_without_torch(exported_model, synthetic_root, tmp_path):
    answer = without_training_stack(
        exported_model, "--nuscenes", synthetic_root, "--scene", "scene-0103",
        "--out", tmp_path / "out", "--depth",
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr[-2000:]
    results = json.loads((tmp_path / "out" / "nuscenes.json").read_text())["results"]
    assert len(results) == 3 and all(results.values())
    assert len(list((tmp_path / "out" / "pictures").glob("*_depth.jpg"))) == 3


@pytest.mark.slow
def test_exported_files_and_the_config_give_the_same_boxes(
    exported_model, tiny_config, run_tool, random_checkpoint, synthetic_root, tmp_path
):
    scene = ["--nuscenes", synthetic_root, "--scene", "scene-0103", "--limit", "1", "--write"]
    exported = without_training_stack(exported_model, *scene, "nuscenes", "--out", tmp_path / "a")
    assert exported.returncode == 0, exported.stderr[-2000:]
    answer = run_tool(
        "infer.py", tiny_config, random_checkpoint, *scene, "nuscenes", "--out", tmp_path / "b"
    )
    assert answer.returncode == 0, answer.stderr[-2000:]
    a, b = (
        next(iter(json.loads((tmp_path / name / "nuscenes.json").read_text())["results"].values()))
        for name in "ab"
    )
    assert len(a) == len(b) > 20
    for first, second in zip(a, b, strict=True):
        assert first["detection_score"] == pytest.approx(second["detection_score"], abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("{empty}", "model.json"),
        ("none", "MODEL none does not exist"),
        ("configs/synthetic_small.py", "a config needs a checkpoint"),
    ],
)
def test_a_model_that_is_none_ends_in_one_line(synthetic_root, tmp_path, model, message):
    empty = tmp_path / "empty"
    empty.mkdir()
    words = model.format(empty=empty).split()
    answer = without_training_stack(
        *words, "--nuscenes", synthetic_root, "--scene", "scene-0103", "--out", tmp_path / "out"
    )
    assert answer.returncode == 2 and "Traceback" not in answer.stderr
    assert message in answer.stderr.strip().splitlines()[-1]
    assert not (tmp_path / "out").exists()
