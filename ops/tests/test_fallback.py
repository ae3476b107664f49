"""Without the compiled library everything works in plain PyTorch, and says so once."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import bevdepth_plus_ops

SCRIPT = """
import warnings
import torch
import bevdepth_plus_ops as ops
from bevdepth_plus_ops.native import MISSING_REASON
from bevdepth_plus_ops.testing import random_case

assert MISSING_REASON == "no compiler was found", MISSING_REASON
case = random_case()
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    first = ops.bev_pool(*case.arguments)
    plan = ops.BEVPoolPlan.from_cells(case.cells, case.bev_size)
    second = plan(case.depth.requires_grad_(), case.context)
    second.sum().backward()
assert torch.equal(first, second.detach())
assert case.depth.grad.shape == case.depth.shape
with torch.autocast("cpu", torch.bfloat16):
    mixed = ops.bev_pool(case.depth, case.context.bfloat16(), case.cells, case.bev_size)
assert mixed.dtype == torch.bfloat16
texts = [str(w.message) for w in caught]
assert len(texts) == 1, texts
print(texts[0])
"""


def test_without_a_compiled_library_the_reason_is_said_once(tmp_path):
    package = tmp_path / "bevdepth_plus_ops"
    package.mkdir()
    for source in Path(bevdepth_plus_ops.__file__).parent.glob("*.py"):
        (package / source.name).write_text(source.read_text())
    (package / "build_failure.txt").write_text("no compiler was found\n")
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(SCRIPT)],
        cwd=tmp_path, env={"PYTHONPATH": str(tmp_path), "PATH": ""}, capture_output=True, text=True,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert "no compiler was found" in run.stdout
    assert "pip install" in run.stdout
