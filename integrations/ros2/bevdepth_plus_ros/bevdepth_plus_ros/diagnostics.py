"""The state of cameras and stages as the content of diagnostic_msgs/DiagnosticArray."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bevdepth_plus.deploy.results import Result
from bevdepth_plus_ros.pipeline import Pipeline

OK, WARN, ERROR = 0, 1, 2  # DiagnosticStatus
_LEVELS = {"ok": OK, "late": WARN, "waiting": WARN, "missing": ERROR, "corrupt": ERROR}


@dataclass(frozen=True)
class Status:
    """One DiagnosticStatus."""

    name: str
    level: int
    message: str
    values: Mapping[str, str]

    def content(self) -> dict[str, Any]:
        """As ``conversions.fill`` takes it; ROS wants the level as a byte."""
        return {
            "name": self.name,
            "level": bytes([self.level]),
            "message": self.message,
            "hardware_id": "bevdepth_plus",
            "values": [{"key": key, "value": value} for key, value in self.values.items()],
        }


def statuses(pipeline: Pipeline, result: Result | None, age: float | None) -> list[Status]:
    """Every camera, the poses, and the detector.

    Args:
        pipeline: of the node.
        result: the last one.
        age: seconds since it came; None: there is none.
    """
    cameras = [_camera(pipeline, name) for name in pipeline.cameras]
    problem = pipeline.problems.get("pose")
    poses = Status("bevdepth_plus: ego pose", ERROR if problem else OK, problem or "ok", {})
    return [*cameras, poses, _detector(pipeline, result, age)]


def _camera(pipeline: Pipeline, name: str) -> Status:
    title = f"bevdepth_plus: {name}"
    if name in pipeline.problems:
        return Status(title, ERROR, pipeline.problems[name], {})
    states = pipeline.stream.states if pipeline.stream is not None else {}
    if name not in states:
        return Status(title, ERROR, "no camera_info yet", {})
    state = str(getattr(states[name], "value", states[name]))
    return Status(title, _LEVELS.get(state, ERROR), state, {})


def _detector(pipeline: Pipeline, result: Result | None, age: float | None) -> Status:
    title = "bevdepth_plus: detector"
    if result is None or age is None:
        return Status(title, WARN, "no result yet", {})
    values = {f"{stage}, ms": f"{time:.1f}" for stage, time in result.milliseconds.items()}
    values |= {
        "cameras": f"{len(result.cameras)} of {len(pipeline.cameras)}",
        "past frames": str(result.past),
        "seconds since the last result": f"{age:.2f}",
    }
    values |= {f"missing {name}": why for name, why in result.missing.items()}
    if result.reset:
        return Status(title, WARN, f"the past was forgotten: {result.reset}", values)
    if result.missing:
        return Status(title, WARN, f"boxes of {values['cameras']} cameras", values)
    if result.world_T_ego is None:
        return Status(title, WARN, "no ego pose: the past is not used", values)
    return Status(title, OK, "ok", values)
