"""The command blocks of README.md and docs/: run where the page says so, checked in any case.

The line above each block says in a comment that readers do not see whether it is run:

    <!-- run -->
    <!-- not run: takes minutes -->

Blocks run one after the other, in the order of the pages, in a folder that looks like the
repository and has a small synthetic data set as `data/nuscenes`. In all blocks the files, the
targets of make and the options of the tools must exist.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import pytest

from bevdepth_plus.synthetic.generate import Settings, make_dataset, scene_names

REPO = Path(__file__).resolve().parent.parent
COMMANDS = ("python", "make", "pip", "tools/", "benchmarks/", "ops/", "mkdir", "git")
MARK = re.compile(r"<!-- (run|not run: .+) -->")
TOOL = re.compile(r"(?:tools|benchmarks|ops|experiments)/[\w/]+\.(?:py|sh)")
# arguments that follow the launcher's own are the tool's
LAUNCHED = {
    "tools/dist_train.sh": "tools/train.py",
    "tools/dist_test.sh": "tools/test.py",
    "tools/slurm_train.sh": "tools/train.py",
}


class Block(NamedTuple):
    """One indented or fenced block of a page."""

    place: str  # page:line
    mark: str  # "run", "not run: why", or "" where the page does not say
    text: str


def blocks_of(page: str, text: str) -> list[Block]:
    """The command blocks of a page: those whose first word is a command."""
    blocks = []
    for match in re.finditer(r"```\w*\n(?s:(.*?))\n```|(?<=\n\n)(?: {4}.*\n|\n(?= {4}))+", text):
        content = match[1] or re.sub(r"(?m)^ {4}", "", match[0]).rstrip()
        if not re.sub(r"^(\w+=\S* )+", "", content).startswith(COMMANDS):
            continue
        mark = MARK.fullmatch(text[: match.start()].rstrip().rpartition("\n")[2])
        line = text.count("\n", 0, match.start()) + 1
        blocks.append(Block(f"{page}:{line}", mark[1] if mark else "", content))
    return blocks


def problems_of(text: str) -> list[str]:
    """What the commands of a block name and the repository does not have."""
    script = re.sub(r"<<'?EOF'?\n.*?\nEOF", "", text, flags=re.DOTALL).replace("\\\n", " ")
    return [problem for line in script.splitlines() for problem in _line_problems(line)]


def _line_problems(line: str) -> list[str]:
    words = [word for word in shlex.split(line, comments=True) if word != "&&"]
    missing = [
        f"there is no {word}"
        for word in words
        if re.match(r"(tools|benchmarks|ops|configs|requirements|docs|tests)/", word)
        and not (REPO / word).exists()
    ]
    if "make" in words:
        targets = re.findall(r"^([a-z-]+):", (REPO / "Makefile").read_text(), re.MULTILINE)
        asked = [w for w in words[words.index("make") + 1 :] if "=" not in w]
        missing += [f"there is no `make {word}`" for word in asked if word not in targets]
    tool = next((word for word in words if TOOL.fullmatch(word)), None)
    if tool and not missing:
        missing += _tool_problems(tool, words)
    return missing


def _tool_problems(tool: str, words: list[str]) -> list[str]:
    problems = []
    if words[0] == tool and not os.access(REPO / tool, os.X_OK):
        problems.append(f"{tool} cannot be called without `python`: it is not executable")
    options = [word.partition("=")[0] for word in words if word.startswith("--")]
    known = _options(LAUNCHED.get(tool, tool)) if options else set()
    return problems + [f"{tool} has no option {word}" for word in options if word not in known]


@lru_cache
def _options(tool: str) -> set[str]:
    command = [sys.executable, str(REPO / tool), "--help"]
    environment = {**os.environ, "PYTHONPATH": str(REPO)}
    answer = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return set(re.findall(r"--[a-z][\w-]*", answer.stdout))


PAGES = [REPO / "README.md", *sorted((REPO / "docs").glob("*.md"))]
BLOCKS = [
    block
    for page in PAGES
    for block in blocks_of(str(page.relative_to(REPO)), page.read_text(encoding="utf-8"))
]


@pytest.mark.slow  # asks each tool for its --help
@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.place)
def test_a_command_names_what_exists(block):
    assert problems_of(block.text) == []


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.place)
def test_a_page_says_of_each_command_block_whether_it_is_run(block):
    assert block.mark, (
        f"{block.place}: write `<!-- run -->` or `<!-- not run: the reason -->` in the line above"
    )


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory) -> Path:
    """A folder that looks like the repository, with a small data set of its own."""
    folder = tmp_path_factory.mktemp("docs")
    for entry in REPO.iterdir():
        if entry.name not in {"data", "work_dirs", ".git", ".venv"}:
            (folder / entry.name).symlink_to(entry)
    version = "v1.0-trainval"
    settings = Settings(seed=0, keyframes=2, rig="nuscenes", image_size=(96, 54), depth=False)
    root = folder / "data" / "nuscenes"
    make_dataset(root, version, scene_names(version, 1, 1), settings)
    return folder


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("bash") is None, reason="the blocks are written for bash")
@pytest.mark.parametrize(
    "block", [block for block in BLOCKS if block.mark == "run"], ids=lambda block: block.place
)
def test_a_command_block_runs(block, sandbox):
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(REPO)}
    answer = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block.text],
        cwd=sandbox,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, f"{block.place}\n{answer.stdout}{answer.stderr}"


PAGE = """# Page

<!-- not run: needs a GPU -->

    FORCE=1 make demo

    make test    # has no mark of its own

Text.

<!-- run -->
```bash
python tools/train.py configs/synthetic_small.py \\
    --resume
```

    model = dict(type="BEVDepth")
"""


def test_command_blocks_are_found_with_their_marks():
    found = [(block.place, block.mark, block.text) for block in blocks_of("page.md", PAGE)]
    assert found == [
        (
            "page.md:5",
            "not run: needs a GPU",
            "FORCE=1 make demo\n\nmake test    # has no mark of its own",
        ),
        ("page.md:12", "run", "python tools/train.py configs/synthetic_small.py \\\n    --resume"),
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "problem"),
    [
        ("python tools/tain.py CONFIG", "there is no tools/tain.py"),
        ("python tools/train.py configs/nothing.py", "there is no configs/nothing.py"),
        ("python tools/train.py CONFIG --resum", "tools/train.py has no option --resum"),
        ("tools/dist_train.sh CONFIG 8 --apm", "tools/dist_train.sh has no option --apm"),
        ("VENV=x make demos", "there is no `make demos`"),
        ("pip download -r requirements/nothing.txt", "there is no requirements/nothing.txt"),
    ],
)
def test_a_wrong_name_in_a_command_is_found(command, problem):
    assert problems_of(command) == [problem]


def test_a_right_command_has_no_problem():
    command = "MAX_JOBS=1 make setup VENV=$CONDA_PREFIX  # a comment\npython - <<'EOF'\nx/y\nEOF"
    assert problems_of(command) == []
