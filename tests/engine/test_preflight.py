"""A config that contradicts itself is refused before anything is built."""

from __future__ import annotations

from pathlib import Path

import pytest
from mmengine.config import Config

import bevdepth_plus.plugin  # noqa: F401
from bevdepth_plus.engine.preflight import check, complete
from bevdepth_plus.errors import DataError

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
OWN = ["tram", "cyclist", "car"]


@pytest.fixture
def cfg() -> Config:
    return Config.fromfile(CONFIGS / "bevdepth_r50_256x704_20e_cbgs_2key_da_ema.py")


def give_classes(cfg: Config, *splits: str) -> None:
    for split in splits:
        dataset = cfg[f"{split}_dataloader"].dataset
        while "dataset" in dataset:
            dataset = dataset.dataset
        dataset.metainfo = dict(classes=OWN)


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.py")), ids=lambda path: path.stem)
def test_our_own_configs_agree_with_themselves(path):
    config = Config.fromfile(path)
    complete(config)
    assert check(config) == []


def test_the_heads_classes_and_the_evaluators_grid_are_filled_in(cfg):
    give_classes(cfg, "train", "val", "test")
    complete(cfg)
    check(cfg)
    assert cfg.model.heads.boxes.classes == OWN
    assert cfg.val_evaluator.grid == cfg.test_evaluator.grid == cfg.model.grid


def test_data_sets_of_other_classes_are_refused(cfg):
    give_classes(cfg, "train")
    with pytest.raises(DataError, match=r"val_dataloader's data set has the classes \[car, truck"):
        check(cfg)


def test_a_head_that_numbers_the_classes_in_another_way_is_refused(cfg):
    give_classes(cfg, "train", "val", "test")
    cfg.model.heads.boxes.classes = sorted(OWN)
    with pytest.raises(DataError, match=r"heads.boxes.classes are \[car, cyclist, tram\]"):
        check(cfg)


def without_depth_maps(cfg) -> dict:
    """The training pipeline, after its steps that make depth maps are gone."""
    pipeline = cfg.train_dataloader.dataset.dataset.pipeline
    del pipeline.load_points, pipeline.depth_labels
    return pipeline


@pytest.mark.parametrize("taught", ["loss", "priors"])
def test_a_depth_loss_without_depth_maps_is_refused(cfg, taught):
    cfg.model.depth.loss = None
    cfg.model.depth[taught] = dict(any=dict(type="AnyLoss"))
    check(cfg)
    without_depth_maps(cfg)
    with pytest.raises(
        DataError, match=f"model.depth.{taught} learns from depth maps, and nothing in"
    ):
        check(cfg)


def test_somebodys_own_transform_may_make_the_depth_maps(cfg):
    without_depth_maps(cfg).depth_labels = dict(type="MyStereoDepth")
    check(cfg)


@pytest.mark.parametrize(
    ("kind", "needed"),
    [("MatchedDepthOverTime", "LoadOpticalFlow"), ("TeacherDepth", "LoadTeacherDepth")],
)
def test_a_loss_without_labels_needs_its_own_loader(cfg, kind, needed):
    cfg.model.depth.map_losses = dict(mine=dict(type=kind))
    with pytest.raises(DataError, match=f"map_losses.mine needs {needed} in the training"):
        check(cfg)
    cfg.train_dataloader.dataset.dataset.pipeline.load_flow = dict(type=needed)
    check(cfg)


def test_a_loss_over_time_needs_a_past(cfg):
    cfg.model.depth.map_losses = dict(mine=dict(type="MatchedDepthOverTime", source="rigid"))
    check(cfg)
    cfg.model.temporal.num_frames = 1
    with pytest.raises(DataError, match="map_losses.mine compares frames, and the model uses one"):
        check(cfg)


def test_a_grid_beyond_the_depth_bins_is_noted(cfg):
    cfg.model.grid.x = (-102.4, 102.4, 0.8)
    (note,) = check(cfg)
    assert note.startswith("objects beyond 58 m are taught but cannot be lifted")


def test_a_grid_that_is_no_whole_number_of_cells_is_refused(cfg):
    cfg.model.grid.x = (-50.0, 50.0, 0.7)
    with pytest.raises(DataError, match=r"model.grid: BEV grid axis x .* is 142.86 cells"):
        check(cfg)


def test_a_grid_that_the_bev_encoder_cannot_halve_is_refused(cfg):
    cfg.model.grid.x = (-50.0, 50.0, 1.0)
    with pytest.raises(
        DataError, match="100 cells along x; model.temporal.encoder needs a multiple of"
    ):
        check(cfg)
