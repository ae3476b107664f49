"""Small rendered data sets; nothing may be written into them."""

from __future__ import annotations

from pathlib import Path

import pytest
from nuscenes import NuScenes

from bevdepth_plus.synthetic.generate import Settings, make_dataset

REPO_ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def nusc(synthetic_root: Path) -> NuScenes:
    """The shared synthetic root (two scenes, three key frames each), loaded by the devkit."""
    return NuScenes("v1.0-mini", str(synthetic_root), verbose=False)


@pytest.fixture(scope="session")
def depth_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One key frame of five cameras without shutter delays, with depth pictures."""
    root = tmp_path_factory.mktemp("synthetic_depth") / "nuscenes"
    rig = str(REPO_ROOT / "configs/rigs/five_cameras.yaml")
    make_dataset(root, "v1.0-mini", ["scene-0061"], Settings(3, 1, rig, (400, 240), True))
    return root
