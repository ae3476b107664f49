from __future__ import annotations

import os

import pytest
import torch
from mmengine.config import Config

from bevdepth_plus.engine.launch import load_config, resume_from_last


@pytest.fixture
def work_dir(tmp_path):
    """Two whole checkpoints, the newer one noted as the last."""
    for step in (2, 10):
        torch.save(dict(step=step), tmp_path / f"iter_{step}.pth")
        os.utime(tmp_path / f"iter_{step}.pth", (step, step))
    (tmp_path / "last_checkpoint").write_text(str(tmp_path / "iter_10.pth"))
    return tmp_path


def resumed(work_dir) -> str | None:
    cfg = Config(dict(work_dir=str(work_dir)))
    resume_from_last(cfg)
    assert cfg.get("resume", False) == ("load_from" in cfg)
    return cfg.get("load_from")


def test_the_noted_checkpoint_is_taken(work_dir):
    (work_dir / "last_checkpoint").write_text(str(work_dir / "iter_2.pth"))
    assert resumed(work_dir) == str(work_dir / "iter_2.pth")


@pytest.mark.parametrize("note", ["", "/elsewhere/iter_10.pth", None])
def test_without_a_usable_note_the_newest_is_taken(work_dir, note):
    if note is None:
        (work_dir / "last_checkpoint").unlink()
    else:
        (work_dir / "last_checkpoint").write_text(note)
    assert resumed(work_dir) == str(work_dir / "iter_10.pth")


def test_a_checkpoint_cut_off_is_passed_over(work_dir):
    os.truncate(work_dir / "iter_10.pth", 300)
    assert resumed(work_dir) == str(work_dir / "iter_2.pth")


def test_without_any_checkpoint_the_training_starts(tmp_path):
    assert resumed(tmp_path) is None


@pytest.mark.parametrize("has_gpu", [False, True])
def test_determinism_is_asked_for_on_a_cpu_only(tmp_path, monkeypatch, has_gpu):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_gpu)
    (tmp_path / "config.py").write_text("randomness = dict(seed=0)")
    cfg = load_config(str(tmp_path / "config.py"), None, None)
    assert cfg.randomness == dict(seed=0, deterministic=not has_gpu)


@pytest.mark.parametrize("chosen", [False, True])
def test_determinism_that_a_config_chose_is_kept(tmp_path, chosen):
    (tmp_path / "config.py").write_text("randomness = dict(seed=0)")
    options = {"randomness.deterministic": chosen}
    cfg = load_config(str(tmp_path / "config.py"), None, options)
    assert cfg.randomness.deterministic is chosen
