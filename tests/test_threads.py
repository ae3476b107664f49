"""Threads that wait sleep, unless the user decided otherwise."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bevdepth_plus import threads

REPO = Path(__file__).resolve().parent.parent


def settings_in(environment: dict[str, str], monkeypatch) -> dict[str, str | None]:
    for name in ("OMP_WAIT_POLICY", *threads.SETTINGS):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    threads.let_threads_sleep()
    return {name: os.environ.get(name) for name in threads.SETTINGS}


def test_waiting_threads_sleep(monkeypatch):
    assert settings_in({}, monkeypatch) == {"GOMP_SPINCOUNT": "0", "KMP_BLOCKTIME": "0"}


def test_what_the_user_set_is_kept(monkeypatch):
    chosen = settings_in({"GOMP_SPINCOUNT": "1000"}, monkeypatch)
    assert chosen == {"GOMP_SPINCOUNT": "1000", "KMP_BLOCKTIME": "0"}
    assert settings_in({"OMP_WAIT_POLICY": "active"}, monkeypatch) == dict.fromkeys(
        threads.SETTINGS
    )


@pytest.mark.parametrize("tool", ["train", "test", "visualize", "infer"])
def test_a_tool_says_so_before_openmp_is_loaded(tool):
    """The first import of torch, or of anything else, comes after the settings."""
    code = f"""
import os, sys
class Watch:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            print(os.environ.get("GOMP_SPINCOUNT"))
            raise SystemExit
sys.meta_path.insert(0, Watch())
sys.argv = ["{tool}.py"]
import runpy
try:
    runpy.run_path("tools/{tool}.py")
finally:
    print(os.environ.get("GOMP_SPINCOUNT"))
"""
    environment = {k: v for k, v in os.environ.items() if k not in threads.SETTINGS}
    environment.pop("OMP_WAIT_POLICY", None)
    environment["PYTHONPATH"] = str(REPO)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPO, env=environment, capture_output=True, text=True
    )
    assert set(done.stdout.split()) == {"0"}, done.stderr
