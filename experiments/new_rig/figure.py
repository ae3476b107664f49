"""The figure of the experiment: mAP and depth error of each variant on each rig."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

_COLOURS = ("#9a9a9a", "#3b6fb6", "#7fb069", "#e6a23c", "#c0504d", "#6f4e9b", "#2a9d8f")


def draw(
    results: Mapping[str, Any],
    variants: Sequence[str],
    rigs: Mapping[str, str],  # test set -> what to call it
    path: Path,
) -> None:
    """mAP, and the error of the depth that is lifted; bars by rig, lines span the seeds."""
    summary = results["summary"]
    variants = [variant for variant in variants if variant in summary]
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    _bars(left, summary, variants, rigs, lambda metrics: "mAP")
    _bars(right, summary, variants, rigs, lambda metrics: f"depth/{lifted(metrics)}/abs_rel")
    left.set_title("mAP", loc="left")
    right.set_title("abs_rel of the lifted depth (lower is better)", loc="left")
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=7)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def lifted(metrics: Mapping[str, Any]) -> str:
    """Which depth is lifted into the BEV map."""
    return "fused" if "depth/fused/abs_rel" in metrics else "bin"


def _bars(axes: Axes, summary: Mapping, variants: Sequence[str], rigs: Mapping, metric) -> None:
    width = 0.84 / max(1, len(variants))
    for position, variant in enumerate(variants):
        for index, rig in enumerate(rigs):
            metrics = summary[variant].get(rig)
            if not metrics:
                continue
            values = metrics[metric(metrics)]
            x = index - 0.42 + (position + 0.5) * width
            colour = _COLOURS[position % len(_COLOURS)]
            label = variant if index == 0 else None
            axes.bar(x, values["mean"], width * 0.92, color=colour, label=label)
            axes.plot([x, x], [values["min"], values["max"]], color="black", lw=1.2)
    axes.set_xticks(range(len(rigs)), rigs.values())
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", lw=0.4)
    axes.set_axisbelow(True)
