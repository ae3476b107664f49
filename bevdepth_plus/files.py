"""The one atomic write: a file or folder with its final name is always whole.

The content goes to a temporary name beside its final place and is moved there when it is complete.
A run that is killed leaves what was there before. Needs the standard library alone.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any


@contextmanager
def atomic_write(path: str | os.PathLike, mode: str = "wb") -> Iterator[IO]:
    """A file to write to, which takes its final name when the block ends without an error.

    An error inside the block leaves the earlier file as it was. Missing parent folders are made.
    A link is followed: the file it points to is replaced.

    Args:
        path: the final name.
        mode: "wb" for bytes, "w" for text in UTF-8.
    """
    path = Path(path).resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open(mode, encoding=None if "b" in mode else "utf-8") as file:
            yield file
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: str | os.PathLike) -> Iterator[Path]:
    """An empty folder to fill, which replaces the one at `path` when the block ends well.

    Two folders cannot be exchanged in one step on every system: for a moment `path` is absent, but
    a folder with this name is always whole. Only one process may write it at a time.
    """
    path = Path(path).resolve()
    temporary, earlier = path.with_name(f".{path.name}.tmp"), path.with_name(f".{path.name}.old")
    _restore_or_remove(path, temporary, earlier)  # what a killed run left
    temporary.mkdir(parents=True)
    try:
        yield temporary
        if path.exists():
            path.rename(earlier)
        temporary.rename(path)
    finally:
        _restore_or_remove(path, temporary, earlier)


def _restore_or_remove(path: Path, temporary: Path, earlier: Path) -> None:
    if earlier.exists() and not path.exists():  # stopped between the two renames
        earlier.rename(path)
    for leftover in (temporary, earlier):
        shutil.rmtree(leftover, ignore_errors=True)


def write_json(path: str | os.PathLike, content: Any, indent: int | None = None) -> None:
    """Writes `content` as JSON, with a line end after it.

    Raises:
        ValueError: it holds NaN or an infinity, which JSON cannot express.
    """
    with atomic_write(path, "w") as file:
        json.dump(content, file, indent=indent, allow_nan=False)
        file.write("\n")
