"""The numbers of a check as a short text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bevdepth_plus.checks.findings import Findings
from bevdepth_plus.evaluation.tables import text_grid


def report_text(findings: Findings) -> str:
    """Tables of classes and cameras, a line each for the rest, then notes and problems."""
    numbers = findings.numbers
    parts = [_classes(numbers["classes"]), _cameras(numbers["cameras"]), _lines(numbers)]
    return "\n\n".join([part for part in parts if part] + [findings.text()])


def _classes(classes: Mapping[str, Mapping]) -> str:
    ranges = list(next(iter(classes.values()))["by_range"]) if classes else []
    header = ["class", "objects", "points", "none", "unknown", *ranges, "l x w x h m"]
    rows = [
        [
            name,
            *(str(c[key]) for key in ("objects", "with_points", "without_points")),
            str(c["points_unknown"]),
            *(str(c["by_range"][r]) for r in ranges),
            " x ".join(f"{side:g}" for side in c["median_size"] or ()),
        ]
        for name, c in classes.items()
    ]
    return text_grid([header, *rows], rules=(1,))


def _cameras(cameras: Mapping[str, Mapping]) -> str:
    header = ["camera", "images", "size", "box centres"]
    rows = [
        [
            name,
            str(camera["images"]),
            ", ".join(f"{width} x {height}" for width, height in camera["sizes"]),
            str(camera["boxes"]),
        ]
        for name, camera in cameras.items()
    ]
    return text_grid([header, *rows], rules=(1,)) if rows else ""


def _lines(numbers: Mapping[str, Any]) -> str:
    times, sweeps = numbers["times"], numbers["sweeps"]
    seconds = numbers["seconds_a_sample"]
    lines = [
        f"{times['samples']} samples in {times['scenes']} scenes, "
        f"{_or_dash(times['median_step_s'])} s apart (longest {_or_dash(times['longest_step_s'])})",
        f"{sweeps['sweeps']} sweeps of {_or_dash(sweeps['median_points'])} points, farthest "
        f"{_or_dash(sweeps['farthest_m'])} m; {sweeps['of_them_hold_points']} of "
        f"{sweeps['boxes_with_counted_points']} boxes hold the points that the file counts",
        f"reading a sample takes {seconds['images']:.3f} s for images and {seconds['sweep']:.3f} s "
        "for the sweep",
    ]
    if "self_test" in numbers:
        scores = numbers["self_test"]
        lines.append(
            f"ground truth as prediction: mAP {_or_dash(scores['mAP'])}, "
            f"NDS {_or_dash(scores['NDS'])}"
        )
    return "\n".join(lines)


def _or_dash(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
