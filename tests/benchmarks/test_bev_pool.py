"""The pooling benchmark: who may be timed, and what is kept when a run is cut off."""

from __future__ import annotations

import json

import bev_pool
import pytest
import torch

from bevdepth_plus_ops import bev_pool_reference
from bevdepth_plus_ops.testing import random_case


@pytest.fixture
def case():
    return random_case(batch=1, bins=3, channels=4, bev_size=bev_pool.BEV)


def agreeing(case, **makers):
    return bev_pool.agreeing(makers, case.depth, case.context, case.cells)


def right(case):
    return lambda depth, context: bev_pool_reference(depth, context, case.cells, bev_pool.BEV)


def off_by_one(case):
    return lambda depth, context: right(case)(depth, context) + 1


def test_a_peer_that_computes_something_else_is_left_out_with_its_error(case):
    pools, left_out = agreeing(case, ours=lambda: right(case), peer=lambda: off_by_one(case))
    assert list(pools) == ["ours"]
    assert left_out == {"peer": "off by 1, more than 0.0001"}


def test_a_peer_that_cannot_be_made_is_left_out_with_the_reason(case):
    def make():
        raise OSError("no nvcc\nmore lines")

    pools, left_out = agreeing(case, ours=lambda: right(case), peer=make)
    assert list(pools) == ["ours"]
    assert left_out == {"peer": "OSError: no nvcc"}


def test_ours_may_not_be_wrong(case):
    with pytest.raises(RuntimeError, match="ours, planned is off by 1"):
        agreeing(case, **{"ours, planned": lambda: off_by_one(case)})


def test_results_are_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "result.json"
    bev_pool.write(path, {"cases": [1]})
    with pytest.raises(TypeError):
        bev_pool.write(path, {"cases": [torch.ones(1)]})
    assert json.loads(path.read_text()) == {"cases": [1]}
