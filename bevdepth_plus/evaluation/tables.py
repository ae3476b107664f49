"""Scores as plain text tables for the terminal and the log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_ERRORS = {
    "trans_err": "ATE m",
    "scale_err": "ASE",
    "orient_err": "AOE rad",
    "vel_err": "AVE m/s",
    "attr_err": "AAE",
}
_DEPTH = ("abs_rel", "abs_diff", "rmse", "silog", "d1", "d2", "d3")
_TEMPORAL = ("order_agreement", "warped_diff", "warped_rel", "flicker", "flicker_rel")


def detection_table(result: Mapping[str, Any]) -> str:
    """One row a class, then the means; ``result`` as of ``evaluate_detections``."""
    per_class = result["per_class"]
    distances = list(next(iter(per_class.values()))["ap_by_distance"]) if per_class else []
    header = ["class", "boxes", "AP", *(f"@{d} m" for d in distances), *_ERRORS.values()]
    rows = [
        [
            name,
            str(scores["num_ground_truth"]),
            _number(scores["ap"]),
            *(_number(scores["ap_by_distance"][d]) for d in distances),
            *(_number(scores[error]) for error in _ERRORS),
        ]
        for name, scores in per_class.items()
    ]
    mean = [
        "mean",
        str(result["num_ground_truth"]),
        _number(result["mAP"]),
        *("" for _ in distances),
        *(_number(result["tp_errors"][error]) for error in _ERRORS),
    ]
    summary = (
        f"NDS {_number(result['NDS'])}   mAP {_number(result['mAP'])}   "
        f"({result['num_samples']} samples, {result['num_predictions']} boxes predicted)"
    )
    return f"{text_grid([header, *rows, mean], rules=(1, len(rows) + 1))}\n{summary}"


def depth_table(name: str, depth: Mapping[str, Any]) -> str:
    """One row for all cells, each range and each camera; ``depth`` as of ``DepthSums.compute``."""
    header = [f"{name} depth", "cells", *_DEPTH]
    groups = {
        "all": depth["overall"],
        **{f"{name} m": metrics for name, metrics in depth["by_range"].items()},
        **depth["by_camera"],
    }
    rows = [
        [name, str(metrics["count"]), *(_number(metrics[key]) for key in _DEPTH)]
        for name, metrics in groups.items()
    ]
    return text_grid([header, *rows], rules=(1, 2, 2 + len(depth["by_range"])))


def temporal_depth_table(name: str, depth: Mapping[str, Any]) -> str:
    """As :func:`depth_table`, of ``TemporalDepthSums.compute``."""
    header = [f"{name} depth over time", "points", *_TEMPORAL]
    groups = {
        "all": depth["overall"],
        **{f"{name} m": metrics for name, metrics in depth["by_range"].items()},
        **depth["by_camera"],
    }
    rows = [
        [name, str(metrics["points"]), *(_number(metrics[key]) for key in _TEMPORAL)]
        for name, metrics in groups.items()
    ]
    return text_grid([header, *rows], rules=(1, 2, 2 + len(depth["by_range"])))


def map_table(layers: Mapping[str, Any]) -> str:
    """One row a layer of the map; ``layers`` as of ``LayerSums.compute``."""
    rows = [[name, str(each["cells"]), _number(each["iou"])] for name, each in layers.items()]
    return text_grid([["map layer", "cells", "IoU"], *rows], rules=(1,))


def text_grid(rows: Sequence[Sequence[str]], rules: Sequence[int]) -> str:
    """Columns aligned, the first to the left; a rule above each row index in ``rules``."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for index, row in enumerate(rows):
        if index in rules:
            lines.append("-" * (sum(widths) + 2 * (len(widths) - 1)))
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
