"""Every recorded tensor of the public DUSt3R and MASt3R code comes out of ours."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bevdepth_plus.pointmaps.parity import compare_folder
from bevdepth_plus.pointmaps.parity.alignment import compare_alignment
from bevdepth_plus.pointmaps.parity.canonical import compare_canonical
from bevdepth_plus.pointmaps.parity.full_size import compare_full_size, compare_keys
from bevdepth_plus.pointmaps.parity.losses import compare_losses
from bevdepth_plus.pointmaps.parity.matching import compare_matching

TOOL = Path(__file__).parents[2] / "tools" / "check_parity.py"


@pytest.mark.parametrize(
    ("network", "tensors"),
    [("dust3r_small_linear", 96), ("dust3r_small_dpt", 128), ("mast3r_small", 151)],
)
def test_every_tensor_of_a_small_network_agrees(recorded, network, tensors):
    found = compare_folder(recorded / network)
    assert len(found) == tensors
    assert max(one.relative for one in found.values()) < 2e-5


def test_recorded_matches_are_identical(recorded, load_recorded):
    found = compare_matching(**load_recorded("matching"))
    assert len(found) == 40
    exact = {name: one.absolute for name, one in found.items() if not name.endswith("conf")}
    assert set(exact.values()) == {0}
    assert all(one.relative < 1e-6 for one in found.values())


def test_recorded_losses_and_their_gradients_agree(load_recorded):
    found = compare_losses(**load_recorded("pointmap_losses"))
    assert len(found) == 91
    assert max(one.relative for one in found.values()) < 5e-5


def test_recorded_canonical_views_and_focal_lengths_agree(load_recorded):
    found = compare_canonical(**load_recorded("canonical"))
    assert len(found) == 79
    assert max(one.relative for one in found.values()) < 1e-4


def test_recorded_alignments_agree(load_recorded):
    found = compare_alignment(**load_recorded("alignment_small"))
    assert len(found) == 92
    assert max(one.relative for one in found.values()) < 1e-4


@pytest.mark.slow
def test_the_recorded_long_alignment_agrees_as_far_as_it_repeats(load_recorded):
    found = compare_alignment(**load_recorded("alignment_small"), variants=("default_300_300",))
    assert max(one.relative for one in found.values()) < 2e-2


def test_key_lists_of_all_released_networks_fill_ours(recorded):
    lists = sorted((recorded / "full_size").glob("*.keys.json"))
    assert len(lists) == 4
    for path in lists:
        assert compare_keys(path.stem, json.loads(path.read_text())).absolute == 0


@pytest.mark.slow
def test_full_size_networks_agree(recorded):
    found = compare_full_size(recorded / "full_size", {})
    assert len(found) > 60
    assert max(one.relative for one in found.values()) < 1e-4


def test_the_tool_names_the_largest_error_of_each_tensor(recorded):
    result = subprocess.run(
        [sys.executable, TOOL, recorded / "dust3r_small_linear"],
        env={**os.environ, "PYTHONPATH": str(TOOL.parents[1])},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert "96 of 96 tensors agree" in result.stdout
    assert "manyar_mixed_batch4.pred2.pts3d_in_other_view" in result.stdout


def test_an_unknown_kind_of_pointmap_folder_is_named(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"kind": "pointmap_three_view"}))
    with pytest.raises(ValueError, match="got 'pointmap_three_view'"):
        compare_folder(tmp_path)
