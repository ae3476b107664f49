"""Can a tool write where it is told to? Asked before the work, not after it."""

from __future__ import annotations

import tempfile
from pathlib import Path

from bevdepth_plus.errors import DataError


def require_writable(folder: str | Path, option: str) -> Path:
    """Make a folder and try to write into it.

    Args:
        folder: where the results will go.
        option: the option that chooses another folder, for the message.

    Raises:
        DataError: the folder cannot be made or nothing can be written into it.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise DataError(
            f"cannot write into {folder} ({error.strerror}); choose another folder with {option}"
        ) from None
    return folder
