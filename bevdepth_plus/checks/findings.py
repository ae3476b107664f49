"""What a check of a data set finds: problems, things to know, and numbers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

SHOWN = 5  # of one kind of problem, in the text; the JSON holds all


@dataclass
class Findings:
    """Everything found so far.

    Attributes:
        problems: what will train wrongly or not at all, a line each.
        notes: what is odd without being wrong, a line each.
        numbers: by the name of the check, for the JSON.
    """

    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    numbers: dict[str, Any] = field(default_factory=dict)

    def add(self, other: Findings) -> None:
        self.problems += other.problems
        self.notes += other.notes
        self.numbers |= other.numbers

    def text(self) -> str:
        """Notes and problems, a line each, long lists cut."""
        parts = [*_cut(self.notes, "note"), *_cut(self.problems, "PROBLEM")]
        return "\n".join([*parts, f"problems: {len(self.problems)}"])


def _cut(lines: list[str], kind: str) -> Iterable[str]:
    yield from (f"{kind}: {line}" for line in lines[:SHOWN])
    if len(lines) > SHOWN:
        yield f"{kind}: and {len(lines) - SHOWN} more, see the JSON report"
