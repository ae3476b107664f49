"""Results as Autoware's DetectedObjects, and a recording of them that needs no ROS.

What differs from Autoware's own camera nodes (BEVDet, StreamPETR), which leave these out: the
orientation is said to be available, the twist is that of the object's frame with its sign, and the
position has a covariance where errors were measured.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import IO, Any

from bevdepth_plus.deploy.packages import require_package
from bevdepth_plus.deploy.recordings.autoware_messages import (
    AVAILABLE,
    BOUNDING_BOX,
    DEFINITION,
    DETECTED_OBJECTS,
    LABELS,
    SIGN_UNKNOWN,
)
from bevdepth_plus.deploy.recordings.frames import RecordedFrame
from bevdepth_plus.deploy.recordings.recorder import FileRecorder
from bevdepth_plus.deploy.results import Box, Boxes
from bevdepth_plus.errors import DataError
from bevdepth_plus.evaluation.position_errors import CovarianceTable

EXTRA = "mcap"
# Cones and barriers are HAZARD as in Autoware's StreamPETR node; its BEVDet node says UNKNOWN.
LABEL_OF_CLASS = {
    "car": "CAR",
    "truck": "TRUCK",
    "trailer": "TRAILER",
    "bus": "BUS",
    "construction_vehicle": "TRUCK",
    "bicycle": "BICYCLE",
    "motorcycle": "MOTORCYCLE",
    "pedestrian": "PEDESTRIAN",
    "traffic_cone": "HAZARD",
    "barrier": "HAZARD",
}
WITHOUT_FRONT = frozenset({"traffic_cone", "barrier"})


@dataclass(frozen=True)
class ObjectConverter:
    """From boxes to the content of a DetectedObjects message.

    Attributes:
        labels: class -> name of ObjectClassification's constant.
        without_front: classes whose front and back look alike: SIGN_UNKNOWN.
        covariance: measured position errors. None: ``has_position_covariance`` is false, as it is
            for boxes where nothing was measured. No errors are assumed.
        frame: of the boxes: Autoware's ``base_link`` is this project's ego frame.
        min_score: boxes below it are left out.
    """

    labels: Mapping[str, str] = field(default_factory=lambda: LABEL_OF_CLASS)
    without_front: frozenset[str] = WITHOUT_FRONT
    covariance: CovarianceTable | None = None
    frame: str = "base_link"
    min_score: float = 0.0

    def require_labels(self, classes: tuple[str, ...]) -> None:
        """Checks that every class has a label.

        Raises:
            DataError: one has none, or one that Autoware does not have.
        """
        for name in classes:
            if name not in self.labels:
                raise DataError(
                    f"class {name!r} has no Autoware label; add it to labels, one of "
                    f"{', '.join(LABELS)}"
                )
            if self.labels[name] not in LABELS:
                raise DataError(
                    f"class {name!r}: Autoware has no label {self.labels[name]!r}; it has "
                    f"{', '.join(LABELS)}"
                )

    def message(self, boxes: Boxes, nanoseconds: int) -> dict[str, Any]:
        """The message's content: nested dicts, lists and numbers.

        Args:
            boxes: in the frame ``frame``.
            nanoseconds: time of the newest image.
        """
        seconds, rest = divmod(nanoseconds, 10**9)
        return {
            "header": {"stamp": {"sec": seconds, "nanosec": rest}, "frame_id": self.frame},
            "objects": [self._object(box) for box in boxes if box.score >= self.min_score],
        }

    def _object(self, box: Box) -> dict[str, Any]:
        length, width, height = box.size
        return {
            "existence_probability": box.score,
            "classification": [{"label": LABELS[self.labels[box.name]], "probability": box.score}],
            "kinematics": self._kinematics(box),
            "shape": {
                "type": BOUNDING_BOX,
                "footprint": {"points": []},
                "dimensions": _xyz(length, width, height),
            },
        }

    def _kinematics(self, box: Box) -> dict[str, Any]:
        half = box.yaw / 2
        covariance = None
        if self.covariance is not None:
            covariance = self.covariance.covariance(box.name, box.centre)
        known = not any(map(math.isnan, box.velocity))
        forward, left = _in_object_frame(box) if known else (0.0, 0.0)
        return {
            "pose_with_covariance": {
                "pose": {
                    "position": _xyz(*box.centre),
                    "orientation": {**_xyz(0.0, 0.0, math.sin(half)), "w": math.cos(half)},
                },
                "covariance": [0.0] * 36 if covariance is None else covariance.ravel().tolist(),
            },
            "has_position_covariance": covariance is not None,
            "orientation_availability": (
                SIGN_UNKNOWN if box.name in self.without_front else AVAILABLE
            ),
            "twist_with_covariance": {
                "twist": {"linear": _xyz(forward, left, 0.0), "angular": _xyz(0.0, 0.0, 0.0)},
                "covariance": [0.0] * 36,
            },
            "has_twist": known,
            "has_twist_covariance": False,  # the detector measures no turn rate
        }


class AutowareRecorder(FileRecorder):
    """Writes DetectedObjects as CDR in MCAP, which ROS 2 tools read; no ROS is needed.

    Args:
        topic: of the messages.
        converter: class labels, covariance, threshold.
    """

    SUFFIX = ".mcap"
    NEEDS_PICTURES = False

    def __init__(
        self,
        topic: str = "/perception/object_recognition/detection/objects",
        converter: ObjectConverter | None = None,
    ) -> None:
        super().__init__()
        self._topic = topic
        self._converter = converter or ObjectConverter()

    def _begin(self, file: IO[bytes]) -> None:
        self._converter.require_labels(self.classes)
        self._writer = require_package("mcap_ros2.writer", EXTRA).Writer(file)
        self._schema = self._writer.register_msgdef(DETECTED_OBJECTS, DEFINITION)

    def _write(self, frame: RecordedFrame) -> None:
        message = self._converter.message(frame.result.boxes, frame.nanoseconds)
        self._writer.write_message(self._topic, self._schema, message, log_time=frame.nanoseconds)

    def _end(self) -> None:
        self._writer.finish()


def _in_object_frame(box: Box) -> tuple[float, float]:
    """Velocity along the object's own x (forward) and y (left), m/s."""
    (vx, vy), cos, sin = box.velocity, math.cos(box.yaw), math.sin(box.yaw)
    return vx * cos + vy * sin, vy * cos - vx * sin


def _xyz(x: float, y: float, z: float) -> dict[str, float]:
    return {"x": x, "y": y, "z": z}
