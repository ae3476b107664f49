"""What C++ does with wrong arguments that come past the Python package: it throws, and nobody dies.

Each call is made in a process of its own: where the op was built by another compiler than PyTorch,
a C++ exception may end the process instead of becoming a Python one.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

from bevdepth_plus_ops.native import MISSING_REASON

pytestmark = pytest.mark.skipif(
    MISSING_REASON is not None, reason=f"compiled library not in use: {MISSING_REASON}"
)

SCRIPT = """
import torch
from bevdepth_plus_ops.testing import random_case
ops = torch.ops.bevdepth_plus_ops
case = random_case(device={device!r})
wrong = random_case(device={device!r}, width=7)
none = (None,) * 4
eye = torch.eye(4, device={device!r})
axis = torch.ones(3, device={device!r})
calls = dict(
    pool=lambda: ops.bev_pool(wrong.depth, case.context, case.cells, *none, *case.bev_size),
    backward=lambda: ops.bev_pool_backward(axis, case.depth, case.context, case.cells, None, None),
    plan=lambda: ops.bev_pool_plan(case.cells.cpu().long(), *case.bev_size, False),
    cells=lambda: ops.frustum_cells(
        eye.view(1, 1, 4, 4), eye, eye, eye, axis, axis, axis, [0.0], [1.0], [1], False
    ),
)
try:
    calls[{call!r}]()
except (TypeError, ValueError, RuntimeError) as error:
    print("raised", type(error).__name__)
"""


@pytest.mark.parametrize("call", ["pool", "backward", "plan", "cells"])
def test_a_wrong_argument_becomes_a_python_exception(call, device):
    script = SCRIPT.format(device=device, call=call)
    command = [sys.executable, "-c", script]
    child = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert child.returncode == 0, f"ended with {child.returncode}: {child.stderr[-500:]}"
    assert child.stdout.startswith("raised"), "nothing was raised"
