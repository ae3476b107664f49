"""Recordings of detections: files that other tools open.

    nuscenes_json   nuScenes result file (.json)
    foxglove        Foxglove MCAP (.mcap): images, boxes, points, depth, poses
    rerun           Rerun (.rrd): the same
    autoware        Autoware DetectedObjects as ROS 2 messages in MCAP (.mcap), written without ROS

    recorder        what all of them share: ``open``, ``write``, ``close``
    frames          one moment, checked
    pictures        images as they are stored
    outlines        boxes in images, and their colours

A file takes its name when it is closed. A ``with`` block that ends with an error closes it: the
file is whole and ends earlier (without any frame there is no file). A killed process leaves
nothing under that name, and what was there before stays.

numpy alone is imported here; a format imports its package when it is opened.
"""

from __future__ import annotations

from bevdepth_plus.deploy.recordings.autoware import AutowareRecorder
from bevdepth_plus.deploy.recordings.foxglove import FoxgloveRecorder
from bevdepth_plus.deploy.recordings.nuscenes_json import NuScenesRecorder
from bevdepth_plus.deploy.recordings.recorder import FileRecorder, Recorder
from bevdepth_plus.deploy.recordings.rerun import RerunRecorder
from bevdepth_plus.errors import DataError

FORMATS: dict[str, type[FileRecorder]] = {
    "nuscenes": NuScenesRecorder,
    "foxglove": FoxgloveRecorder,
    "rerun": RerunRecorder,
    "autoware": AutowareRecorder,
}

__all__ = [
    "FORMATS",
    "AutowareRecorder",
    "FoxgloveRecorder",
    "NuScenesRecorder",
    "Recorder",
    "RerunRecorder",
    "recorder_of",
]


def recorder_of(name: str) -> FileRecorder:
    """A recorder of one of the ``FORMATS``, with its default options.

    Raises:
        DataError: there is no format of that name.
    """
    if name not in FORMATS:
        raise DataError(f"no recording format {name!r}; there are {', '.join(FORMATS)}")
    return FORMATS[name]()
