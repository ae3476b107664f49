"""The leaderboard's split, which has no annotations: from tables to a checked result file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

TEST_SCENES = ("scene-0077", "scene-0078")


@pytest.fixture(scope="module")
def test_root(synthetic_root, tmp_path_factory) -> Path:
    """The synthetic scenes as ``v1.0-test``: other scene names, no annotations."""
    root = tmp_path_factory.mktemp("test_split")
    for name in ("samples", "maps"):
        (root / name).symlink_to(synthetic_root / name)
    (root / "v1.0-test").mkdir()
    for path in (synthetic_root / "v1.0-mini").glob("*.json"):
        rows = json.loads(path.read_text())
        if path.stem in ("sample_annotation", "instance"):
            rows = []
        if path.stem == "scene":
            rows = [row | dict(name=n) for row, n in zip(rows, TEST_SCENES, strict=True)]
        (root / "v1.0-test" / path.name).write_text(json.dumps(rows))
    return root


@pytest.fixture(scope="module")
def options(test_root, run_tool) -> list[str]:
    """The options that point a config at the info file of the split."""
    made = run_tool("create_data.py", test_root, "--version", "v1.0-test")
    assert made.returncode == 0, made.stderr[-3000:]
    infos = test_root / "bevdepth_plus_infos_test.pkl"
    return [
        "--cfg-options",
        f"test_dataloader.dataset.ann_file={infos}",
        f"test_evaluator.ann_file={infos}",
    ]


def test_the_result_file_passes_the_check(
    trained, tiny_config, run_tool, test_root, options, tmp_path
):
    results = tmp_path / "results.json"
    done = run_tool(
        "test.py", tiny_config, trained / "iter_4.pth", "--work-dir", tmp_path,
        "--submission", results, "--tta", *options,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert not (tmp_path / "metrics.json").exists()
    for split in (
        ("--dataroot", test_root, "--version", "v1.0-test", "--split", "test"),
        ("--infos", test_root / "bevdepth_plus_infos_test.pkl"),
    ):
        checked = run_tool("check_submission.py", results, *split)
        assert checked.returncode == 0, checked.stdout[-3000:]
        assert "valid, 6 samples" in checked.stdout


def test_without_a_result_file_there_is_nothing_to_do(
    trained, tiny_config, run_tool, options, tmp_path
):
    done = run_tool(
        "test.py", tiny_config, trained / "iter_4.pth", "--work-dir", tmp_path, *options
    )
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()[-1:]
    assert "has no ground truth to score; add --submission RESULTS.json" in line
    assert line.startswith("test.py: ")
