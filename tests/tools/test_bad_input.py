"""Whatever a user hands over wrong ends in one line that names it, and exit status 2."""

from __future__ import annotations

import shutil
from pathlib import Path


def assert_one_line(result, *parts: str) -> None:
    assert result.returncode == 2, result.stderr[-3000:]
    last = result.stderr.strip().splitlines()[-1]
    assert "Traceback" not in result.stderr, result.stderr[-3000:]
    for part in parts:
        assert part in last, last


def test_a_config_that_does_not_exist(run_tool):
    assert_one_line(run_tool("train.py", "configs/nothing.py"), "configs/nothing.py")


def test_a_checkpoint_that_does_not_exist(run_tool, tiny_config):
    assert_one_line(run_tool("test.py", tiny_config, "nothing.pth"), "nothing.pth does not exist")


def test_a_truncated_checkpoint(run_tool, tiny_config, trained, tmp_path):
    cut = tmp_path / "cut.pth"
    cut.write_bytes((trained / "iter_4.pth").read_bytes()[:5000])
    assert_one_line(run_tool("test.py", tiny_config, cut), "cut.pth is truncated")


def test_a_checkpoint_of_another_model(run_tool, tiny_config, trained, tmp_path):
    result = run_tool(
        "test.py", tiny_config, trained / "iter_4.pth", "--work-dir", tmp_path, "--cfg-options",
        "model.depth.depth_net.mid_channels=8",
    )  # fmt: skip
    assert_one_line(result, "another model", "depth_net")


def test_a_missing_image_is_named_also_from_a_worker_process(run_tool, tiny_config, tmp_path):
    root = tmp_path / "root"
    source = Path(tiny_config).parent
    root.mkdir()
    for pickle in source.glob("*.pkl"):
        shutil.copy(pickle, root)
    shutil.copytree(source / "samples", root / "samples")
    for image in (root / "samples" / "CAM_FRONT").iterdir():
        image.unlink()
    config = tmp_path / "broken.py"
    config.write_text(Path(tiny_config).read_text().replace(str(source), str(root)))
    result = run_tool(
        "train.py", config, "--work-dir", tmp_path / "work", "--cfg-options",
        "train_dataloader.num_workers=1",
    )  # fmt: skip
    assert_one_line(result, "CAM_FRONT", "does not exist")


def test_a_web_page_saved_as_checkpoint(run_tool, tiny_config, tmp_path):
    page = tmp_path / "page.pth"
    page.write_text("<!DOCTYPE html><html><body>Sign in</body></html>")
    assert_one_line(run_tool("test.py", tiny_config, page), "page.pth is a web page")


def test_a_misspelt_option(run_tool, tiny_config):
    result = run_tool("train.py", tiny_config, "--cfg-options", "train_dataloader.batchsize=2")
    assert_one_line(result, "nothing reads 'batchsize'; did you mean 'batch_size'?")


def test_an_option_of_the_split_that_the_tool_does_not_score(run_tool, tiny_config, trained):
    result = run_tool(
        "test.py", tiny_config, trained / "iter_4.pth", "--cfg-options",
        "val_evaluator.class_range=20",
    )  # fmt: skip
    assert_one_line(result, "changes nothing here: test.py reads test_evaluator.class_range")


def test_a_depth_loss_without_depth_maps(run_tool, tiny_config, tmp_path):
    config = tmp_path / "no_depth.py"
    config.write_text(
        f'_base_ = ["{tiny_config}"]\n'
        "without = dict(load_points=None, depth_labels=None)\n"
        "train_dataloader = dict(dataset=dict(pipeline=without))\n"
    )
    result = run_tool("train.py", config, "--work-dir", tmp_path)
    assert_one_line(result, "model.depth.loss learns from depth maps, and nothing in the training")


def test_a_work_dir_that_cannot_be_made(run_tool, tiny_config, tmp_path):
    (tmp_path / "file").write_text("")
    result = run_tool("train.py", tiny_config, "--work-dir", tmp_path / "file" / "work")
    assert_one_line(result, "cannot write into", "choose another folder with --work-dir")


def test_a_result_file_under_the_name_of_an_archive(run_tool, tiny_config, trained, tmp_path):
    result = run_tool(
        "test.py", tiny_config, trained / "iter_4.pth", "--work-dir", tmp_path, "--submission",
        tmp_path / "results.zip",
    )  # fmt: skip
    assert_one_line(result, "the result file is JSON, give a name like results.json")
