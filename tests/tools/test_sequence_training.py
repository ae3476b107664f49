"""Depth from motion goes through the tools of the detector: train, go on, score."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bevdepth_plus.datasets.create_infos import create_info_files

REPO = Path(__file__).resolve().parents[2]

TINY = """
_base_ = ["{repo}/configs/deltas_synthetic_small.py"]
final_dim = (64, 96)
model = dict(
    network=dict(
        encoder=dict(base_channels=4),
        interest_points=dict(channels=8, hidden_channels=8),
        matcher=dict(samples=12),
        densifier=dict(
            sparse_encoder=dict(base_channels=4), channels=(8, 8, 4, 4, 4), aspp_channels=4
        ),
        num_points=32,
        border=2,
    ),
)
here = dict(layout="nuscenes", root="{root}", cameras=["CAM_FRONT"])
train = [dict(**here, ann_file="{infos}/bevdepth_plus_infos_train.pkl")]
val = [dict(**here, ann_file="{infos}/bevdepth_plus_infos_val.pkl")]
train_dataloader = dict(
    batch_size=2,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(final_dim=final_dim, sources=train),
)
val_dataloader = dict(
    batch_size=2,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(final_dim=final_dim, sources=val),
)
test_dataloader = val_dataloader
train_cfg = dict(max_iters=4, val_interval=4)
default_hooks = dict(
    logger=dict(interval=1), checkpoint=dict(by_epoch=False, interval=2, max_keep_ckpts=2)
)
"""


@pytest.fixture(scope="module")
def config(synthetic_root, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("sequences")
    create_info_files(synthetic_root, "v1.0-mini", folder, progress=False)
    path = folder / "tiny_sequences.py"
    path.write_text(TINY.format(repo=REPO, root=synthetic_root, infos=folder))
    return path


@pytest.fixture(scope="module")
def trained(config, run_tool, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("trained_sequences")
    result = run_tool("train.py", config, "--work-dir", folder)
    assert result.returncode == 0, result.stderr[-3000:]
    return folder


def test_training_is_scored_at_its_end(trained):
    log = next(trained.glob("*/*.log")).read_text()
    assert "loss_likelihood" in log and "depth/dense/abs_rel" in log and "points depth" in log
    assert (trained / "iter_4.pth").is_file()


def test_a_checkpoint_is_scored_by_range_and_motion(trained, config, run_tool, tmp_path):
    result = run_tool("test.py", config, trained / "iter_4.pth", "--work-dir", tmp_path)
    assert result.returncode == 0, result.stderr[-3000:]
    depth = json.loads((tmp_path / "metrics.json").read_text())["depth"]
    assert set(depth) == {"dense", "points"}
    assert depth["dense"]["overall"]["count"] > 0 and "0-0.1" in depth["dense"]["by_baseline"]


def test_a_resumed_training_ends_with_the_same_weights(trained, config, run_tool, tmp_path):
    import torch

    (tmp_path / "last_checkpoint").write_text(str(trained / "iter_2.pth"))
    result = run_tool("train.py", config, "--work-dir", tmp_path, "--resume")
    assert result.returncode == 0, result.stderr[-3000:]
    whole, resumed = (
        torch.load(folder / "iter_4.pth", weights_only=False)["state_dict"]
        for folder in (trained, tmp_path)
    )
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_what_only_detectors_have_is_refused(trained, config, run_tool, tmp_path):
    result = run_tool(
        "test.py", config, trained / "iter_4.pth", "--work-dir", tmp_path, "--submission", "a.json"
    )
    assert result.returncode == 2
    assert result.stderr.strip().splitlines()[-1].endswith("trains DepthFromMotion: leave them out")


def test_a_sample_is_drawn(trained, config, run_tool, tmp_path):
    import cv2

    done = run_tool(
        "visualize_motion.py", config, trained / "iter_4.pth", "--samples", 1, "--out", tmp_path
    )
    assert done.returncode == 0, done.stderr[-3000:]
    (picture,) = tmp_path.glob("*_motion.png")
    image = cv2.imread(str(picture))
    assert image.shape[1] == 1920 and image.std() > 20


def test_a_detector_is_no_depth_from_motion(tiny_config, trained, run_tool, tmp_path):
    done = run_tool(
        "visualize_motion.py", tiny_config, trained / "iter_4.pth", "--out", tmp_path / "no"
    )
    assert done.returncode == 2
    assert "trains BEVDepth, not depth from motion" in done.stderr
    assert not (tmp_path / "no").exists()
