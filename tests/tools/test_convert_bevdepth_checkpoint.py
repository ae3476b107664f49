from __future__ import annotations

import json
import runpy
from pathlib import Path

import pytest
import torch
from mmdet3d.registry import MODELS
from mmdet3d.utils import register_all_modules
from mmengine.config import Config

from bevdepth_plus.errors import DataError
from bevdepth_plus.official.models import official_confs

TOOL = "convert_bevdepth_checkpoint.py"


@pytest.fixture
def golden(shared_dir) -> Path:
    return shared_dir / "golden" / "bevdepth_small_1key"


@pytest.fixture
def confs(golden, tmp_path) -> Path:
    """The settings of the recorded model, as a user would write them down."""
    config = json.loads((golden / "config.json").read_text())
    backbone_conf, head_conf = official_confs(
        final_dim=config["final_dim"],
        output_channels=config["context"],
        cell=config["cell"],
        d_bound=config["d_bound"],
        img_backbone=dict(depth=config["depth"], base_channels=config["base"]),
        img_neck_in=config["neck_in"],
        img_neck_out=config["neck"],
        mid_channels=config["mid"],
        bev_base=config["bev_base"],
        bev_neck_out=config["bev_neck"],
    )
    path = tmp_path / "confs.json"
    path.write_text(json.dumps(dict(backbone_conf=backbone_conf, head_conf=head_conf)))
    return path


def test_an_official_checkpoint_becomes_ours_with_its_config(golden, confs, run_tool, tmp_path):
    weights = torch.load(golden / "official_state_dict.pth", weights_only=True)
    lightning = tmp_path / "epoch=23.ckpt"
    named = {f"model.{name}": tensor for name, tensor in weights.items()}
    torch.save(dict(epoch=23, global_step=1, state_dict=named), lightning)
    result = run_tool(TOOL, lightning, tmp_path / "ours" / "small.pth", "--confs", confs)
    assert result.returncode == 0, result.stderr[-3000:]

    config = Config.fromfile(tmp_path / "ours" / "small.py")
    register_all_modules()
    model = MODELS.build(config.model)
    checkpoint = torch.load(tmp_path / "ours" / "small.pth", weights_only=True)
    model.load_state_dict(checkpoint["state_dict"], strict=True)
    assert torch.equal(
        model.heads["boxes"].shared_conv.conv.weight, weights["head.shared_conv.conv.weight"]
    )
    assert model.data_preprocessor.to_rgb is False
    pipeline = config.test_dataloader.dataset.pipeline
    assert tuple(pipeline.augment_images.final_dim) == (128, 352)
    assert config.val_dataloader.dataset.num_frames == 1


def test_what_cannot_be_converted_ends_in_one_line(golden, run_tool, tmp_path):
    source = golden / "official_state_dict.pth"
    wrong = run_tool(
        TOOL, source, tmp_path / "x.pth", "--model", "bev_depth_lss_r50_256x704_128x128_24e"
    )
    assert wrong.returncode == 2
    assert "take the backbone_conf and head_conf" in wrong.stderr.strip().splitlines()[-1]
    assert "Traceback" not in wrong.stderr
    assert not (tmp_path / "x.pth").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "cannot be read"), ("{", "is not JSON"), ("{}", "must hold")],
)
def test_settings_that_cannot_be_read_are_named(content, message, tmp_path):
    tool = runpy.run_path(str(Path(__file__).resolve().parents[2] / "tools" / TOOL))
    path = tmp_path / "confs.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(DataError, match=message):
        tool["read_confs"](path)
