"""What a config must agree on, looked at before anything is built or trained.

A config says some things twice: the classes of the data set and of the head, the grid of the model
and the ranges of the evaluation. What is left out is filled in; what disagrees is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mmengine.config import Config

from bevdepth_plus.classes import CLASSES
from bevdepth_plus.datasets.pipeline import steps
from bevdepth_plus.engine.cfg_options import accepted_names
from bevdepth_plus.errors import DataError
from bevdepth_plus.geometry.bev_grid import BEVGrid

SPLITS = ("train", "val", "test")
# Transforms that make depth maps, the teachers of depth.
DEPTH_TRANSFORMS = ("LidarDepthMaps", "LoadDenseDepth")
TAUGHT_BY_DEPTH = ("loss", "priors")  # options of model.depth
# What losses of model.depth.map_losses need from the training pipeline.
NEEDED_BY_MAP_LOSSES = {
    "MatchedDepthOverTime": "LoadOpticalFlow",
    "TeacherDepth": "LoadTeacherDepth",
}


def complete(cfg: Config) -> None:
    """Fill in what follows from other parts: the heads' classes and the evaluators' grid."""
    classes = classes_of(cfg, "train") or classes_of(cfg, "test")
    for _, head in _heads_of_classes(cfg):
        if classes is not None:
            head.setdefault("classes", classes)
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
    _check_map_losses(cfg)
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
    for name, head in _heads_of_classes(cfg):
        classes = list(head.get("classes", expected or ()))
        if expected is not None and classes != expected:
            raise DataError(
                f"model.heads.{name}.classes are {_names(classes)}, the data set's "
                f"metainfo.classes are {_names(expected)}, in this order; leave "
                f"heads.{name}.classes out to have them filled in"
            )


def _check_depth_labels(cfg: Config) -> None:
    depth = cfg.get("model", {}).get("depth", {})
    taught = [part for part in TAUGHT_BY_DEPTH if depth.get(part)]
    for dataset in datasets_of(cfg, "train") if taught else ():
        types = [_type(step) for step in steps(dataset["pipeline"])]
        if not any(name in DEPTH_TRANSFORMS or not _is_ours(name) for name in types):
            raise DataError(
                f"model.depth.{taught[0]} learns from depth maps, and nothing in the training "
                f"pipeline ({', '.join(types)}) makes any: add LoadLidarPoints and LidarDepthMaps, "
                "or set " + " and ".join(f"model.depth.{part}=None" for part in taught)
            )


def _check_map_losses(cfg: Config) -> None:
    model = cfg.get("model", {})
    for name, loss in (model.get("depth", {}).get("map_losses") or {}).items():
        where, kind = f"model.depth.map_losses.{name}", _type(loss)
        if kind.endswith("OverTime") and model.get("temporal", {}).get("num_frames", 1) < 2:
            raise DataError(
                f"{where} compares frames, and the model uses one: set model.temporal.num_frames "
                "(and a fusion) and the data sets' num_frames to 2 or more"
            )
        needed = NEEDED_BY_MAP_LOSSES.get(kind)
        if needed is None or loss.get("source") == "rigid":
            continue
        for dataset in datasets_of(cfg, "train"):
            types = [_type(step) for step in steps(dataset["pipeline"])]
            if not any(step == needed or not _is_ours(step) for step in types):
                raise DataError(
                    f"{where} needs {needed} in the training pipeline, which has "
                    f"{', '.join(types)}; see docs/order_over_time.md"
                )


def _heads_of_classes(cfg: Config) -> Iterator[tuple[str, Mapping]]:
    """The heads that are told the data set's classes, by name."""
    for name, head in cfg.get("model", {}).get("heads", {}).items():
        if "classes" in (accepted_names(head.get("type")) or ()):
            yield name, head


def _check_cells(cfg: Config) -> None:
    """The BEV encoder halves the map some times and brings it back to its size."""
    model = cfg.get("model", {})
    strides = model.get("temporal", {}).get("encoder", {}).get("neck", {}).get("upsample_strides")
    if not strides or not model.get("grid"):
        return
    coarsest = int(max(strides))
    for name, cells in zip("xy", _grid(model["grid"]).size, strict=False):
        if cells % coarsest:
            raise DataError(
                f"model.grid has {cells} cells along {name}; model.temporal.encoder needs a "
                f"multiple of {coarsest}: choose limits a multiple of {coarsest} cells apart"
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
