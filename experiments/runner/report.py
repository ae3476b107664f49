"""From the reports of many runs to a few numbers and a table."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bevdepth_plus.files import atomic_write

_ERRORS = {
    "trans_err": "mATE",
    "scale_err": "mASE",
    "orient_err": "mAOE",
    "vel_err": "mAVE",
    "attr_err": "mAAE",
}
_DEPTH = ("abs_rel", "silog", "rmse", "d1")
_OVER_TIME = ("order_agreement", "warped_rel", "flicker_rel")


def headline(report: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a ``metrics.json`` that experiments compare, flat."""
    flat = _boxes(report) if "mAP" in report else {}
    for depth, scores in (report.get("depth") or {}).items():
        flat |= {f"depth/{depth}/{metric}": scores["overall"][metric] for metric in _DEPTH}
        for group in ("by_range", "by_baseline"):  # the latter of depth from motion alone
            for name, metrics in scores.get(group, {}).items():
                flat[f"depth/{depth}/{group}/{name}/abs_rel"] = metrics["abs_rel"]
    for depth, scores in (report.get("depth_over_time") or {}).items():
        overall = scores["overall"]
        flat |= {f"depth_over_time/{depth}/{metric}": overall[metric] for metric in _OVER_TIME}
    return {name: value for name, value in flat.items() if value is not None}


def _boxes(report: Mapping[str, Any]) -> dict[str, Any]:
    flat = {"mAP": report["mAP"], "NDS": report["NDS"]}
    flat |= {_ERRORS[name]: value for name, value in report["tp_errors"].items()}
    for name, scores in report["per_class"].items():
        flat |= {f"AP/{name}": scores["ap"], f"AVE/{name}": scores["vel_err"]}
    return flat


def summary(runs: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """``{variant: {test set: {metric: {mean, min, max, seeds}}}}``."""
    collected: dict[str, Any] = {}
    for variant, seeds in runs.items():
        for entry in seeds.values():
            for test, result in entry["tests"].items():
                values = collected.setdefault(variant, {}).setdefault(test, {})
                for metric, value in result["metrics"].items():
                    values.setdefault(metric, []).append(value)
    return {
        variant: {
            test: {metric: _spread(values) for metric, values in metrics.items()}
            for test, metrics in tests.items()
        }
        for variant, tests in collected.items()
    }


def spread(values: Mapping[str, float] | None, digits: int = 3) -> str:
    """``0.351 (0.340..0.362)``; without the brackets for one seed."""
    if values is None:
        return "-"
    mean = f"{values['mean']:.{digits}f}"
    if values["seeds"] == 1:
        return mean
    return f"{mean} ({values['min']:.{digits}f}..{values['max']:.{digits}f})"


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def publish(text: str, results: Path) -> None:
    """Print a report, and write it as Markdown beside the results file."""
    print(text)
    with atomic_write(results.with_suffix(".md"), "w") as file:
        file.write(f"{text}\n")


def _spread(values: Sequence[float]) -> dict[str, float]:
    return {
        "mean": statistics.fmean(values),
        "min": min(values),
        "max": max(values),
        "seeds": len(values),
    }
