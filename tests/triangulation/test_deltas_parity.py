from __future__ import annotations

import json

import pytest
import torch

from bevdepth_plus.triangulation.parity import KEYS, cases, report
from bevdepth_plus.triangulation.parity_networks import network_checkers
from bevdepth_plus.triangulation.parity_pieces import PIECE_CHECKERS


@pytest.fixture(scope="module")
def golden(shared_dir):
    return shared_dir / "golden" / "deltas"


def agree(golden, name: str, checker, which=lambda case: True) -> None:
    content = torch.load(golden / name, weights_only=True)
    compared = 0
    for case, record in cases(content).items():
        if which(case):
            for check in checker(record, case):
                assert check.agrees, f"{name} {case}: {check}"
                compared += 1
    assert compared > 0


@pytest.mark.parametrize("name", PIECE_CHECKERS)
def test_pieces_give_the_recorded_numbers(golden, name):
    agree(golden, name, PIECE_CHECKERS[name])


@pytest.mark.parametrize("name", ["deltas_keypoints.pth", "deltas_blocks.pth"])
def test_keypoints_and_blocks_give_the_recorded_numbers(golden, name):
    agree(golden, name, network_checkers({})[name])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "case"),
    [
        ("deltas_supernet.pth", "eval"),
        ("deltas_densedepth.pth", "64x96_eval"),
        ("deltas_end2end.pth", "e2e"),
    ],
)
def test_networks_of_full_size_give_the_recorded_numbers(golden, name, case):
    shapes = json.loads((golden / KEYS).read_text())
    agree(golden, name, network_checkers(shapes)[name], lambda one: one == case)


def test_an_incomplete_folder_is_named(tmp_path, capsys):
    (tmp_path / "config.json").write_text('{"kind": "deltas"}')
    assert report(tmp_path) == 2
    assert f"{KEYS} is missing" in capsys.readouterr().err


def test_a_wrong_number_is_noticed(golden):
    content = torch.load(golden / "deltas_softargmax.pth", weights_only=True)
    record = cases(content)["softmax_3x100"]
    record["out"] = record["out"] + 0.01
    checker = PIECE_CHECKERS["deltas_softargmax.pth"]
    assert not all(check.agrees for check in checker(record, "softmax_3x100"))
