"""The configs that README.md and docs/ show load, and their pipelines hold what the page adds."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import pytest
from mmengine.config import Config

from bevdepth_plus.datasets.pipeline import steps
from bevdepth_plus.engine.preflight import datasets_of

REPO = Path(__file__).resolve().parent.parent
# An indented block that starts with the name of its base.
BLOCK = re.compile(r"(?:^|\n\n)((?: {4}_base_ = .*\n)(?: {4}.*\n|\n(?= {4}))*)")


def blocks() -> list:
    found = []
    for page in [REPO / "README.md", *sorted((REPO / "docs").glob("*.md"))]:
        text = page.read_text(encoding="utf-8")
        for match in BLOCK.finditer(text):
            place = f"{page.name}:{text.count(chr(10), 0, match.start(1)) + 1}"
            found.append(pytest.param(textwrap.dedent(match[1]), id=place))
    return found


def test_the_pages_show_configs():
    assert len(blocks()) >= 3


@pytest.mark.parametrize("text", blocks())
def test_a_config_on_a_page_loads_and_each_transform_it_names_is_in_a_pipeline(text, tmp_path):
    configs = REPO / "configs"
    path = tmp_path / "shown.py"
    path.write_text(re.sub(r"\"(?:configs/)?(\w+\.py)\"", rf'"{configs}/\1"', text))
    config = Config.fromfile(path)
    pipelines = [
        step["type"]
        for split in ("train", "val", "test")
        for dataset in datasets_of(config, split)
        for step in steps(dataset["pipeline"])
    ]
    for name in re.findall(r'type="((?:Drop|Load)\w+)"', text):
        assert name in pipelines
