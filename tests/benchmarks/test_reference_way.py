"""The reference way that ours is timed against gives the same numbers."""

from __future__ import annotations

from pathlib import Path

import gpu_model
import pytest
from detector_timing.agreement import ways_agree
from detector_timing.bench import Bench

from bevdepth_plus.datasets.create_infos import create_info_files

CONFIG = Path(__file__).resolve().parents[2] / "configs" / "synthetic_small.py"


@pytest.mark.slow
def test_the_reference_way_gives_our_outputs_losses_and_gradients(synthetic_root, tmp_path):
    create_info_files(synthetic_root, "v1.0-mini", tmp_path)
    options = gpu_model.small_options()
    for split in ("train", "val"):
        options[f"{split}_dataloader.dataset.ann_file"] = str(
            tmp_path / f"bevdepth_plus_infos_{split}.pkl"
        )
    found = ways_agree(Bench(CONFIG, synthetic_root, "cpu", options), size=2)
    assert found.pop("most_boxes_more_or_less") == 0
    assert set(found) >= {"outputs", "scores", "loss_heatmap", "loss_bbox", "gradient_norm"}
    assert max(found.values()) < 1e-4, found
