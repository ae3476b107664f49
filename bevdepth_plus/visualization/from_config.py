"""Samples, ground truth and predictions for drawing, by a training config."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from mmdet3d.registry import DATASETS, MODELS
from mmdet3d.structures import Det3DDataSample
from mmengine.config import Config, DictAction
from mmengine.dataset import BaseDataset, pseudo_collate
from mmengine.registry import init_default_scope
from mmengine.runner import CheckpointLoader
from torch import nn

from bevdepth_plus.datasets.transforms import LoadLidarPoints
from bevdepth_plus.engine.hooks import check_weights_fit
from bevdepth_plus.engine.launch import load_weights_from
from bevdepth_plus.errors import DataError
from bevdepth_plus.geometry.bev_grid import BEVGrid
from bevdepth_plus.visualization.load import load_scene
from bevdepth_plus.visualization.scene import Boxes, MapLayers, Scene, boxes_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that all tools have which draw samples of a config."""
    parser.add_argument("--out", type=Path, required=True, help="folder for the pictures")
    parser.add_argument(
        "--samples",
        nargs="+",
        default=["4"],
        metavar="N|TOKEN",
        help="how many, spread evenly over the split, or which sample tokens (default: 4)",
    )
    parser.add_argument("--split", choices=["train", "val", "test"], default="val")
    parser.add_argument(
        "--cfg-options", nargs="+", action=DictAction, help="settings to override, key=value"
    )


def build_dataset(cfg: Config, split: str) -> BaseDataset:
    """The dataset of ``{split}_dataloader``, in test mode: nothing dropped, nothing augmented.

    The training split borrows the validation pipeline.
    """
    init_default_scope(cfg.get("default_scope", "mmdet3d"))
    dataset = cfg[f"{split}_dataloader"]["dataset"].copy()
    while "dataset" in dataset:  # class-balanced and repeating wrappers draw samples twice
        dataset = dataset["dataset"].copy()
    dataset["test_mode"] = True
    if split == "train":
        dataset["pipeline"] = cfg.val_dataloader.dataset.get("pipeline", ())
    return DATASETS.build(dataset)


def build_model(cfg: Config, checkpoint: str, device: torch.device) -> nn.Module:
    """The config's model with a checkpoint's weights, ready to predict.

    Raises:
        DataError: the checkpoint does not exist, is broken or belongs to another model.
    """
    init_default_scope(cfg.get("default_scope", "mmdet3d"))
    load_weights_from(cfg, checkpoint)
    content = CheckpointLoader.load_checkpoint(checkpoint, map_location="cpu")
    model = MODELS.build(cfg.model)
    check_weights_fit(model, content)
    model.load_state_dict(content.get("state_dict", content), strict=False)
    model.to(device)
    model.eval()
    return model


def choose_samples(dataset: BaseDataset, wanted: Sequence[str]) -> list[int]:
    """Indices of the samples named by token, or of so many spread evenly over the data set.

    Raises:
        DataError: a token is not in the data set.
    """
    size = len(dataset)
    if len(wanted) == 1 and _is_count(wanted[0]) and int(wanted[0]) <= size:
        count = int(wanted[0])
        return [index * size // count for index in range(count)]
    index_of = {dataset.get_data_info(i)["token"]: i for i in range(size)}
    if len(wanted) == 1 and _is_count(wanted[0]) and wanted[0] not in index_of:
        return list(range(size))  # more than there are
    for token in wanted:
        if token not in index_of:
            where = dataset.ann_file or "the data set"
            raise DataError(f"sample {token} is not in {where}; give one of its tokens")
    return [index_of[token] for token in wanted]


def _is_count(wanted: str) -> bool:
    """Whether a word may be a number of samples; a token may be 000123, as KITTI's are."""
    return wanted.isdecimal() and not wanted.startswith("0")


def scene_and_ground_truth(dataset: BaseDataset, index: int, title: str) -> tuple[Scene, Boxes]:
    """The key frame of a sample and its ground truth."""
    info = dataset.get_data_info(index)
    loaders = [t for t in dataset.pipeline.transforms if isinstance(t, LoadLidarPoints)]
    scene = load_scene(info, title, lidar=loaders[0] if loaders else None)
    instances = {
        "bboxes_3d": info["ann_info"]["gt_bboxes_3d"],
        "labels_3d": info["ann_info"]["gt_labels_3d"],
    }
    return scene, boxes_of(instances, tuple(dataset.metainfo["classes"]))


def predict(
    model: nn.Module, dataset: BaseDataset, index: int
) -> tuple[Boxes, Det3DDataSample, tuple[int, int]]:
    """What the model finds in a sample.

    Returns:
        The boxes, the whole data sample (with ``pred_depths``), and the height and width of the
        network's images.
    """
    item = dataset[index]
    with torch.no_grad():
        (sample,) = model.test_step(pseudo_collate([item]))
    predictions = boxes_of(sample.pred_instances_3d, tuple(dataset.metainfo["classes"]))
    return predictions, sample, tuple(item["inputs"]["img"].shape[-2:])


def depth_maps(sample: Det3DDataSample, every: bool = False) -> dict[str, np.ndarray]:
    """Predicted depth ``[N, Hf, Wf]`` in metres by name: the one that places features in the BEV.

    ``every``: all that the model predicts.
    """
    depths = {name: depth.float().cpu().numpy() for name, depth in sample.pred_depths.items()}
    if every:
        return depths
    lifted = "fused" if "fused" in depths else "bin"
    return {lifted: depths[lifted]}


def map_layers(sample: Det3DDataSample, grid: BEVGrid) -> MapLayers | None:
    """The map that a model drew, of a sample of :func:`predict`; None without a map head."""
    if "pred_map" not in sample:
        return None
    values = sample.pred_map.float().cpu().numpy()
    ends = ((lower, upper) for lower, upper, _ in (grid.x, grid.y))
    return MapLayers(tuple(sample.map_layers), values, *ends)
