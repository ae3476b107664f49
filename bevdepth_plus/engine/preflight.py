"""What a config must agree on, looked at before anything is built or trained.

A config says some things twice: the classes of the data set and of the head, the grid of the model
and the ranges of the evaluation. What is left out is filled in; what disagrees is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mmengine.config import Config

from bevdepth_plus.datasets.classes import CLASSES
from bevdepth_plus.errors import DataError
from bevdepth_plus.geometry.bev_grid import BEVGrid

SPLITS = ("train", "val", "test")
# Transforms that make depth maps, the teachers of depth.
DEPTH_TRANSFORMS = ("LidarDepthMaps", "LoadDenseDepth")
TAUGHT_BY_DEPTH = ("depth_loss", "metric_depth_head")  # parts of the model


def complete(cfg: Config) -> None:
    """Fill in what follows from other parts: the head's classes and the evaluators' grid."""
    classes = classes_of(cfg, "train") or classes_of(cfg, "test")
    head = cfg.get("model", {}).get("bbox_head")
    if head is not None and classes is not None and "classes" not in head:
        head.classes = classes
    grid = cfg.get("model", {}).get("grid")
    for split in SPLITS:
        evaluators = cfg.get(f"{split}_evaluator") or []
        for evaluator in [evaluators] if isinstance(evaluators, Mapping) else evaluators:
            if grid is not None and _type(evaluator) == "NuScenesBEVMetric":
                evaluator.setdefault("grid", grid)


def check(cfg: Config) -> list[str]:
    """Hold the parts of a config against each other.

    Returns:
        What a user should know before a long training, a line each.

    Raises:
        DataError: two parts contradict each other.
    """
    _check_classes(cfg)
    _check_depth_labels(cfg)
    _check_cells(cfg)
    return list(_grid_notes(cfg))


def classes_of(cfg: Config, split: str) -> list[str] | None:
    """Class names of a split's data set, in the order of its labels; None without one."""
    for dataset in datasets_of(cfg, split):
        return list(dataset.get("metainfo", {}).get("classes", CLASSES))
    return None


def datasets_of(cfg: Config, split: str) -> Iterator[Mapping]:
    """The innermost dataset configs of a split's dataloader, below any wrappers."""
    todo = [cfg.get(f"{split}_dataloader") or {}]
    while todo:
        node = todo.pop(0)
        inner = [node["dataset"]] if "dataset" in node else node.get("datasets", [])
        todo += inner
        if not inner and "pipeline" in node:
            yield node


def _check_classes(cfg: Config) -> None:
    expected = classes_of(cfg, "train") or classes_of(cfg, "test")
    for split in SPLITS:
        for dataset in datasets_of(cfg, split):
            classes = list(dataset.get("metainfo", {}).get("classes", CLASSES))
            if classes != expected:
                raise DataError(
                    f"{split}_dataloader's data set has the classes {_names(classes)}, the others "
                    f"have {_names(expected)}; give all the same metainfo=dict(classes=...)"
                )
    head = list(cfg.get("model", {}).get("bbox_head", {}).get("classes", expected or ()))
    if expected is not None and head != expected:
        raise DataError(
            f"model.bbox_head.classes are {_names(head)}, the data set's metainfo.classes are "
            f"{_names(expected)}, in this order; leave bbox_head.classes out to have them filled in"
        )


def _check_depth_labels(cfg: Config) -> None:
    taught = [part for part in TAUGHT_BY_DEPTH if cfg.get("model", {}).get(part)]
    for dataset in datasets_of(cfg, "train") if taught else ():
        steps = [_type(step) for step in dataset["pipeline"]]
        if not any(step in DEPTH_TRANSFORMS or not _is_ours(step) for step in steps):
            raise DataError(
                f"model.{taught[0]} learns from depth maps, and nothing in the training pipeline "
                f"({', '.join(steps)}) makes any: add LoadLidarPoints and LidarDepthMaps, or set "
                + " and ".join(f"model.{part}=None" for part in taught)
            )


def _check_cells(cfg: Config) -> None:
    """The BEV encoder halves the map some times and brings it back to its size."""
    model = cfg.get("model", {})
    strides = model.get("bev_encoder", {}).get("neck", {}).get("upsample_strides")
    if not strides or not model.get("grid"):
        return
    coarsest = int(max(strides))
    for name, cells in zip("xy", _grid(model["grid"]).size, strict=False):
        if cells % coarsest:
            raise DataError(
                f"model.grid has {cells} cells along {name}; model.bev_encoder needs a multiple of "
                f"{coarsest}: choose limits a multiple of {coarsest} cells apart"
            )


def _grid_notes(cfg: Config) -> Iterator[str]:
    model = cfg.get("model", {})
    grid, bins = model.get("grid"), model.get("depth_bins")
    if not grid or not bins:
        return
    reach = _grid(grid).reach
    if bins.stop < reach:
        yield (
            f"objects beyond {bins.stop:g} m are taught but cannot be lifted: model.depth_bins "
            f"stop at {bins.stop:g} m, the BEV grid reaches {reach:g} m"
        )


def _grid(grid: Mapping) -> BEVGrid:
    try:
        return BEVGrid(**grid)
    except (TypeError, ValueError) as error:
        raise DataError(f"model.grid: {error}") from None


def _is_ours(step: str) -> bool:
    """Whether a transform is this project's, so that it is known to make no depth maps."""
    from mmdet3d.registry import TRANSFORMS

    built = TRANSFORMS.get(step)
    return built is not None and built.__module__.startswith("bevdepth_plus.")


def _type(node: Any) -> str:
    kind = node.get("type", "") if isinstance(node, Mapping) else type(node)
    return kind if isinstance(kind, str) else kind.__name__


def _names(names: Sequence[str]) -> str:
    return f"[{', '.join(names)}]"
