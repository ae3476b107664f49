"""What was done in a folder, and for which sources: a second set-up takes seconds.

Runs on the standard library alone.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from bevdepth_plus.files import write_json
from tools.environment import ROOT


def fingerprint(values: list, paths: list) -> str:
    """Hash of some strings and of all source files under some paths (tests left out)."""
    digest = hashlib.sha256("\n".join(values).encode())
    for path in paths:
        files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if is_source(p))
        for file in files:
            digest.update(str(file.relative_to(ROOT)).encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


def is_source(path: Path) -> bool:
    left_out = {"build", "tests", "__pycache__", "bevdepth_plus_ops.egg-info"}
    source = path.suffix in {".txt", ".py", ".cpp", ".h", ".cu", ".cuh", ".toml"}
    return source and not left_out.intersection(path.parts[len(ROOT.parts) :])


class Stamps:
    """What has been done in an environment, with the fingerprint it was done for."""

    def __init__(self, venv: Path) -> None:
        self.file = venv / ".bevdepth_plus_setup.json"
        self.done = json.loads(self.file.read_text()) if self.file.exists() else {}

    def has(self, name: str, key: str) -> bool:
        return self.done.get(name) == key

    def add(self, name: str, key: str) -> None:
        self.done[name] = key
        write_json(self.file, self.done, indent=2)
