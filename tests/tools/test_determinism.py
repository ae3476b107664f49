"""What deterministic algorithms need on a GPU is set before a config is read, so before CUDA."""

from __future__ import annotations

import pytest

# A config is Python: this one says what the process has that reads it, and ends the process.
TELL = """
_base_ = []

import os
import sys

import torch

print("workspace", os.environ.get("CUBLAS_WORKSPACE_CONFIG"))
print("fills", torch.utils.deterministic.fill_uninitialized_memory)
print("started", torch.cuda.is_initialized())
sys.stdout.flush()
sys.exit(0)
"""


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "tell.py"
    path.write_text(TELL)
    return path


def told(result) -> dict[str, str]:
    assert result.returncode == 0, result.stderr[-3000:]
    lines = (line.split() for line in result.stdout.splitlines())
    return {words[0]: words[1] for words in lines if len(words) == 2}


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [("train.py", []), ("test.py", ["none.pth"]), ("dist_train.sh", ["1"])],
)
def test_a_started_tool_has_what_determinism_needs_on_a_gpu(run_tool, config, tool, arguments):
    said = told(run_tool(tool, config, *arguments))
    assert said == {"workspace": ":4096:8", "fills": "False", "started": "False"}


def test_a_workspace_the_user_chose_is_kept(run_tool, config):
    said = told(run_tool("train.py", config, env={"CUBLAS_WORKSPACE_CONFIG": ":16:8"}))
    assert said["workspace"] == ":16:8"
