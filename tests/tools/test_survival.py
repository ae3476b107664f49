"""Trainings that are killed, and go on as if they had not been."""

from __future__ import annotations

import os
import pickle
import random
import signal
from pathlib import Path

import pytest
import torch

CONFIG = """
_base_ = ["tiny.py"]
custom_imports = dict(imports=["bevdepth_plus.plugin", "mischief"])
custom_hooks = [*_base_.custom_hooks, dict(type="DieHook")]
val_dataloader = val_cfg = val_evaluator = None
"""
# Class-balanced epochs of 30 samples, averaged weights, two loader processes.
BY_EPOCH = (
    CONFIG
    + """
custom_hooks += [dict(type="EMAHook", momentum=0.1, update_buffers=True)]
train_dataloader = dict(
    batch_size=6,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(_delete_=True, type="DefaultSampler", shuffle=True),
    dataset=dict(
        _delete_=True,
        type="BEVCBGSDataset",
        dataset=dict(_base_.train_dataloader.dataset, ann_file="all_classes.pkl"),
    ),
)
train_cfg = dict(_delete_=True, by_epoch=True, max_epochs=2)
param_scheduler = [dict(type="MultiStepLR", by_epoch=True, milestones=[1], gamma=0.1)]
"""
)
STEPS_AN_EPOCH = 5
CHECKPOINT = "default_hooks.checkpoint"


@pytest.fixture(scope="module")
def train(tiny_config, run_tool):
    """``train(config, work_dir, *arguments, status=0, **env)``."""
    folder = tiny_config.parent
    content = pickle.loads((folder / "bevdepth_plus_infos_train.pkl").read_bytes())
    for sample in content["data_list"]:
        for label, instance in enumerate(sample["instances"]):
            instance["bbox_label_3d"] = label % 10
        assert len(sample["instances"]) >= 10
    (folder / "all_classes.pkl").write_bytes(pickle.dumps(content))
    (folder / "by_step.py").write_text(CONFIG)
    (folder / "by_epoch.py").write_text(BY_EPOCH)

    def run(config: str, work_dir: Path, *arguments: object, status: int = 0, **env: object):
        command = (folder / config, "--work-dir", work_dir, *arguments)
        result = run_tool("train.py", *command, env={k: str(v) for k, v in env.items()})
        assert result.returncode == status, result.stderr[-3000:]

    return run


def assert_same_weights(first: Path, second: Path) -> None:
    first, second = (torch.load(path, weights_only=False) for path in (first, second))
    for part in ("state_dict", "ema_state_dict", "optimizer"):
        assert_same(first.get(part), second.get(part), part)


def assert_same(first, second, where: str) -> None:
    if isinstance(first, torch.Tensor):
        assert torch.equal(first, second), where
    elif isinstance(first, dict):
        assert first.keys() == second.keys(), where
        for key in first:
            assert_same(first[key], second[key], f"{where}.{key}")
    elif isinstance(first, list):
        for index, (a, b) in enumerate(zip(first, second, strict=True)):
            assert_same(a, b, f"{where}.{index}")
    else:
        assert first == second, where


def test_killed_while_it_writes_its_only_checkpoint_it_goes_on_from_the_one_before(
    train, trained, tmp_path
):
    # Loader processes now, none in the straight run: draws do not depend on who loads.
    options = ("--cfg-options", "train_dataloader.num_workers=2", f"{CHECKPOINT}.max_keep_ckpts=1")
    train("by_step.py", tmp_path, *options, status=-signal.SIGKILL, DIE_WRITING="iter_4.pth")
    whole = (trained / "iter_4.pth").stat().st_size
    assert 0 < (tmp_path / "iter_4.pth").stat().st_size < 0.9 * whole
    (tmp_path / "last_checkpoint").write_text("")  # its writing is not atomic either
    os.utime(tmp_path / "iter_2.pth", (0, 0))
    train("by_step.py", tmp_path, "--resume", *options)
    assert_same_weights(tmp_path / "iter_4.pth", trained / "iter_4.pth")
    assert [path.name for path in tmp_path.glob("*.pth")] == ["iter_4.pth"]


@pytest.fixture(scope="module")
def straight(train, tmp_path_factory) -> Path:
    work_dir = tmp_path_factory.mktemp("straight")
    train("by_epoch.py", work_dir)
    return work_dir / "iter_10.pth"


@pytest.mark.parametrize(
    ("by_epoch", "interval", "last"),
    [(False, 3, "iter_10.pth"), (True, 1, "epoch_2.pth")],
    ids=["in the middle", "from its start"],
)
def test_killed_at_a_random_step_of_an_epoch_it_goes_on_in_that_epoch(
    train, straight, tmp_path, by_epoch, interval, last
):
    options = ("--cfg-options", f"{CHECKPOINT}.by_epoch={by_epoch}")
    options += (f"{CHECKPOINT}.interval={interval}",)
    first_saved = STEPS_AN_EPOCH if by_epoch else interval
    step = random.Random(last).randrange(first_saved + 1, 2 * STEPS_AN_EPOCH)
    train("by_epoch.py", tmp_path, *options, status=-signal.SIGKILL, DIE_AFTER_STEP=step)
    assert list(tmp_path.glob("*.pth")) and not (tmp_path / last).exists()
    train("by_epoch.py", tmp_path, "--resume", *options)
    assert_same_weights(tmp_path / last, straight)
