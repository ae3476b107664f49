from __future__ import annotations

from pathlib import Path

import pytest
from mmengine.config import Config

from bevdepth_plus.datasets.pipeline import steps
from bevdepth_plus.errors import DataError

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
STEPS = dict(load=dict(type="Load"), crop=dict(type="Crop"), pack=dict(type="Pack"))


def types(pipeline) -> list[str]:
    return [step["type"] for step in steps(pipeline)]


def test_named_steps_run_in_the_given_order_whatever_the_dicts():
    order = ["load", "crop", "flip", "pack"]
    assert types(dict(order=order, **STEPS)) == ["Load", "Crop", "Pack"]
    assert types(dict(sorted(STEPS.items(), reverse=True), order=order)) == ["Load", "Crop", "Pack"]


def test_a_step_of_none_is_left_out_and_a_list_stays_a_list():
    assert types({**STEPS, "crop": None, "order": ["load", "crop", "pack"]}) == ["Load", "Pack"]
    assert types(list(STEPS.values())) == ["Load", "Crop", "Pack"]


def test_steps_without_an_order_are_refused():
    with pytest.raises(DataError, match=r"named steps \(load, crop, pack\) needs `order`"):
        steps(STEPS)


def test_a_step_that_the_order_forgets_is_named():
    with pytest.raises(DataError, match="does not say when crop runs"):
        steps(dict(STEPS, order=["load", "pack"]))


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.py")), ids=lambda path: path.stem)
def test_a_config_that_mmengine_wrote_runs_the_same_steps(path, tmp_path):
    config = Config.fromfile(path)
    config.dump(tmp_path / "dumped.py")
    dumped = Config.fromfile(tmp_path / "dumped.py")
    for split in ("train", "val", "test"):
        before, after = (c[f"{split}_dataloader"].dataset for c in (config, dumped))
        while "dataset" in before:
            before, after = before.dataset, after.dataset
        assert steps(before.get("pipeline", ())) == steps(after.get("pipeline", ()))


def test_boxes_that_only_a_lost_camera_saw_can_be_dropped():
    order = Config.fromfile(CONFIGS / "_base_" / "nuscenes.py").order
    assert order.index("drop_cameras") < order.index("drop_boxes")
