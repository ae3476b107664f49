from __future__ import annotations

from pathlib import Path

import pytest
import torch

from bevdepth_plus.pointmaps.two_view import TwoViewConfig, TwoViewModel

SMALL = dict(
    encoder_dim=32,
    encoder_depth=1,
    encoder_heads=2,
    decoder_dim=32,
    decoder_depth=10,
    decoder_heads=2,
    dpt_layer_dims=(8, 8, 8, 8),
    dpt_feature_dim=8,
    dpt_last_dim=4,
)


@pytest.fixture(scope="session")
def recorded(shared_dir) -> Path:
    """The recorded results of the public pointmap codes."""
    folder = shared_dir / "golden" / "pointmaps"
    if not folder.is_dir():
        pytest.skip(f"no recorded pointmaps at {folder}")
    return folder


@pytest.fixture(scope="session")
def small_model() -> TwoViewModel:
    torch.manual_seed(0)
    return TwoViewModel(TwoViewConfig(descriptor_dim=6, **SMALL)).eval()


@pytest.fixture(scope="session")
def load_recorded(recorded):
    """Inputs and expected results of one file of recorded functions."""

    def load(name: str) -> dict:
        content = torch.load(recorded / "functions" / f"{name}.pth", weights_only=True)
        return dict(inputs=content["inputs"], expected=content["expected"])

    return load
