"""What tools/infer.py tells at the end of a run."""

from __future__ import annotations

from collections import Counter

from bevdepth_plus.deploy.results import Boxes, Result
from bevdepth_plus.deploy.stage_times import StageTimes

LISTED = 10  # boxes that are printed where there is one moment only


class Summary:
    """Counts over the results of a run."""

    def __init__(self) -> None:
        self.times = StageTimes()
        self.moments = self.boxes = self.with_past = 0
        self.missing: Counter[str] = Counter()
        self.reasons: dict[str, str] = {}
        self.resets: Counter[str] = Counter()
        self.last: Result | None = None

    def add(self, result: Result, confident: int) -> None:
        """One result, and how many of its boxes count."""
        self.last = result
        self.moments += 1
        self.boxes += confident
        self.with_past += result.past > 0
        self.missing.update(result.missing.keys())
        self.reasons.update(result.missing)
        self.resets.update([result.reset] if result.reset else [])

    def text(self, score_threshold: float) -> str:
        """Lines for the user."""
        lines = [f"moments: {self.moments}, boxes with a score of {score_threshold:g} or more: "
                 f"{self.boxes}, moments with a past: {self.with_past}"]  # fmt: skip
        lines += [
            f"camera {name} was missing in {count} of {self.moments} moments; "
            f"the last time: {self.reasons[name]}"
            for name, count in sorted(self.missing.items())
        ]
        lines += [f"the past was forgotten {n} times: {why}" for why, n in self.resets.items()]
        if self.moments == 1 and self.last is not None:
            lines += box_lines(self.last.boxes, score_threshold)
        return "\n".join([*lines, self.times.table()])


def box_lines(boxes: Boxes, score_threshold: float) -> list[str]:
    """The best boxes in words: class, score, where it is."""
    best = sorted(boxes, key=lambda box: -box.score)[:LISTED]
    return [
        f"  {box.name} {box.score:.2f}: {box.centre[0]:.1f} m ahead, {box.centre[1]:.1f} m to the "
        f"left; {box.size[0]:.1f} x {box.size[1]:.1f} x {box.size[2]:.1f} m"
        for box in best
        if box.score >= score_threshold
    ]
