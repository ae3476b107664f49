from __future__ import annotations

import subprocess
import sys
from pathlib import Path

REPO_ROOT = Path(__file__).resolve().parents[2]


def run_tool(*args: str) -> subprocess.CompletedProcess:
    command = [sys.executable, str(REPO_ROOT / "tools" / "create_data.py"), *args]
    return subprocess.run(
        command, capture_output=True, text=True, env={"PYTHONPATH": str(REPO_ROOT)}
    )


def test_the_tool_prints_the_files_it_wrote_and_shows_its_progress(tables):
    done = run_tool(str(tables.root), "--version", "v1.0-mini")
    assert done.returncode == 0, done.stderr
    paths = done.stdout.split()
    assert len(paths) == 2 and all(Path(path).is_file() for path in paths)
    assert "train" in done.stderr and "6/6" in done.stderr


def test_bad_input_ends_in_one_line_and_status_2(tmp_path):
    done = run_tool(str(tmp_path), "--version", "v1.0-mini")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
