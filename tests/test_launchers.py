"""The launch scripts hand their arguments on as mmdet3d users expect."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
RECORD = '#!/bin/sh\nprintf "%s\\n" "$@"\n'


@pytest.fixture
def call(tmp_path):
    """Runs a script with a `python` and an `srun` that only print their arguments."""
    for name in ("python", "srun"):
        (tmp_path / name).write_text(RECORD)
        (tmp_path / name).chmod(0o755)

    def run(script: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess:
        known = {k: v for k, v in os.environ.items() if k not in ("NNODES", "PORT", "GPUS")}
        environment = {**known, "PATH": f"{tmp_path}:{os.environ['PATH']}", **variables}
        command = ["bash", str(ROOT / "tools" / script), *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    return run


def test_dist_train_starts_torchrun_on_one_machine(call):
    said = call("dist_train.sh", "c.py", "2", "--amp", "--work-dir", "a b").stdout.splitlines()
    assert said[:5] == ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    script, *rest = said[5:]
    assert script == str(ROOT / "tools" / "train.py")
    assert rest == ["c.py", "--amp", "--work-dir", "a b", "--launcher", "pytorch"]


def test_dist_test_on_two_machines_meets_at_the_master(call):
    where = dict(NNODES="2", NODE_RANK="1", MASTER_ADDR="10.0.0.1", PORT="29511")
    said = " ".join(call("dist_test.sh", "c.py", "c.pth", "8", **where).stdout.split())
    assert "--nnodes 2 --node-rank 1 --master-addr 10.0.0.1 --master-port 29511" in said
    assert said.endswith("test.py c.py c.pth --launcher pytorch")


def test_slurm_train_asks_for_no_more_gpus_a_node_than_there_are_tasks(call):
    said = call("slurm_train.sh", "part", "job", "c.py", "out", "--resume", GPUS="4").stdout
    said = " ".join(said.split())
    assert "--partition part --job-name job --gres gpu:4 --ntasks 4 --ntasks-per-node 4" in said
    assert said.endswith("train.py c.py --work-dir out --launcher slurm --resume")


@pytest.mark.parametrize(
    ("script", "arguments"),
    [
        ("dist_train.sh", ["c.py"]),
        ("dist_train.sh", ["c.py", "c.pth"]),
        ("dist_test.sh", ["c.py", "2"]),
        ("slurm_train.sh", ["part", "job"]),
    ],
)
def test_wrong_arguments_end_in_one_line(call, script, arguments):
    answer = call(script, *arguments)
    assert answer.returncode == 2
    assert len(answer.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "script", [*sorted(ROOT.glob("tools/*.sh")), ROOT / ".ci" / "run"], ids=lambda path: path.name
)
def test_shell_scripts_parse_and_may_be_run(script):
    subprocess.run(["bash", "-n", str(script)], check=True)
    assert os.access(script, os.X_OK)
