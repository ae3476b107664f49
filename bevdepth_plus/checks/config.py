"""A config held against the data that it shall train on."""

from __future__ import annotations

from pathlib import Path

from mmdet3d.registry import DATASETS
from mmengine.config import Config

from bevdepth_plus.checks.findings import Findings
from bevdepth_plus.datasets.nuscenes_dataset import NuScenesBEVDataset
from bevdepth_plus.datasets.pipeline import steps
from bevdepth_plus.engine.launch import load_config
from bevdepth_plus.engine.preflight import check, datasets_of
from bevdepth_plus.geometry.bev_grid import BEVGrid


def check_config(path: str) -> tuple[Config, Findings]:
    """A config and what it says about itself before training.

    Raises:
        DataError: its parts contradict each other.
    """
    cfg = load_config(path, None, None)
    return cfg, Findings(notes=check(cfg))


def dataset_of(cfg: Config, infos: Path) -> NuScenesBEVDataset:
    """The training data set of a config over another info file.

    Raises:
        DataError: the config's classes, cameras or frames do not fit the file, or there is nothing
            to train on.
    """
    (first, *_) = datasets_of(cfg, "train")
    return DATASETS.build({**first, "ann_file": str(infos.resolve()), "indices": None})


def drops_not_finite(cfg: Config) -> bool:
    """Whether the training drops LiDAR points without finite coordinates."""
    (first, *_) = datasets_of(cfg, "train")
    return any(step.get("drop_not_finite", False) for step in steps(first["pipeline"]))


def grid_of(cfg: Config) -> BEVGrid:
    """The config's BEV grid."""
    return BEVGrid(**cfg.model.grid)
