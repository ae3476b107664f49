"""The page "Your own data" works as it stands: its blocks, copied in order, end in a score."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

REPO = Path(__file__).resolve().parents[2]
PAGE = REPO / "docs" / "your_own_data.md"
# A fenced block names its file in the first line; an indented one is a command.
BLOCK = re.compile(
    r"```\w+\n# (?P<file>\S+)\n(?P<text>.*?)```|^ {4}(?P<command>python [^\n]*)$", re.S | re.M
)


def copy_the_blocks(folder: Path) -> None:
    """Writes the page's files and runs its commands, in the order of the page."""
    for name in ("tools", "configs", "bevdepth_plus"):
        (folder / name).symlink_to(REPO / name)
    for block in BLOCK.finditer(PAGE.read_text()):
        if block["file"]:
            path = folder / block["file"]
            path.parent.mkdir(exist_ok=True)
            path.write_text(block["text"])
        else:
            run(block["command"], folder)


def run(command: str, folder: Path) -> None:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(REPO), "OMP_NUM_THREADS": "1"}
    answer = subprocess.run(
        ["bash", "-euc", command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, f"{command}\n{answer.stdout[-2000:]}{answer.stderr[-2000:]}"


@pytest.mark.slow
def test_the_blocks_of_the_page_end_in_a_score(tmp_path):
    copy_the_blocks(tmp_path)
    data = tmp_path / "my_data"
    check = json.loads((data / "check.json").read_text())
    assert check["problems"] == []
    assert check["numbers"]["self_test"]["mAP"] == pytest.approx(1.0)
    report = json.loads((data / "work" / "metrics.json").read_text())
    assert list(report["per_class"]) == ["car", "forklift"]
    assert report["per_class"]["car"]["num_ground_truth"] == 4  # two moments, two cars each
    assert report["per_class"]["forklift"]["num_ground_truth"] == 2
    pictures = list((data / "pictures").glob("*.png"))
    assert pictures and all(cv2.imread(str(file)) is not None for file in pictures)
