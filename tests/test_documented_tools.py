"""What README and docs tell to run can be run."""

from __future__ import annotations

import os
import re
import subprocess

import pytest

from tests.conftest import REPO_ROOT

PAGES = [REPO_ROOT / "README.md", *sorted((REPO_ROOT / "docs").glob("*.md"))]
TOOL = re.compile(r"(?<![\w/.-])tools/[\w-]+\.(?:py|sh)")
DOCUMENTED = sorted({tool for page in PAGES for tool in TOOL.findall(page.read_text())})


def test_the_pages_name_tools():
    assert {"tools/create_data.py", "tools/train.py", "tools/dist_train.sh"} <= set(DOCUMENTED)


@pytest.mark.parametrize("tool", DOCUMENTED)
def test_a_documented_tool_exists_and_starts_by_its_name(tool):
    path = REPO_ROOT / tool
    assert path.is_file() and os.access(path, os.X_OK)
    assert path.read_text().startswith("#!/usr/bin/env ")


def test_git_keeps_the_tools_executable():
    listed = subprocess.run(
        ["git", "ls-files", "-s", "--", *DOCUMENTED], cwd=REPO_ROOT, capture_output=True, text=True
    )
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    modes = {line.split("\t")[1]: line.split()[0] for line in listed.stdout.splitlines()}
    assert [tool for tool in DOCUMENTED if modes.get(tool) != "100755"] == []
