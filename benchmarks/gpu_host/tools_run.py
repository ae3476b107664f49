"""A user's way on the host: tools/train.py, tools/test.py, and training with --amp."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tools.environment import ROOT

CONFIG = ROOT / "configs" / "synthetic_small.py"


def train_and_test(
    work: Path, environment: Mapping[str, str], steps: int, batch: int, seconds: float
) -> dict[str, Any]:
    """A short training of the demo's config, and the test of its checkpoint."""
    folder = work / "train_and_test"
    train = call(train_command(folder, steps, batch), work, environment, seconds)
    result = {"train": train}
    if train["exit_status"] == 0:
        weights = str(folder / f"iter_{steps}.pth")
        command = ["tools/test.py", str(CONFIG), weights, "--work-dir", str(folder)]
        result["test"] = call(command, work, environment, seconds - train["seconds"])
    return result


def train_amp(
    work: Path, environment: Mapping[str, str], steps: int, batch: int, seconds: float
) -> dict[str, Any]:
    command = [*train_command(work / "train_amp", steps, batch), "--amp"]
    return {"train": call(command, work, environment, seconds)}


def train_command(folder: Path, steps: int, batch: int) -> list[str]:
    options = {
        "train_cfg.max_iters": steps,
        "train_dataloader.batch_size": batch,
        "train_dataloader.num_workers": 4,
        "default_hooks.logger.interval": max(steps // 4, 1),
        "default_hooks.checkpoint.interval": steps,
    }
    settings = [f"{name}={value}" for name, value in options.items()]
    return [
        "tools/train.py", str(CONFIG), "--work-dir", str(folder), "--cfg-options", *settings
    ]  # fmt: skip


def call(
    command: list[str], work: Path, environment: Mapping[str, str], seconds: float
) -> dict[str, Any]:
    """How a tool ended: exit status (124: out of time), seconds, end of its output."""
    started = time.monotonic()
    script = [sys.executable, str(ROOT / command[0]), *command[1:]]
    try:
        answer = subprocess.run(
            script, env=environment, cwd=work, text=True, check=False, timeout=max(seconds, 1),
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        status, output = answer.returncode, answer.stdout
    except subprocess.TimeoutExpired as error:
        status, output = 124, (error.stdout or b"").decode(errors="replace")
    return {
        "command": " ".join(command).replace(f"{ROOT}/", "").replace(f"{work}/", ""),
        "exit_status": status,
        "seconds": round(time.monotonic() - started, 1),
        "output_end": output[-2500:].splitlines(),
    }
