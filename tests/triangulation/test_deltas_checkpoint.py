from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest
import torch

from bevdepth_plus.errors import DataError
from bevdepth_plus.triangulation.checkpoints import PARTS, convert_part, load_deltas, read_deltas
from bevdepth_plus.triangulation.network import deltas_network

TOOL = Path(__file__).parents[2] / "tools" / "convert_deltas_checkpoint.py"


@pytest.fixture(scope="module")
def official(shared_dir) -> dict:
    """Official names and shapes, filled with their own number."""
    file = shared_dir / "golden" / "deltas" / "deltas_state_dict_keys.json"
    return {
        part: {name: torch.zeros(entry["shape"]) for name, entry in entries.items()}
        for part, entries in json.loads(file.read_text()).items()
    }


def test_every_official_name_has_one_place_in_our_network(official):
    load_deltas(deltas_network("deltas"), official)
    names = [name for part in PARTS for name in convert_part(part, official[part])]
    assert len(set(names)) == len(names) - _shared_encoder_names(official)


def _shared_encoder_names(official) -> int:
    """Both encoders are ResNets: their names meet until the part stands before them."""
    parts = [set(convert_part(part, official[part])) for part in PARTS]
    return sum(map(len, parts)) - len(set().union(*parts))


def test_a_missing_or_unknown_weight_or_another_shape_is_named(official):
    network = deltas_network("deltas")
    for part, change, message in (
        ("state_dict", {"convPa.weight": None}, r"1 parameters stay unfilled \['detector.deep"),
        ("state_dict_depth", {"conv9.weight": torch.zeros(1)}, "'conv9.weight' is not known"),
        ("state_dict_tri", {"bn_match_convD.weight": torch.zeros(2)}, r"is \(2,\) in the weights"),
    ):
        changed = {**official[part], **change}
        changed = {name: tensor for name, tensor in changed.items() if tensor is not None}
        with pytest.raises(ValueError, match=message):
            load_deltas(network, {**official, part: changed})


def test_files_that_are_no_checkpoint_are_named(tmp_path, official):
    with pytest.raises(DataError, match="does not exist"):
        read_deltas(tmp_path / "none.pth")
    (tmp_path / "cut.pth").write_bytes(b"PK\x03\x04")
    with pytest.raises(DataError, match="truncated or not a checkpoint"):
        read_deltas(tmp_path / "cut.pth")
    torch.save({"state_dict": official["state_dict_tri"]}, tmp_path / "part.pth")
    with pytest.raises(DataError, match="has no state_dict_tri, state_dict_depth"):
        read_deltas(tmp_path / "part.pth")
    torch.save({part: {"x": 3} for part in PARTS}, tmp_path / "numbers.pth")
    with pytest.raises(DataError, match="something other than tensors"):
        read_deltas(tmp_path / "numbers.pth")


def test_a_file_that_could_run_code_is_not_loaded(tmp_path):
    torch.save({"state_dict": Path("x")}, tmp_path / "code.pth")
    with pytest.raises(DataError, match="loading it could run code"):
        read_deltas(tmp_path / "code.pth")


def test_the_tool_s_help_states_the_rights(monkeypatch, capsys):
    spec = importlib.util.spec_from_file_location("convert_deltas_checkpoint", TOOL)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    monkeypatch.setattr(sys, "argv", ["convert_deltas_checkpoint.py", "--help"])
    with pytest.raises(SystemExit):
        tool.parse_args()
    text = capsys.readouterr().out
    assert "non-commercial research only" in text and "2021/0279904" in text
