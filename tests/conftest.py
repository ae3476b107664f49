"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REPO_ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """Folder with the real nuScenes key frame and the golden tensors; skips where it is absent.

    The data may not be copied into the repository (nuScenes terms), so it is found through the
    environment variable BEVDEPTH_PLUS_SHARED, or in `../shared` beside the checkout.
    """
    folder = Path(os.environ.get("BEVDEPTH_PLUS_SHARED", REPO_ROOT.parent / "shared"))
    if not folder.is_dir():
        pytest.skip(f"no shared data at {folder}: set BEVDEPTH_PLUS_SHARED to its folder")
    return folder.resolve()
