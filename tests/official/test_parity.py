from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

TOOL = Path(__file__).parents[2] / "tools" / "check_parity.py"


def check(folder: Path) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, TOOL, folder], capture_output=True, text=True, timeout=300, check=False
    )


@pytest.mark.slow
def test_every_recorded_tensor_of_the_public_code_comes_out_of_our_model(shared_dir):
    result = check(shared_dir / "golden" / "bevdepth_small_1key")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "66 of 66 tensors agree" in result.stdout
    # The public code's own loss is NaN there, because of a box of unknown velocity.
    assert "nothing but NaN: loss.detection" in result.stdout


@pytest.mark.slow
def test_a_folder_with_a_past_frame_agrees_too(shared_dir, tmp_path):
    """The past repeats the key frame without motion, and the BEV encoder does not look at it.

    So everything recorded from one frame still holds, and the BEV map comes twice.
    """
    golden = shared_dir / "golden" / "bevdepth_small_1key"
    config = json.loads((golden / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "sweeps": 2}))
    weights, inputs, expected = (
        torch.load(golden / f"{name}.pth", weights_only=True)
        for name in ("official_state_dict", "inputs", "expected")
    )
    stem, level = "head.trunk.conv1.weight", "head.neck.deblocks.0.0.weight"
    weights[stem] = torch.cat([weights[stem], torch.zeros_like(weights[stem])], dim=1)
    weights[level] = torch.cat([weights[level], torch.zeros_like(weights[level])], dim=0)
    per_frame = ("img", "sensor2ego_mats", "intrin_mats", "ida_mats", "sensor2sensor_mats")
    inputs.update({name: torch.cat([inputs[name]] * 2, dim=1) for name in per_frame})
    expected["bev_feat"] = torch.cat([expected["bev_feat"]] * 2, dim=1)
    torch.save(weights, tmp_path / "official_state_dict.pth")
    torch.save(inputs, tmp_path / "inputs.pth")
    torch.save(expected, tmp_path / "expected.pth")
    result = check(tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "66 of 66 tensors agree" in result.stdout


@pytest.mark.slow
def test_a_changed_weight_is_noticed(shared_dir, tmp_path):
    golden = shared_dir / "golden" / "bevdepth_small_1key"
    for name in ("config.json", "inputs.pth", "expected.pth"):
        (tmp_path / name).symlink_to((golden / name).resolve())
    weights = torch.load(golden / "official_state_dict.pth", weights_only=True)
    weights["backbone.depth_net.depth_conv.5.bias"] += 0.01
    torch.save(weights, tmp_path / "official_state_dict.pth")
    result = check(tmp_path)
    assert result.returncode == 1
    assert "depthnet_out" in result.stdout


@pytest.mark.slow
def test_an_incomplete_folder_is_named(tmp_path):
    result = check(tmp_path)
    assert result.returncode == 2
    assert "config.json is missing" in result.stderr
    assert "Traceback" not in result.stderr
