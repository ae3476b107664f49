"""A table of the stages' times over many results."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np


class StageTimes:
    """Collects wall times by stage, milliseconds."""

    def __init__(self) -> None:
        self._times: dict[str, list[float]] = {}

    def add(self, milliseconds: Mapping[str, float]) -> None:
        """The times of one moment."""
        for stage, spent in milliseconds.items():
            self._times.setdefault(stage, []).append(spent)

    def table(self) -> str:
        """Median, largest and first time of each stage, and their sums over the stages.

        The first moment warms up: maps, plans and memory are made.
        """
        rows = [
            (stage, float(np.median(spent)), max(spent), spent[0])
            for stage, spent in self._times.items()
        ]
        total = (
            "all stages",
            sum(row[1] for row in rows),
            sum(row[2] for row in rows),
            sum(row[3] for row in rows),
        )
        lines = [f"{'stage':<14}{'median ms':>11}{'largest ms':>12}{'first ms':>11}"]
        lines += [
            f"{name:<14}{median:>11.1f}{most:>12.1f}{first:>11.1f}"
            for name, median, most, first in [*rows, total]
        ]
        return "\n".join(lines)
