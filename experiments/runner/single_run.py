"""One run of an experiment: a training and its tests, in processes of their own."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bevdepth_plus.errors import DataError
from experiments.runner.report import headline
from experiments.runner.variants import REPO, TestSet, Variant, merged


class Tools:
    """The commands that train and test, and the processes they run in.

    Args:
        train, test: command lines that get ``tools/train.py``'s and ``tools/test.py``'s arguments.
        threads: of each process on the CPU; where trainings share the cores, threads of one wait
            for those of another.
    """

    def __init__(
        self,
        train: Sequence[str] = (sys.executable, str(REPO / "tools/train.py")),
        test: Sequence[str] = (sys.executable, str(REPO / "tools/test.py")),
        threads: int = 1,
    ) -> None:
        self.threads = threads
        self.train, self.test = list(train), list(test)
        self._running: set[subprocess.Popen] = set()

    def call(self, command: Sequence[object], log: Path) -> float:
        """Run a tool, its output to ``log``; returns the seconds it took.

        Raises:
            DataError: it failed; the message ends with its last line.
        """
        words = [str(word) for word in command]
        # An experiment may have a model of its own, which its config imports.
        paths = [str(REPO), os.environ.get("PYTHONPATH", "")]
        env = {
            **os.environ,
            "OMP_NUM_THREADS": str(self.threads),
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        }
        started = time.monotonic()
        with log.open("a") as output:
            process = subprocess.Popen(words, cwd=REPO, env=env, stdout=output, stderr=output)
            self._running.add(process)
            status = process.wait()
            self._running.discard(process)
        if status:
            last = (log.read_text().strip().splitlines() or ["no output"])[-1]
            raise DataError(f"status {status}: {last} (whole output: {log})")
        return time.monotonic() - started

    def stop(self) -> None:
        """End what still runs; the next call of the experiment resumes it."""
        for process in list(self._running):
            process.terminate()


class Run:
    """One variant with one seed: its config, folder, and the entry in the results."""

    def __init__(
        self, variant: Variant, seed: int, config: dict, work_dir: Path, tools: Tools
    ) -> None:
        self.variant, self.seed, self.config, self.tools = variant, seed, config, tools
        self.hash = config_hash(self.config)
        self.folder = run_folder(work_dir, variant.name, seed, self.hash)
        self.name = f"{variant.name} seed {seed}"
        self.steps = self.config["train_cfg"]["max_iters"]
        self.data_root = data_root_of(self.config["train_dataloader"]["dataset"])

    def entry(self) -> dict[str, Any]:
        """The results of this run before anything is done."""
        return {
            "hash": self.hash,
            "seed": self.seed,
            "steps": self.steps,
            "data_root": self.data_root,
            "train_wall_s": 0.0,
            "tests": {},
            **environment(),
        }

    def is_of(self, entry: Mapping[str, Any]) -> bool:
        """Whether an entry in the results is of this config."""
        return entry.get("hash") == self.hash

    def is_kept(self, entry: Mapping[str, Any]) -> bool:
        """Whether an entry stands for this run though its hash is of an older form of the config.

        Such an entry says in ``kept_from`` at which commit its hash is that of the config. It must
        have this run's length and data.
        """
        return (
            "kept_from" in entry
            and entry["steps"] == self.steps
            and entry["data_root"] == self.data_root
        )

    def train(self) -> float:
        """Train, or resume; returns the seconds that this took."""
        config = self.folder / "train_config.py"
        self.folder.mkdir(parents=True, exist_ok=True)
        write_config(self.config, config)
        command = [*self.tools.train, config, "--work-dir", self.folder, "--resume"]
        return self.tools.call(command, self.folder / "train.txt")

    def trained(self) -> bool:
        """Whether the last checkpoint is that of the last step."""
        pointer = self.folder / "last_checkpoint"
        return pointer.is_file() and Path(pointer.read_text()).stem.endswith(f"_{self.steps}")

    def test_config(self, test: TestSet) -> dict:
        return merged(self.config, test.overrides)

    def test(self, test: TestSet) -> dict[str, Any]:
        """Score on one test set; returns its entry in the results."""
        folder = self.folder / f"test-{test.name}"
        folder.mkdir(exist_ok=True)
        config = self.test_config(test)
        path = folder / "test_config.py"
        write_config(config, path)
        checkpoint = checkpoint_to_test(self.folder, self.variant)
        command = [*self.tools.test, path, checkpoint, "--work-dir", folder]
        seconds = self.tools.call(command, folder / "test.txt")
        report = json.loads((folder / "metrics.json").read_text())
        return {
            "hash": config_hash(config),
            "wall_s": round(seconds, 1),
            "metrics": headline(report),
        }

    def step(self) -> int:
        """The last step its training reported."""
        logs = sorted(self.folder.glob("*/vis_data/scalars.json"))
        steps = re.findall(r'"step": (\d+)', logs[-1].read_text()) if logs else []
        return int(steps[-1]) if steps else 0


def data_root_of(dataset: Mapping) -> str:
    """Where a data set's config finds its data: a detector's root, or those of sequences."""
    if "data_root" in dataset:
        return dataset["data_root"]
    return ", ".join(source["root"] for source in dataset["sources"])


def run_folder(work_dir: Path, variant: str, seed: int, run_hash: str) -> Path:
    """Where a run keeps its checkpoints; the hash is that of its entry in the results."""
    return work_dir / f"{variant}-seed{seed}-{run_hash[:8]}"


def checkpoint_to_test(folder: Path, variant: Variant) -> Path:
    """The checkpoint that is tested of a finished run in ``folder``."""
    last = Path((folder / "last_checkpoint").read_text().strip())
    return last if variant.to_test is None else variant.to_test(last)


def write_config(config: Mapping, path: Path) -> None:
    """Write a config as Python; :class:`mmengine.config.Config` reads it back as it is.

    mmengine's ``Config.dump`` sorts the names, and the order of a pipeline's steps would be lost.
    """
    path.write_text("".join(f"{name} = {value!r}\n" for name, value in config.items()))


def environment() -> dict[str, str]:
    """What a number depends on beside its config."""
    info = Path("/proc/cpuinfo")
    models = [line for line in info.read_text().splitlines() if line.startswith("model name")]
    git = ["git", "-C", str(REPO), "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(git, capture_output=True, text=True).stdout.strip()
    return {
        "commit": commit or "unknown",
        "torch": version("torch"),
        "cpu": models[0].split(":", 1)[1].strip() if models else platform.processor(),
    }


def config_hash(config: Mapping) -> str:
    """What tells one run from another."""
    # In the order of the names: it is the order of a pipeline's steps.
    return hashlib.sha256(json.dumps(config, default=str).encode()).hexdigest()
