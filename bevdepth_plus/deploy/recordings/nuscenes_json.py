"""Results as a nuScenes result file: ``{meta, results}``, boxes in the global frame."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import IO, Any

import numpy as np

from bevdepth_plus.deploy.recordings.frames import RecordedFrame
from bevdepth_plus.deploy.recordings.recorder import FileRecorder
from bevdepth_plus.deploy.results import Result
from bevdepth_plus.errors import DataError
from bevdepth_plus.evaluation.nuscenes_format import results_from_boxes

CAMERA_ONLY = {
    "use_camera": True,
    "use_lidar": False,
    "use_radar": False,
    "use_map": False,
    "use_external": False,
}


def microseconds(result: Result) -> str:
    """The result's time, as nuScenes' ``timestamp``."""
    return str(round((result.stamp or 0.0) * 1e6))


class NuScenesRecorder(FileRecorder):
    """Writes nuScenes results. They are kept until the file is closed.

    Every result needs ``world_T_ego``, the pose in nuScenes' global frame.

    Args:
        token: sample token of a result; as it comes, its time in microseconds.
        attributes: of own classes, see ``evaluation.nuscenes_format.attribute_of``.
    """

    SUFFIX = ".json"
    NEEDS_PICTURES = False

    def __init__(
        self,
        token: Callable[[Result], str] = microseconds,
        attributes: Mapping[str, Mapping[str, str]] | None = None,
    ) -> None:
        super().__init__()
        self._token, self._attributes = token, attributes

    def _begin(self, file: IO[bytes]) -> None:
        self._file = file
        self._results: dict[str, list[dict[str, Any]]] = {}

    def _write(self, frame: RecordedFrame) -> None:
        result = frame.result
        token = self._token(result)
        if result.world_T_ego is None:
            raise DataError(
                f"sample {token}: nuScenes results lie in the global frame and this one has no "
                "world_T_ego; give the stream ego poses"
            )
        if token in self._results:
            raise DataError(f"two results have the sample token {token}; tokens must be unique")
        boxes = result.boxes.as_array()
        boxes[:, 7:] = np.nan_to_num(boxes[:, 7:])  # a velocity that nobody knows: resting
        self._results[token] = results_from_boxes(
            boxes,
            result.boxes.scores,
            result.boxes.labels,
            token=token,
            ego2global=result.world_T_ego,
            classes=self.classes,
            attributes=self._attributes,
        )

    def _end(self) -> None:
        content = {"meta": CAMERA_ONLY, "results": self._results}
        self._file.write(json.dumps(content, allow_nan=False).encode() + b"\n")
