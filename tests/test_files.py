"""A file or folder with its final name is always whole."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bevdepth_plus.files import atomic_folder, atomic_write, write_json

ROOT = Path(__file__).resolve().parent.parent
KILLED_WHILE_WRITING = """
import os, signal, sys
from bevdepth_plus.files import atomic_write
with atomic_write(sys.argv[1]) as file:
    file.write(b"half of the n")
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def names(folder: Path) -> list[str]:
    return [entry.name for entry in folder.iterdir()]


def test_a_file_appears_whole_in_folders_that_are_made(tmp_path):
    path = tmp_path / "deep" / "deeper" / "weights.bin"
    with atomic_write(path) as file:
        file.write(b"all")
        assert not path.exists()
    assert path.read_bytes() == b"all"
    assert names(path.parent) == [path.name]


def test_an_error_while_writing_leaves_the_earlier_file_and_nothing_else(tmp_path):
    path = tmp_path / "results.json"
    path.write_text("earlier")
    with pytest.raises(RuntimeError, match="disk"), atomic_write(path, "w") as file:
        file.write("ne")
        raise RuntimeError("disk full")
    assert path.read_text() == "earlier"
    assert names(tmp_path) == [path.name]


def test_a_process_that_is_killed_while_writing_leaves_the_earlier_file(tmp_path):
    path = tmp_path / "weights.bin"
    path.write_bytes(b"earlier")
    command = [sys.executable, "-c", KILLED_WHILE_WRITING, str(path)]
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == -9
    assert path.read_bytes() == b"earlier"


def test_a_new_file_has_the_permissions_of_any_new_file(tmp_path):
    with atomic_write(tmp_path / "ours", "w") as file:
        file.write("text")
    (tmp_path / "theirs").write_text("text")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "theirs").stat().st_mode


def test_a_link_is_followed_and_stays_a_link(tmp_path):
    target, link = tmp_path / "target.json", tmp_path / "link.json"
    target.write_text("{}")
    link.symlink_to(target)
    write_json(link, [1])
    assert link.is_symlink() and json.loads(target.read_text()) == [1]


def test_nan_is_refused_and_the_earlier_json_stays(tmp_path):
    path = tmp_path / "metrics.json"
    write_json(path, {"mAP": 0.5, "name": "größer"}, indent=1)
    with pytest.raises(ValueError, match="nan"):
        write_json(path, {"mAP": float("nan")})
    assert json.loads(path.read_text(encoding="utf-8")) == {"mAP": 0.5, "name": "größer"}
    assert path.read_text().endswith("}\n")


def test_a_folder_replaces_the_earlier_one_as_a_whole(tmp_path):
    path = tmp_path / "v1.0-mini"
    for name in ("first.json", "second.json"):
        with atomic_folder(path) as fresh:
            (fresh / name).write_text("[]")
    assert names(path) == ["second.json"]
    assert names(tmp_path) == [path.name]


def test_an_error_while_filling_a_folder_leaves_the_earlier_one(tmp_path):
    path = tmp_path / "v1.0-mini"
    with atomic_folder(path) as fresh:
        (fresh / "scene.json").write_text("[]")
    with pytest.raises(RuntimeError), atomic_folder(path) as fresh:
        (fresh / "half.json").write_text("[")
        raise RuntimeError
    assert names(path) == ["scene.json"]
    assert names(tmp_path) == [path.name]


def test_a_folder_that_cannot_take_its_place_leaves_the_earlier_one(tmp_path):
    path = tmp_path / "v1.0-mini"
    path.mkdir()
    (path / "scene.json").write_text("[]")
    with pytest.raises(FileNotFoundError), atomic_folder(path) as fresh:
        fresh.rmdir()
    assert names(path) == ["scene.json"]
    assert names(tmp_path) == ["v1.0-mini"]


def test_what_a_killed_run_left_does_not_get_into_the_next_folder(tmp_path):
    (tmp_path / ".v1.0-mini.tmp").mkdir()
    (tmp_path / ".v1.0-mini.tmp" / "half.json").write_text("[")
    with atomic_folder(tmp_path / "v1.0-mini") as fresh:
        (fresh / "scene.json").write_text("[]")
    assert names(tmp_path) == ["v1.0-mini"]
    assert names(tmp_path / "v1.0-mini") == ["scene.json"]


def test_a_run_that_was_killed_between_the_two_renames_has_lost_nothing(tmp_path):
    (tmp_path / ".v1.0-mini.old").mkdir()
    (tmp_path / ".v1.0-mini.old" / "scene.json").write_text("[]")
    with pytest.raises(RuntimeError), atomic_folder(tmp_path / "v1.0-mini"):
        raise RuntimeError
    assert names(tmp_path) == ["v1.0-mini"]
    assert names(tmp_path / "v1.0-mini") == ["scene.json"]
