"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from mmengine.registry import init_default_scope

REPO_ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def registry_scope() -> None:
    """The scope that the tools build in; the runner of an earlier test may have left another."""
    init_default_scope("mmdet3d")


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


@pytest.fixture(scope="session")
def synthetic_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A rendered nuScenes root: one training and one validation scene, three key frames each.

    It has exact depth pictures. Shared by all tests of a session: write nothing into it.
    """
    from bevdepth_plus.synthetic.generate import Settings, make_dataset, scene_names

    root = tmp_path_factory.mktemp("synthetic") / "nuscenes"
    settings = Settings(seed=0, keyframes=3, rig="nuscenes", image_size=(160, 90), depth=True)
    make_dataset(root, "v1.0-mini", scene_names("v1.0-mini", 1, 1), settings, workers=1)
    return root
