from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from bevdepth_plus.errors import DataError
from bevdepth_plus.pointmaps import checkpoints
from bevdepth_plus.pointmaps.two_view import TwoViewConfig, TwoViewModel

TOOL = Path(__file__).parents[2] / "tools" / "convert_pointmap_checkpoint.py"
CALL = (
    "AsymmetricCroCo3DStereo(pos_embed='RoPE100', patch_embed_cls='ManyAR_PatchEmbed', "
    "img_size=(96, 96), head_type='linear', output_mode='pts3d', depth_mode=('exp', -inf, inf), "
    "conf_mode=('exp', 1, inf), enc_embed_dim=96, enc_depth=3, enc_num_heads=4, "
    "dec_embed_dim=64, dec_depth=4, dec_num_heads=4)"
)


@pytest.fixture
def official(recorded) -> dict[str, torch.Tensor]:
    path = recorded / "dust3r_small_linear" / "official_state_dict.pth"
    return torch.load(path, weights_only=True)


@pytest.fixture
def official_dpt(recorded) -> dict[str, torch.Tensor]:
    return torch.load(recorded / "mast3r_small" / "official_state_dict.pth", weights_only=True)


def convert(*arguments: object) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, TOOL, *map(str, arguments)],
        env={"PYTHONPATH": str(TOOL.parents[1]), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_an_official_file_converts_and_loads(official, tmp_path, suffix):
    if suffix == ".safetensors":
        pytest.importorskip("safetensors")
    args = argparse.Namespace(model=CALL, epochs=100)
    torch.save(dict(args=args, model=official, epoch=3), tmp_path / "official.pth")
    target = tmp_path / "new" / f"ours{suffix}"
    result = convert(tmp_path / "official.pth", target)
    assert result.returncode == 0, result.stderr
    assert [path.name for path in target.parent.iterdir()] == [target.name]
    model = checkpoints.load_model(target)
    assert model.config.decoder_depth == 4
    ours = model.state_dict()["decoder.blocks2.3.cross_attention.keys.weight"]
    theirs = official["dec_blocks2.3.cross_attn.projk.weight"]
    torch.testing.assert_close(ours, theirs.float())


@pytest.mark.slow
def test_the_help_states_the_rights():
    result = convert("--help")
    assert "CC BY-NC-SA 4.0" in result.stdout
    assert "whoever uses them is responsible" in result.stdout


@pytest.mark.slow
def test_a_call_that_would_run_code_is_read_as_text(official, tmp_path):
    trap = tmp_path / "trap"
    call = f"Model(head_type=open({str(trap)!r}, 'w'))"
    torch.save(dict(args=argparse.Namespace(model=call), model=official), tmp_path / "x.pth")
    result = convert(tmp_path / "x.pth", tmp_path / "ours.pth")
    assert result.returncode == 2
    assert 'not a plain value: "open(' in result.stderr
    assert "Traceback" not in result.stderr
    assert not trap.exists()
    assert not (tmp_path / "ours.pth").exists()


@pytest.mark.slow
def test_a_checkpoint_of_another_head_is_one_clear_line(official, tmp_path):
    torch.save(dict(model=official), tmp_path / "x.pth")
    call = CALL.replace("dec_depth=4", "dec_depth=12").replace("'linear'", "'dpt'")
    result = convert(tmp_path / "x.pth", tmp_path / "ours.pth", "--settings", call)
    assert result.returncode == 2
    assert "do not fit a network with head='dpt'" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


@pytest.mark.slow
def test_a_file_without_its_call_asks_for_it(official, tmp_path):
    torch.save(official, tmp_path / "x.pth")
    result = convert(tmp_path / "x.pth", tmp_path / "ours.pth")
    assert result.returncode == 2
    assert "give it with --settings" in result.stderr


def small_dpt_model() -> TwoViewModel:
    return TwoViewModel(
        TwoViewConfig(
            encoder_dim=32,
            encoder_depth=3,
            encoder_heads=2,
            decoder_dim=24,
            decoder_heads=2,
            descriptor_dim=24,
            dpt_layer_dims=(10, 16, 24, 40),
            dpt_feature_dim=24,
            dpt_last_dim=12,
        )
    )


@pytest.mark.parametrize("absent", ["layer_rn.", "_rn."])
def test_either_name_of_a_tied_tensor_is_enough(official_dpt, absent):
    pattern = {"layer_rn.": ".layer_rn.", "_rn.": "_rn.weight"}[absent]
    kept = {name: value for name, value in official_dpt.items() if pattern not in name}
    assert len(official_dpt) - len(kept) == 8
    model, whole = small_dpt_model(), small_dpt_model()
    checkpoints.load_official(model, kept)
    checkpoints.load_official(whole, official_dpt)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, whole.state_dict()[name]), name


def test_tied_tensors_that_differ_are_refused(official_dpt):
    name = "downstream_head1.dpt.scratch.layer_rn.2.weight"
    with pytest.raises(ValueError, match=f"{name} differs from the other copy"):
        checkpoints.convert_state_dict({**official_dpt, name: official_dpt[name] + 1})


@pytest.mark.parametrize("name", ["enc_norm.bias", "downstream_head2.proj.weight"])
def test_a_missing_weight_is_named(official, name):
    model = TwoViewModel(checkpoints.config_from_arguments(checkpoints.parse_arguments(CALL)))
    del official[name]
    with pytest.raises(ValueError, match="1 parameters stay unfilled"):
        checkpoints.load_official(model, official)


def test_a_foreign_weight_is_named(official):
    model = TwoViewModel(checkpoints.config_from_arguments(checkpoints.parse_arguments(CALL)))
    official["enc_pos_embed"] = torch.zeros(3)
    with pytest.raises(ValueError, match=r"1 weights have no place \['enc_pos_embed'\]"):
        checkpoints.load_official(model, official)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("pos_embed='cosine'", "pos_embed must be 'RoPE100'"),
        ("depth_mode=('linear', -inf, inf)", "depth_mode must be"),
        ("head_type='catmlp+dpt'", "does not go with head_type"),
        ("head_type='gs'", "head_type must be linear, dpt or"),
    ],
)
def test_a_setting_no_released_network_has_is_refused(setting, message):
    arguments = checkpoints.parse_arguments(CALL) | checkpoints.parse_arguments(f"M({setting})")
    with pytest.raises(ValueError, match=message):
        checkpoints.config_from_arguments(arguments)


def test_files_that_are_no_checkpoint_are_named(tmp_path):
    path = tmp_path / "x.pth"
    for read in (checkpoints.read_official, checkpoints.load_model):
        with pytest.raises(DataError, match="does not exist"):
            read(path)
    path.write_bytes(b"half")
    with pytest.raises(DataError, match="truncated or not a checkpoint"):
        checkpoints.read_official(path)
    with pytest.raises(DataError, match="not a pointmap network of this project"):
        checkpoints.load_model(path)


def test_a_file_that_could_run_code_is_refused(tmp_path):
    torch.save(dict(model={"x": torch.zeros(1)}, args=Path("x")), tmp_path / "x.pth")
    with pytest.raises(DataError, match="could run code"):
        checkpoints.read_official(tmp_path / "x.pth")
